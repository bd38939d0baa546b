"""The losses compared with direct calculations, and inputs that are errors."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from semimoe.networks.mixture import TaskLogits, signed_distance
from semimoe.objectives import losses as objectives
from semimoe.objectives.losses import (
    AdaptiveLoss,
    SumLoss,
    Targets,
    TaskLosses,
    binned_sdf_error,
    boundary_dice,
    cross_entropy,
    pseudo_targets,
    sdf_error,
    seg_dice,
    supervised_losses,
    total_loss,
)
from semimoe.settings import TrainingSettings

task_losses = partial(objectives.task_losses, training=TrainingSettings())
unsupervised_losses = partial(objectives.unsupervised_losses, training=TrainingSettings())
B, H, W = 2, 4, 6


def logits(seed: int = 0) -> TaskLogits:
    random = torch.Generator().manual_seed(seed)
    return TaskLogits(
        *(torch.randn(B, k, H, W, generator=random).requires_grad_() for k in (2, 1, 2))
    )


def targets(seed: int = 1) -> Targets:
    random = torch.Generator().manual_seed(seed)
    return Targets(
        torch.randint(2, (B, H, W), generator=random),
        torch.rand(B, 1, H, W, generator=random) * 2 - 1,
        torch.randint(2, (B, H, W), generator=random),
    )


ONES = torch.ones(B, H, W)


def test_the_mask_loss_is_the_dice_of_both_classes_with_squared_sums() -> None:
    mask_logits, mask = logits().seg, targets().mask
    p = torch.softmax(mask_logits, 1)
    expected = []
    for image in range(B):
        for k in range(2):
            y = (mask[image] == k).float()
            expected.append(
                1 - (2 * (p[image, k] * y).sum() + 1) / ((p[image, k] ** 2).sum() + y.sum() + 1)
            )
    assert seg_dice(mask_logits, mask, ONES).item() == pytest.approx(
        torch.stack(expected).mean().item()
    )


def test_the_boundary_loss_of_probabilities_of_one_half() -> None:
    even, truth = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]])
    # Class 0: tp 1.5, sum p 2, sum y 3; class 1: tp .5, sum p 2, sum y 1.
    assert boundary_dice(even, truth, torch.ones(1, 1, 4)).item() == pytest.approx(
        1 - (3 / 5 + 1 / 3) / 2
    )


def test_the_distance_loss_is_the_mean_squared_error_of_tanh() -> None:
    sdf_logits, sdf = logits().sdf, targets().sdf
    assert sdf_error(sdf_logits, sdf, ONES).item() == pytest.approx(
        ((torch.tanh(sdf_logits) - sdf) ** 2).mean().item()
    )


def test_the_absolute_distance_loss_and_the_cross_entropy_of_images_with_unknown_pixels() -> None:
    weight = ONES.clone()
    weight[0, :, 3:] = 0
    counts = weight > 0
    difference = (torch.tanh(logits().sdf) - targets().sdf)[:, 0].abs()
    assert sdf_error(logits().sdf, targets().sdf, weight, power=1).item() == pytest.approx(
        difference[counts].mean().item()
    )
    log_probability = torch.log_softmax(logits().seg, 1)
    errors = -log_probability.gather(1, targets().mask[:, None])[:, 0]
    expected = (errors[0][counts[0]].mean() + errors[1].mean()) / 2
    assert cross_entropy(logits().seg, targets().mask, weight).item() == pytest.approx(
        expected.item()
    )


def test_the_binned_distance_has_its_smallest_loss_where_its_mean_is_the_true_distance() -> None:
    truth = torch.tensor([-1.0, -0.9, 0.0, 0.05, 0.5, 1.0]).view(1, 1, 1, 6)
    bins, weight = 5, torch.ones(1, 1, 6)
    scores = torch.zeros(1, bins, 1, 6, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.2)
    for _ in range(400):
        optimizer.zero_grad()
        binned_sdf_error(scores, truth, weight).backward()
        optimizer.step()
    torch.testing.assert_close(signed_distance(scores.detach()), truth, atol=0.01, rtol=0)
    # -0.9 lies between the values -1 and -0.5, with shares of 0.8 and 0.2.
    probability = torch.softmax(scores.detach(), 1)[0, :, 0, 1]
    torch.testing.assert_close(probability, torch.tensor([0.8, 0.2, 0, 0, 0]), atol=0.01, rtol=0)


def test_settings_choose_the_losses_of_mask_boundary_and_distance() -> None:
    both = TrainingSettings(mask_loss="dice+ce", sdf_loss="l1")
    chosen = objectives.task_losses(logits(), targets(), ONES, training=both)
    plain, truth = task_losses(logits(), targets(), ONES), targets()
    assert (chosen.seg - plain.seg).item() == pytest.approx(
        cross_entropy(logits().seg, truth.mask, ONES).item()
    )
    assert (chosen.bnd - plain.bnd).item() == pytest.approx(
        cross_entropy(logits().bnd, truth.boundary, ONES).item()
    )
    assert chosen.sdf.item() == sdf_error(logits().sdf, truth.sdf, ONES, power=1).item()
    binned = logits()._replace(sdf=torch.zeros(B, 3, H, W))
    # Whatever two values share the probability: each has the logarithm of 1 / 3.
    assert task_losses(binned, truth, ONES).sdf.item() == pytest.approx(math.log(3))


def test_pixels_without_weight_have_no_effect() -> None:
    weight = ONES.clone()
    weight[0, :, 3:] = 0
    first, second = logits(), [tensor.detach().clone() for tensor in logits()]
    other = targets()
    for tensor in second:
        tensor[0, :, :, 3:] = 7
    changed = Targets(*(target.clone() for target in other))
    changed.mask[0, :, 3:], changed.sdf[0, ..., 3:], changed.boundary[0, :, 3:] = 1, 0.3, 0
    torch.testing.assert_close(
        task_losses(first, other, weight), task_losses(TaskLogits(*second), changed, weight)
    )


def test_without_any_weight_loss_and_gradient_are_zero() -> None:
    predicted = logits()
    loss = sum(task_losses(predicted, targets(), torch.zeros(B, H, W)))
    assert isinstance(loss, Tensor)
    assert loss.item() == 0
    loss.backward()
    assert all(
        tensor.grad is not None and torch.equal(tensor.grad, torch.zeros_like(tensor))
        for tensor in predicted
    )


def test_an_image_without_weight_does_not_change_the_mean_over_the_others() -> None:
    weight = ONES.clone()
    weight[1] = 0
    alone = task_losses(
        TaskLogits(*(t[:1] for t in logits())), Targets(*(t[:1] for t in targets())), ONES[:1]
    )
    torch.testing.assert_close(task_losses(logits(), targets(), weight), alone)


def test_a_perfect_prediction_has_a_loss_near_zero() -> None:
    truth = targets()
    certain = [
        torch.nn.functional.one_hot(t, 2).movedim(-1, 1) * 40.0
        for t in (truth.mask, truth.boundary)
    ]
    losses = task_losses(TaskLogits(certain[0], torch.atanh(truth.sdf), certain[1]), truth, ONES)
    assert max(loss.item() for loss in losses) < 1e-5


@pytest.mark.parametrize(
    ("loss", "logits", "target", "weight"),
    [
        (sdf_error, (B, 1, H, W), (B, H, W), (B, H, W)),  # broadcasts to all pairs of images
        (sdf_error, (B, 1, H, W), (1, 1, H, W), (B, H, W)),
        (sdf_error, (B, 1, H, W), (B, 1, H, W), (B, 1, H, W)),
        (seg_dice, (B, 2, H, W), (1, H, W), (B, H, W)),
        (seg_dice, (B, 2, H, W), (B, H, W), (1, H, W)),
        (boundary_dice, (B, 2, H, W), (B, H, 1), (B, H, W)),
        (cross_entropy, (B, 2, H, W), (B, H, 1), (B, H, W)),
        (binned_sdf_error, (B, 5, H, W), (B, H, W), (B, H, W)),
    ],
)
def test_shapes_that_would_be_broadcast_are_an_error(loss, logits, target, weight) -> None:
    kind = torch.float32 if loss in (sdf_error, binned_sdf_error) else torch.int64
    with pytest.raises(ValueError, match="must be equal"):
        loss(torch.zeros(logits), torch.zeros(target, dtype=kind), torch.ones(weight))


def test_the_adaptive_loss_is_minimal_where_exp_s_is_the_square_root_of_loss_over_gamma() -> None:
    adaptive, losses = AdaptiveLoss(0.4), TaskLosses(*torch.tensor([0.1, 0.4, 1.6]))
    with torch.no_grad():
        adaptive.s.copy_(0.5 * torch.log(torch.stack(losses) / 0.4))
    value = adaptive(losses)
    value.backward()
    assert adaptive.s.grad is not None
    torch.testing.assert_close(adaptive.s.grad, torch.zeros(3), atol=1e-6, rtol=0)
    assert value.item() == pytest.approx(sum(2 * math.sqrt(0.4 * loss) for loss in (0.1, 0.4, 1.6)))
    with torch.no_grad():
        adaptive.s += 0.1
    assert adaptive(losses).item() > value.item()


def test_an_optimiser_reaches_the_minimum_of_the_adaptive_loss() -> None:
    adaptive, losses = AdaptiveLoss(0.8), TaskLosses(*torch.tensor([0.05, 0.3, 2.5]))
    optimizer = torch.optim.Adam(adaptive.parameters(), lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        adaptive(losses).backward()
        optimizer.step()
    expected = torch.sqrt(torch.stack(list(losses)) / 0.8)
    torch.testing.assert_close(torch.exp(adaptive.s.detach()), expected, atol=0, rtol=1e-3)


def test_a_task_that_is_not_predicted_adds_nothing_to_the_adaptive_loss() -> None:
    adaptive, predicted = AdaptiveLoss(0.4), logits()._replace(sdf=None)
    losses = task_losses(predicted, targets(), ONES)
    assert set(losses.present()) == {"seg", "bnd"}
    value = adaptive(losses)
    value.backward()
    assert adaptive.s.grad is not None
    assert adaptive.s.grad[1] == 0
    assert value.item() == pytest.approx(
        (math.exp(-1) * (losses.seg + losses.bnd)).item() + 2 * 0.4 * math.e
    )
    # An expert without a gate has one summand in eq. 4.
    losses = supervised_losses(task_losses(logits(), targets(), ONES), losses)
    assert losses.sdf is not None
    assert losses.sdf.item() == pytest.approx(sdf_error(logits().sdf, targets().sdf, ONES).item())


@pytest.mark.parametrize("loss", [AdaptiveLoss(0.4), SumLoss()])
def test_losses_that_are_not_scalars_are_an_error(loss) -> None:
    with pytest.raises(ValueError, match="scalar"):
        loss(TaskLosses(torch.ones(3), torch.tensor(1.0), torch.tensor(1.0)))


@pytest.mark.parametrize(
    "wrong_shapes", [{"mask": (1, H, W)}, {"sdf": (B, H, W)}, {"boundary": (B, H, 1)}]
)
@pytest.mark.parametrize("loss", [task_losses, unsupervised_losses])
def test_targets_of_another_shape_are_an_error_for_every_task(loss, wrong_shapes) -> None:
    wrong_targets = targets()._replace(
        **{
            name: torch.zeros(shape, dtype=getattr(targets(), name).dtype)
            for name, shape in wrong_shapes.items()
        }
    )
    with pytest.raises(ValueError, match="must be equal"):
        loss(logits(), wrong_targets, ONES)


def test_the_plain_sum_adds_experts_and_gates_and_the_total_weighs_the_unsupervised_loss() -> None:
    ones = TaskLosses(*torch.ones(3))
    assert SumLoss()(supervised_losses(ones, ones)).item() == 6
    assert total_loss(torch.tensor(2.0), torch.tensor(3.0), 0.5).item() == 3.5
    assert total_loss(torch.tensor(2.0), None, 0.5).item() == 2


def test_gates_get_no_gradient_from_pseudo_labels() -> None:
    experts, gates = logits(2), logits(3)
    sum(unsupervised_losses(experts, pseudo_targets(gates), ONES)).backward()  # type: ignore[union-attr]
    assert all(tensor.grad is None for tensor in gates)
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in experts)


def test_pseudo_labels_are_the_predictions_of_the_gates() -> None:
    gates = logits()
    pseudo = pseudo_targets(gates)
    assert torch.equal(pseudo.mask, (gates.seg[:, 1] > gates.seg[:, 0]).long())
    assert torch.equal(pseudo.boundary, (gates.bnd[:, 1] > gates.bnd[:, 0]).long())
    torch.testing.assert_close(pseudo.sdf, torch.tanh(gates.sdf).detach())
