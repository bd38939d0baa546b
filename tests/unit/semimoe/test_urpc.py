"""URPC: the losses of the scales, and which parts are trained and saved."""

import math

import pytest
import torch
from learner_steps import TINY_NETWORK, a_step, context
from short_runs import dice_of_short_run
from torch import nn

from semimoe.methods.unet import UNetLearner
from semimoe.methods.urpc import PyramidConsistencyLearner, pyramid_losses
from semimoe.model_errors import TrainingError
from semimoe.networks.experts import make_decoder, make_encoder

ALL_COUNT = torch.ones(1, 1, 2)


def logits_of(*probabilities: float) -> torch.Tensor:
    """Logits (1, 2, 1, W) of probabilities of the second class."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([(1 - p).log(), p.log()])[None, :, None].float()


def test_weights_and_uncertainty_of_two_scales_are_those_computed_by_hand() -> None:
    """Pixel 0: probabilities .9 and .5, mean .7; pixel 1: both .4, where nothing differs."""
    consistency, uncertainty = pyramid_losses([logits_of(0.9, 0.4), logits_of(0.5, 0.4)], ALL_COUNT)
    divergences = [
        0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3),
        0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3),
    ]
    squared = 0.2**2  # of both scales, the same for both classes
    terms = [math.exp(-d) * squared / (math.exp(-d) + 1) for d in divergences]
    assert consistency.item() == pytest.approx(sum(terms) / 2, rel=1e-5)
    assert uncertainty.item() == pytest.approx(sum(divergences) / 2 / 2, rel=1e-5)


def test_a_pixel_whose_scales_differ_more_has_less_weight() -> None:
    """Without weights its squared difference would be the mean over both pixels."""
    scales = [logits_of(0.999, 0.6), logits_of(0.001, 0.4)]
    consistency, _ = pyramid_losses(scales, ALL_COUNT)
    unweighted = ((0.999 - 0.5) ** 2 + 0.1**2) / 2
    assert consistency.item() < 0.75 * unweighted


def test_equal_scales_have_no_loss_even_if_they_are_certain() -> None:
    for logit in (0.0, 3.0, 300.0):
        scale = torch.tensor([-logit, logit]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
        scale = scale.clone().requires_grad_()
        losses = pyramid_losses([scale] * 4, ALL_COUNT)
        assert [loss.item() for loss in losses] == pytest.approx([0, 0], abs=1e-6)
        sum(losses).backward()
        assert torch.isfinite(scale.grad).all()


def test_only_pixels_that_count_have_a_loss() -> None:
    scales = [logits_of(0.9, 0.9), logits_of(0.1, 0.9)]
    first, second = (torch.tensor([[[float(i == 0), float(i == 1)]]]) for i in range(2))
    assert all(loss.item() > 0.1 for loss in pyramid_losses(scales, first))
    assert all(loss.item() < 1e-6 for loss in pyramid_losses(scales, second))
    assert [loss.item() for loss in pyramid_losses(scales, torch.zeros(1, 1, 2))] == [0, 0]


@pytest.mark.parametrize("encoder", ["unet", "efficientnet-lite0"])
def test_the_mask_is_predicted_at_four_scales_from_features_of_four_resolutions(encoder) -> None:
    settings = TINY_NETWORK.model_copy(update={"encoder": encoder})
    learner = PyramidConsistencyLearner(context()._replace(network=settings)).eval()
    images = torch.randint(256, (2, 3, 48, 64), dtype=torch.uint8)
    outputs, coarse = learner.pyramid(images)
    assert [tuple(logits.shape) for logits in coarse] == [(2, 2, 48, 64)] * 3
    torch.testing.assert_close(outputs.gates.seg, learner.network(images).gates.seg)
    features = learner.network.decoder.levels(learner.network.encode(images))[-4:]
    assert [f.shape[2:] for f in features] == [(48 // s, 64 // s) for s in (8, 4, 2, 1)]
    assert [f.shape[1] for f in features[:-1]] == [head.in_channels for head in learner.heads]
    decoder, features = make_decoder(settings), make_encoder(settings)(torch.rand(2, 3, 32, 32))
    assert [f.shape[1] for f in decoder.levels(features)] == list(decoder.level_channels)


@pytest.mark.parametrize("summand", [0, 1], ids=["consistency", "uncertainty"])
def test_the_gradient_goes_through_the_mean_and_the_weights(summand) -> None:
    """It is the difference quotient of the whole loss: no value is treated as a constant."""
    logits = torch.stack([logits_of(0.9, 0.4), logits_of(0.5, 0.3)]).requires_grad_()
    pyramid_losses(list(logits), ALL_COUNT)[summand].backward()
    quotients = []
    for index in range(logits.numel()):
        change = torch.zeros(logits.numel())
        change[index] = 0.01
        up, down = (
            pyramid_losses(list(logits.detach() + sign * change.view_as(logits)), ALL_COUNT)
            for sign in (1, -1)
        )
        quotients.append((up[summand] - down[summand]) / 0.02)
    expected = torch.stack(quotients).view_as(logits)
    torch.testing.assert_close(logits.grad, expected, atol=5e-5, rtol=1e-3)


def test_both_phases_train_all_scales_and_the_model_is_the_plain_network() -> None:
    torch.manual_seed(0)
    learner = PyramidConsistencyLearner(context(ema_decay=0.9)).train()
    for phase in learner.phases():
        phase(a_step()).loss.backward()
        parameters = [*learner.heads.parameters(), *learner.network.decoder.parameters()]
        assert all(parameter.grad is not None for parameter in parameters)
        learner.zero_grad(set_to_none=True)
    (optimizer,) = learner.optimizers(lr=0.1).values()
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(learner.network.parameters())) + 6
    learner.start_average()
    plain = UNetLearner(context()).network.state_dict()
    assert learner.predicting_network.state_dict().keys() == plain.keys()


def test_the_supervised_mask_loss_is_the_mean_over_the_scales() -> None:
    torch.manual_seed(0)
    learner, step = PyramidConsistencyLearner(context()).eval(), a_step()
    plain = UNetLearner.supervised_phase(learner, step)
    with torch.no_grad():
        for head in learner.heads:  # certain of background: Dice loss without gland
            head.weight.zero_()
            head.bias.copy_(torch.tensor([50.0, -50.0]))
    mask = step.labelled.targets.mask.float()
    sizes = mask.sum((1, 2))  # of the gland; the background is the rest
    background = 1 - (2 * (32 * 32 - sizes) + 1) / (32 * 32 + (32 * 32 - sizes) + 1)
    gland = 1 - 1 / (sizes + 1)
    coarse = ((background + gland) / 2).mean()
    log = learner.supervised_phase(step).log
    expected = (plain.log["sup_seg_expert"] + 3 * coarse) / 4
    torch.testing.assert_close(log["sup_seg_expert"], expected)
    torch.testing.assert_close(log["sup_sdf_expert"], plain.log["sup_sdf_expert"])


def test_an_encoder_whose_decoder_has_no_levels_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("semimoe.networks.plain_unet.make_decoder", lambda settings: nn.Identity())
    with pytest.raises(TrainingError, match=r"decoder with levels.*choose another"):
        PyramidConsistencyLearner(context())


def test_a_short_run_learns(tmp_path, discs) -> None:
    assert dice_of_short_run("urpc", tmp_path, discs, epochs=3) > 0.8


def test_coarse_scales_are_enlarged_in_fp32_also_in_a_run_with_bf16() -> None:
    """In bf16 a GPU rounds after each of the 256 pixels that are added to a gradient."""
    learner = PyramidConsistencyLearner(context())
    with torch.autocast("cpu", torch.bfloat16):
        outputs, coarse = learner.pyramid(a_step().unlabelled.image)
    assert outputs.gates.seg.dtype == torch.bfloat16
    assert {logits.dtype for logits in coarse} == {torch.float32}
