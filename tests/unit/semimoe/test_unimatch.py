"""UniMatch: which pixels count, what the views learn, and that it learns from unlabelled tiles."""

import pytest
import torch
from learner_steps import SIDE, B, a_step, batch, context
from short_runs import dice_of_short_run
from torch.nn import functional

from semimoe.methods.unimatch import UniMatchLearner, _strongly_augmented
from semimoe.objectives.losses import Targets
from semimoe.objectives.teacher_targets import PseudoTiles


def learner_with_constant_output(log_odds: float, **changes) -> UniMatchLearner:
    """The mask's log-odds are the same in every pixel of every view."""
    learner = UniMatchLearner(context(**changes)).train()
    head = learner.network.heads[0]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, log_odds]))
    return learner


# log-odds 2.9 have the probability .9478, log-odds 3 .9526
@pytest.mark.parametrize(("log_odds", "counts"), [(2.9, False), (3.0, True), (-3.0, True)])
def test_only_pixels_above_the_threshold_give_a_loss(log_odds: float, counts: bool) -> None:
    learner = learner_with_constant_output(log_odds)
    result = learner.consistency_phase(a_step(progress=1.0))
    result.loss.backward()
    gradient = learner.network.heads[0].bias.grad
    if not counts:
        assert result.loss.item() == 0
        assert gradient.abs().sum() == 0
        return
    # Both weights of the paper add up to 1, and all views have the same cross-entropy.
    expected = functional.cross_entropy(
        torch.tensor([[0.0, log_odds]]), torch.tensor([int(log_odds > 0)])
    )
    torch.testing.assert_close(result.loss.detach(), expected)
    assert gradient.abs().sum() > 0


def test_uncertain_pixels_are_part_of_the_mean(monkeypatch) -> None:
    """A quarter of the pixels counts: the loss is a quarter of its value, not the same mean."""
    learner = learner_with_constant_output(3.0)
    step = a_step(progress=1.0)
    whole = learner.consistency_phase(step).loss.item()
    weight = step.unlabelled.weight.clone()
    clean = learner._clean_and_perturbed

    def certain_in_a_quarter(images):
        logits, perturbed = clean(images)
        logits = logits.clone()
        logits[:, :, SIDE // 4 :] = 0
        return logits, perturbed

    monkeypatch.setattr(learner, "_clean_and_perturbed", certain_in_a_quarter)
    torch.manual_seed(0)
    quarter = learner.consistency_phase(step).loss.item()
    # The exchanged rectangles move certain pixels, so the share of the strong views varies.
    assert 0.2 * whole < quarter < 0.3 * whole
    half = step.unlabelled._replace(weight=weight * (torch.arange(SIDE) < SIDE // 4)[:, None])
    assert learner.consistency_phase(step._replace(unlabelled=half)).loss.item() > 0.8 * whole


def test_no_gradient_goes_through_the_labels(monkeypatch) -> None:
    """The views that learn are detached: nothing is left that could have a gradient."""
    learner = learner_with_constant_output(3.0)
    clean = learner._clean_and_perturbed
    assert learner.consistency_phase(a_step()).loss.requires_grad

    def detached_views(step, network, images):
        outputs = network(images)
        return outputs._replace(gates=outputs.gates._replace(seg=outputs.gates.seg.detach()))

    monkeypatch.setattr(learner, "forward_unlabelled", detached_views)
    assert learner.consistency_phase(a_step()).loss.requires_grad  # perturbed features learn
    monkeypatch.setattr(
        learner,
        "_clean_and_perturbed",
        lambda images: (clean(images)[0], clean(images)[1].detach()),
    )
    assert not learner.consistency_phase(a_step()).loss.requires_grad


def test_two_strong_views_differ_and_keep_labels_with_their_pixels() -> None:
    torch.manual_seed(0)
    grey = torch.tensor([60, 120, 180, 240], dtype=torch.uint8)
    image = grey[:, None, None, None].expand(4, 3, SIDE, SIDE)
    mask = torch.arange(4)[:, None, None].expand(4, SIDE, SIDE)
    targets = Targets(mask, mask[:, None].float(), mask)
    ones = torch.ones(4, SIDE, SIDE)
    tiles = PseudoTiles(image, targets, ones, mask, ones)
    first, second = _strongly_augmented(tiles), _strongly_augmented(tiles)
    assert not torch.equal(first.image, second.image)
    assert not torch.equal(first.targets.mask, second.targets.mask)
    for view in (first, second):
        assert view.image.dtype == torch.uint8
        for number in range(4):
            labels = view.targets.mask[number]
            own, other = number, (number - 1) % 4
            assert set(labels.unique().tolist()) == {own, other}
            # The medians of brighter tiles stay brighter.
            medians = {one: view.image[number, 1][labels == one].median() for one in (own, other)}
            assert (medians[own] > medians[other]) == (own > other)


def test_perturbed_features_lose_channels_and_the_clean_ones_do_not(monkeypatch) -> None:
    learner = UniMatchLearner(context()).train()
    seen = []
    decoder = learner.network.decoder
    decode = decoder.forward

    def record(features):
        seen.append(features)
        return decode(features)

    monkeypatch.setattr(decoder, "forward", record)
    torch.manual_seed(0)
    learner._clean_and_perturbed(batch(2, labelled=False).image)
    expected = learner.network.encode(batch(2, labelled=False).image)
    dropped = 0
    for feature, own in zip(seen[0], expected, strict=True):
        clean, perturbed = feature.chunk(2)
        torch.testing.assert_close(clean, own)
        is_zero = perturbed.flatten(2).abs().sum(2) == 0  # (B, channels)
        torch.testing.assert_close(perturbed[~is_zero], 2 * clean[~is_zero])
        dropped += is_zero.sum().item()
    total = B * sum(feature.shape[1] for feature in expected)
    assert 0.3 * total < dropped < 0.7 * total


def test_a_short_run_learns(tmp_path, discs, monkeypatch) -> None:
    # So soon no pixel reaches the threshold of the paper.
    monkeypatch.setattr("semimoe.methods.unimatch._LEAST_CONFIDENCE", 0.6)
    assert dice_of_short_run("unimatch", tmp_path, discs) > 0.85
