"""Entropy minimisation: a certain prediction has no loss, and its steps lead to certain ones."""

import math

import pytest
import torch
from learner_steps import a_step, context
from short_runs import dice_of_short_run

from semimoe.methods.entropy_minimisation import EntropyMinimisationLearner, normalised_entropy


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.5, 1.0),
        (0.25, 0.25 * 2 + 0.75 * math.log2(4 / 3)),
        (1 - 1e-6, 2.14e-5),
    ],
)
def test_the_entropy_of_a_pixel_is_that_of_its_probability(probability, expected) -> None:
    logits = torch.tensor([math.log(1 - probability), math.log(probability)]).view(1, 2, 1, 1)
    assert normalised_entropy(logits).item() == pytest.approx(expected, rel=0.01)


def test_a_certain_prediction_has_no_entropy_and_no_gradient() -> None:
    logits = torch.tensor([-200.0, 200.0]).view(1, 2, 1, 1).requires_grad_()
    entropy = normalised_entropy(logits).sum()
    entropy.backward()
    assert entropy.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def learner_with_constant_mask(logit: float) -> EntropyMinimisationLearner:
    learner = EntropyMinimisationLearner(context()).train()
    with torch.no_grad():
        learner.network.heads[0].weight.zero_()
        learner.network.heads[0].bias.copy_(torch.tensor([-logit, logit]))
    return learner


def test_the_loss_is_1_for_a_uniform_mask_and_0_for_a_certain_one() -> None:
    results = [learner_with_constant_mask(logit).entropy_phase(a_step()) for logit in (0.0, 200.0)]
    assert [result.log["unsup_seg"].item() for result in results] == [1, 0]
    # `unsup_max` 1 over half of the linear schedule.
    assert [result.loss.item() for result in results] == [0.5, 0]


def test_only_pixels_that_count_have_a_loss() -> None:
    learner, step = EntropyMinimisationLearner(context()).train(), a_step()
    weight = step.unlabelled.weight.clone()
    weight[:, :20] = 0
    result = learner.entropy_phase(
        step._replace(unlabelled=step.unlabelled._replace(weight=weight))
    )
    with torch.no_grad():
        entropy = normalised_entropy(learner.network(step.unlabelled.image).gates.seg)
    torch.testing.assert_close(result.log["unsup_seg"], entropy[:, 20:].mean())
    no_pixel = step.unlabelled._replace(weight=torch.zeros_like(weight))
    assert learner.entropy_phase(step._replace(unlabelled=no_pixel)).loss.item() == 0


def test_steps_on_the_entropy_loss_make_the_network_certain() -> None:
    torch.manual_seed(0)
    learner, step = EntropyMinimisationLearner(context()).train(), a_step(progress=1.0)
    optimizer = learner.optimizers(lr=0.01)["network"]
    values = []
    for _ in range(15):
        result = learner.entropy_phase(step)
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(result.log["unsup_seg"].item())
    assert values[-1] < 0.8 * values[0]


def test_a_short_run_learns(tmp_path, discs) -> None:
    assert dice_of_short_run("entropy-minimisation", tmp_path, discs) > 0.8
