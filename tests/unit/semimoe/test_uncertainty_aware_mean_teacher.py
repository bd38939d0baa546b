"""Uncertainty-aware Mean Teacher: where the student learns from the teacher."""

import math

import pytest
import torch
from learner_steps import TINY_NETWORK, a_step, context
from short_runs import dice_of_short_run

from semimoe.methods.uncertainty_aware_mean_teacher import (
    DropoutUNet,
    UncertaintyAwareMeanTeacherLearner,
    uncertainty_threshold,
)
from semimoe.networks.plain_unet import UNet


def learner_whose_teacher_says(logit: float) -> UncertaintyAwareMeanTeacherLearner:
    """The teacher's mask is the same at every pixel, the student's is random."""
    torch.manual_seed(0)
    learner = UncertaintyAwareMeanTeacherLearner(context()).train()
    with torch.no_grad():
        learner.network.heads[0].weight.zero_()
        learner.network.heads[0].bias.copy_(torch.tensor([-logit / 2, logit / 2]))
    return learner


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 0.75 + 0.25 * math.exp(-5)), (0.5, 0.75 + 0.25 * math.exp(-1.25)), (1.0, 1.0)],
)
def test_the_threshold_ramps_from_three_quarters_of_log_2_to_log_2(progress, expected) -> None:
    threshold = uncertainty_threshold(torch.tensor(progress))
    assert threshold.item() == pytest.approx(expected * math.log(2))


def test_the_uncertainty_is_the_entropy_of_the_mean_over_eight_passes(monkeypatch) -> None:
    learner, step = learner_whose_teacher_says(0), a_step()
    passes = torch.rand(8, 2, 32, 32)
    probabilities = iter([torch.stack([1 - p, p], 1) for p in passes])
    monkeypatch.setattr(learner, "teacher_probability", lambda *_: next(probabilities))
    mean = passes.mean(0)
    expected = -mean * mean.log() - (1 - mean) * (1 - mean).log()
    torch.testing.assert_close(learner.uncertainty(step, step.unlabelled.image), expected)
    assert next(probabilities, None) is None


def test_a_certain_teacher_leaves_no_pixel_out_and_an_uncertain_one_leaves_out_all() -> None:
    step = a_step(progress=0.5)
    certain, uncertain = learner_whose_teacher_says(9), learner_whose_teacher_says(0)
    result = certain.consistency_phase(step)
    # The mask of the teacher is 1 everywhere: all pixels of tiles and truth are counted.
    assert result.counts["pseudo_size"] == 2 * 32 * 32 + step.unlabelled.truth.sum()
    assert result.loss.item() > 0
    result = uncertain.consistency_phase(step)
    assert result.counts["pseudo_size"] == 0
    assert result.loss.item() == 0


def test_more_pixels_count_later() -> None:
    """Entropy of a probability of .25: .811 log 2; the threshold passes it during the schedule."""
    learner = learner_whose_teacher_says(math.log(3))
    losses = [learner.consistency_phase(a_step(progress)).log["unsup_seg"] for progress in (0, 0.9)]
    assert losses[0] == 0
    assert losses[1] > 0


def test_the_loss_is_the_squared_difference_where_the_teacher_is_certain(monkeypatch) -> None:
    learner, step = learner_whose_teacher_says(0), a_step()
    target, student = torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32)
    uncertainty = torch.ones(2, 32, 32)
    uncertainty[0, :4], uncertainty[1, :16] = 0.1, 0.1
    monkeypatch.setattr(learner, "teacher_probability", lambda *_: target)
    monkeypatch.setattr(learner, "student_probability", lambda *_: student)
    monkeypatch.setattr(learner, "uncertainty", lambda *_: uncertainty)
    error = ((student - target) ** 2).mean(1)
    expected = (error[0, :4].mean() + error[1, :16].mean()) / 2
    torch.testing.assert_close(learner.consistency_phase(step).log["unsup_seg"], expected)


def test_passes_of_the_teacher_differ_and_give_it_no_gradient() -> None:
    torch.manual_seed(0)
    learner, step = UncertaintyAwareMeanTeacherLearner(context()).train(), a_step()
    one, two = (learner.teacher_probability(step, step.unlabelled.image) for _ in range(2))
    assert (one - two).abs().mean() > 0.01
    for phase in learner.phases():
        phase(step).loss.backward()
    assert all(parameter.grad is None for parameter in learner.network.parameters())
    assert all(parameter.grad is not None for parameter in learner.student.parameters())


def test_without_training_the_network_is_a_plain_unet() -> None:
    torch.manual_seed(0)
    network, plain = DropoutUNet(TINY_NETWORK), UNet(TINY_NETWORK)
    plain.load_state_dict(network.state_dict())
    images = a_step().unlabelled.image
    for is_training, equal in ((False, True), (True, False)):
        logits, expected = (net.train(is_training)(images).gates.seg for net in (network, plain))
        assert torch.equal(logits, expected) == equal


def test_the_teacher_is_the_moving_average_whatever_ema_decay_says() -> None:
    learner = UncertaintyAwareMeanTeacherLearner(context(ema_decay=0.9))
    learner.start_average()
    assert learner.predicting_network is learner.network


def test_a_short_run_learns(tmp_path, discs, monkeypatch) -> None:
    method = "uncertainty-aware-mean-teacher"
    monkeypatch.setattr(f"semimoe.methods.{method.replace('-', '_')}._PASSES", 2)  # faster
    assert dice_of_short_run(method, tmp_path, discs, epochs=3) > 0.8
