"""TopoSemiSeg: the loss of equal diagrams, the direction of its gradient, and the two stages."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from learner_steps import SIDE, B, a_step, context
from short_runs import dice_of_short_run
from torch.nn import functional

if find_spec("gudhi") is None:
    pytest.skip("the package gudhi is not installed", allow_module_level=True)

from semimoe.methods.toposemiseg import TopoSemiSegLearner, noise_aware_loss


def two_peaks(left: float, right: float, saddle: float) -> torch.Tensor:
    """Map of 1 x 5 px: a peak, a saddle, and another peak on a background of 0.01."""
    return torch.tensor([[[0.01, left, saddle, right, 0.01]]])


def test_equal_diagrams_of_signals_have_no_loss_wherever_they_are() -> None:
    teacher = two_peaks(0.95, 0.9, 0.05)
    for student in (teacher, teacher.flip(2), teacher.movedim(1, 2)):
        assert noise_aware_loss(student, teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_loss_is_the_squared_distance_of_matched_signals_and_the_squared_noise() -> None:
    student = two_peaks(0.84, 0.9, 0.15)
    teacher = two_peaks(0.95, 0.98, 0.05)
    # (0.9, endless) to (0.98, endless), the persistence 0.69 is noise.
    assert noise_aware_loss(student, teacher).item() == pytest.approx(0.08**2 + 0.69**2, rel=1e-4)
    student = two_peaks(0.86, 0.9, 0.1)
    expected = 0.08**2 + (0.95 - 0.86) ** 2 + (0.1 - 0.05) ** 2
    assert noise_aware_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)
    # Without a partner, half the squared persistence is the distance to the diagonal.
    alone = torch.full((1, 1, 5), 0.01)
    alone[..., 3] = 0.98
    expected = 0.08**2 + 0.76**2 / 2
    assert noise_aware_loss(student, alone).item() == pytest.approx(expected, rel=1e-4)


def gradient(student: torch.Tensor, teacher: torch.Tensor) -> list[float]:
    student = student.clone().requires_grad_()
    noise_aware_loss(student, teacher).backward()
    return student.grad.flatten().sign().tolist()


def test_the_gradient_moves_critical_pixels_the_right_way() -> None:
    """A step against the gradient raises a pixel with the sign -1 and lowers one with 1."""
    teacher = two_peaks(0.95, 0.98, 0.02)
    # The second gland is too faint, and joined too strongly with the first one.
    assert gradient(two_peaks(0.9, 0.98, 0.1), teacher) == [0, -1, 1, 0, 0]
    # A peak that the teacher does not have is lowered, and its saddle raised.
    alone = torch.full((1, 1, 5), 0.01)
    alone[..., 3] = 0.98
    assert gradient(two_peaks(0.9, 0.98, 0.1), alone) == [0, 1, -1, 0, 0]
    # The same for noise.
    assert gradient(two_peaks(0.5, 0.98, 0.1), teacher) == [0, 1, -1, 0, 0]


def test_descent_along_the_loss_separates_two_glands_that_the_teacher_separates() -> None:
    teacher = two_peaks(0.95, 0.98, 0.02)
    logits = torch.logit(two_peaks(0.85, 0.9, 0.12)).requires_grad_()
    optimiser = torch.optim.SGD([logits], lr=20.0)
    for _ in range(60):
        optimiser.zero_grad()
        noise_aware_loss(torch.sigmoid(logits), teacher).backward()
        optimiser.step()
    probability = torch.sigmoid(logits.detach()).flatten()
    assert probability[[1, 2, 3]].tolist() == pytest.approx([0.95, 0.02, 0.98], abs=0.01)


def test_a_tile_without_a_gland_has_no_loss_at_its_highest_pixel() -> None:
    empty = torch.full((1, 4, 4), 0.05)
    empty[0, 1, 1] = 0.1
    student = empty.clone().requires_grad_()
    noise_aware_loss(student, empty).backward()
    assert not student.grad.any()


def test_topology_is_learnt_in_the_last_quarter_of_the_schedule_only() -> None:
    torch.manual_seed(0)
    learner = TopoSemiSegLearner(context()).train()
    batch = a_step().unlabelled
    logits = learner.student(batch.image).gates.seg
    target = torch.softmax(learner.network(batch.weakly_augmented).gates.seg, 1)
    pixel = functional.cross_entropy(logits, target)
    early = learner.consistency_phase(a_step(progress=0.74))
    torch.testing.assert_close(early.log["unsup_seg"], pixel.detach())
    late = learner.consistency_phase(a_step(progress=0.75))
    probability = torch.softmax(logits, 1)[:, 1]
    topology = noise_aware_loss(probability, target[:, 1])
    assert topology > 1
    torch.testing.assert_close(late.log["unsup_seg"], (pixel + 0.02 * topology).detach())


def test_the_teacher_gets_no_gradient_and_reads_the_weakly_augmented_tile() -> None:
    learner = TopoSemiSegLearner(context()).train()
    step = a_step(progress=0.9)
    learner.consistency_phase(step).loss.backward()
    assert all(parameter.grad is None for parameter in learner.network.parameters())
    assert any(parameter.grad is not None for parameter in learner.student.parameters())
    other = step.unlabelled._replace(weakly_augmented=255 - step.unlabelled.image)
    counts = [
        learner.consistency_phase(step._replace(unlabelled=unlabelled)).counts["pseudo_size"]
        for unlabelled in (step.unlabelled, other)
    ]
    assert counts[0] != counts[1]


def test_pixels_without_weight_have_no_topology() -> None:
    torch.manual_seed(0)
    learner = TopoSemiSegLearner(context()).eval()
    batch = a_step().unlabelled
    student = torch.rand(B, SIDE, SIDE, requires_grad=True)
    teacher = torch.rand(B, SIDE, SIDE)
    weight = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (B, SIDE, SIDE)))
    learner.topological_loss(
        a_step(), batch._replace(weight=weight.to(torch.uint8)), student, teacher
    ).backward()
    assert student.grad.any()
    assert not student.grad[weight == 0].any()


def test_a_short_run_learns(tmp_path, discs, monkeypatch) -> None:
    monkeypatch.setattr("semimoe.methods.toposemiseg._TOPOLOGY_START", 0.0)
    assert dice_of_short_run("toposemiseg", tmp_path, discs, epochs=3) > 0.8
