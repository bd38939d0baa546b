"""Cross-consistency training: what is perturbed, and who learns from whom."""

import pytest
import torch
from learner_steps import TINY_NETWORK, a_step, context
from short_runs import dice_of_short_run

from semimoe.methods.cross_consistency import (
    PERTURBATIONS,
    AuxiliaryDecoder,
    CrossConsistencyLearner,
    channel_dropout,
    context_masking,
    feature_drop,
    feature_noise,
    object_masking,
)

IS_GLAND = torch.zeros(2, 32, 32, dtype=torch.bool)
IS_GLAND[:, :, :16] = True  # the left half


def feature() -> torch.Tensor:
    return torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.mark.parametrize("perturb", PERTURBATIONS)
def test_every_perturbation_changes_features_and_keeps_shape_and_type(perturb) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        original = feature().to(dtype)
        perturbed = perturb(original, IS_GLAND)
        assert (perturbed.shape, perturbed.dtype) == (original.shape, original.dtype)
        assert not torch.equal(perturbed, original)


def test_noise_is_at_most_three_tenths_of_each_value_and_differs_between_images() -> None:
    torch.manual_seed(0)
    ratio = feature_noise(feature(), IS_GLAND) / feature()
    assert 0.7 <= ratio.min() < 0.72
    assert 1.28 < ratio.max() <= 1.3
    assert not torch.equal(ratio[0], ratio[1])


def test_f_drop_removes_the_most_active_pixels_of_each_image() -> None:
    torch.manual_seed(0)
    activity = torch.linspace(0, 1, 101).view(1, 1, 1, 101)
    images = torch.cat([activity, -5 + 2 * activity.flip(3)])
    dropped = feature_drop(images.expand(2, 3, 1, 101), IS_GLAND) == 0
    for image, scaled in enumerate((activity, activity.flip(3))):
        values = scaled.flatten()[dropped[image, 0, 0] & (images[image].flatten() != 0)]
        kept = scaled.flatten()[~dropped[image, 0, 0]]
        assert 0.6 <= values.min() <= 0.91
        assert kept.max() < values.min()
        assert torch.equal(dropped[image, 0], dropped[image, 2])


def test_dropout_removes_whole_channels() -> None:
    torch.manual_seed(0)
    wide = torch.ones(2, 200, 4, 4)
    channels = channel_dropout(wide, IS_GLAND).flatten(2)
    assert torch.equal(channels.amin(2), channels.amax(2))
    assert 0.4 < (channels == 0).float().mean() < 0.6


def test_masking_removes_predicted_glands_or_everything_else() -> None:
    objects, surroundings = (
        perturb(feature(), IS_GLAND) for perturb in (object_masking, context_masking)
    )
    assert objects[..., :8].abs().sum() == 0
    assert torch.equal(objects + surroundings, feature())


def test_the_main_decoder_gets_no_gradient_from_unlabelled_tiles_and_the_encoder_does() -> None:
    torch.manual_seed(0)
    learner = CrossConsistencyLearner(context()).train()
    learner.consistency_phase(a_step()).loss.backward()
    network = learner.network
    for part, has_gradient in (
        (network.encoder, True),
        (learner.auxiliary, True),
        (network.decoder, False),
        (network.heads, False),
    ):
        assert all((p.grad is not None) == has_gradient for p in part.parameters())
    learner.zero_grad()
    learner.supervised_phase(a_step()).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in learner.auxiliary.parameters())


def test_auxiliary_decoders_equal_to_the_main_one_have_no_loss_without_perturbation(
    monkeypatch,
) -> None:
    torch.manual_seed(0)
    learner, step = CrossConsistencyLearner(context()).train(), a_step()
    assert learner.consistency_phase(step).loss.item() > 0
    learner.after_loading()
    assert learner.consistency_phase(step).loss.item() > 0
    unchanged = (lambda feature, is_gland: feature,) * len(PERTURBATIONS)
    monkeypatch.setattr("semimoe.methods.cross_consistency.PERTURBATIONS", unchanged)
    assert learner.consistency_phase(step).loss.item() == 0


def test_the_loss_is_the_mean_squared_difference_over_decoders_and_pixels(monkeypatch) -> None:
    learner, step = CrossConsistencyLearner(context()), a_step()
    main, auxiliary = torch.randn(2, 2, 32, 32), [torch.randn(2, 2, 32, 32) for _ in range(5)]
    monkeypatch.setattr(learner, "mask_logits", lambda images: (main, auxiliary))
    errors = [(logits.softmax(1) - main.softmax(1)) ** 2 for logits in auxiliary]
    expected = torch.stack(errors).mean()
    torch.testing.assert_close(learner.consistency_phase(step).log["unsup_seg"], expected)


def test_auxiliary_decoders_are_no_part_of_the_model_and_fit_every_encoder() -> None:
    learner = CrossConsistencyLearner(context(ema_decay=0.9))
    learner.start_average()
    assert not any("auxiliary" in name for name in learner.predicting_network.state_dict())
    lite = TINY_NETWORK.model_copy(update={"encoder": "efficientnet-lite0"})
    features = [torch.rand(1, c, 32 // s, 32 // s) for c, s in (
        (3, 1), (16, 2), (24, 4), (40, 8), (112, 16), (192, 32),
    )]  # fmt: skip
    assert AuxiliaryDecoder(lite).eval()(features).shape == (1, 2, 32, 32)


def test_a_short_run_learns(tmp_path, discs) -> None:
    assert dice_of_short_run("cross-consistency", tmp_path, discs) > 0.8
