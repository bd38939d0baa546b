"""The losses against values worked out by hand, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor

from semimoe.networks.mixture import Heads
from semimoe.objectives.losses import (
    AdaptiveLoss,
    SumLoss,
    Targets,
    Terms,
    boundary_dice,
    pseudo_targets,
    sdf_error,
    seg_dice,
    supervised_terms,
    task_losses,
    total,
    unsupervised_terms,
)

B, H, W = 2, 4, 6


def heads(seed: int = 0) -> Heads:
    make = torch.Generator().manual_seed(seed)
    return Heads(*(torch.randn(B, k, H, W, generator=make).requires_grad_() for k in (2, 1, 2)))


def targets(seed: int = 1) -> Targets:
    make = torch.Generator().manual_seed(seed)
    return Targets(
        torch.randint(2, (B, H, W), generator=make),
        torch.rand(B, 1, H, W, generator=make) * 2 - 1,
        torch.randint(2, (B, H, W), generator=make),
    )


ONES = torch.ones(B, H, W)


def test_seg_dice_is_the_squared_dice_of_both_classes() -> None:
    logits, mask = heads().seg, targets().mask
    p = torch.softmax(logits, 1)
    by_hand = []
    for image in range(B):
        for k in range(2):
            y = (mask[image] == k).float()
            by_hand.append(
                1 - (2 * (p[image, k] * y).sum() + 1) / ((p[image, k] ** 2).sum() + y.sum() + 1)
            )
    assert seg_dice(logits, mask, ONES).item() == pytest.approx(torch.stack(by_hand).mean().item())


def test_boundary_dice_of_half_probabilities() -> None:
    logits, truth = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]])
    # Class 0: tp 1.5, sum p 2, sum y 3; class 1: tp .5, sum p 2, sum y 1.
    assert boundary_dice(logits, truth, torch.ones(1, 1, 4)).item() == pytest.approx(
        1 - (3 / 5 + 1 / 3) / 2
    )


def test_sdf_error_is_the_mean_square_of_tanh() -> None:
    logits, sdf = heads().sdf, targets().sdf
    assert sdf_error(logits, sdf, ONES).item() == pytest.approx(
        ((torch.tanh(logits) - sdf) ** 2).mean().item()
    )


def test_pixels_without_weight_change_nothing() -> None:
    weight = ONES.clone()
    weight[0, :, 3:] = 0
    first, second = heads(), [tensor.detach().clone() for tensor in heads()]
    other = targets()
    for tensor in second:
        tensor[0, :, :, 3:] = 7
    changed = Targets(*(target.clone() for target in other))
    changed.mask[0, :, 3:], changed.sdf[0, ..., 3:], changed.boundary[0, :, 3:] = 1, 0.3, 0
    torch.testing.assert_close(
        task_losses(first, other, weight), task_losses(Heads(*second), changed, weight)
    )


def test_no_weight_at_all_is_zero_loss_and_zero_gradient() -> None:
    made = heads()
    loss = sum(task_losses(made, targets(), torch.zeros(B, H, W)))
    assert isinstance(loss, Tensor)
    assert loss.item() == 0
    loss.backward()
    assert all(
        tensor.grad is not None and torch.equal(tensor.grad, torch.zeros_like(tensor))
        for tensor in made
    )


def test_an_image_without_weight_does_not_dilute_the_others() -> None:
    weight = ONES.clone()
    weight[1] = 0
    alone = task_losses(
        Heads(*(t[:1] for t in heads())), Targets(*(t[:1] for t in targets())), ONES[:1]
    )
    torch.testing.assert_close(task_losses(heads(), targets(), weight), alone)


def test_perfect_prediction_has_nearly_no_loss() -> None:
    truth = targets()
    sure = [
        torch.nn.functional.one_hot(t, 2).movedim(-1, 1) * 40.0
        for t in (truth.mask, truth.boundary)
    ]
    terms = task_losses(Heads(sure[0], torch.atanh(truth.sdf), sure[1]), truth, ONES)
    assert max(term.item() for term in terms) < 1e-5


@pytest.mark.parametrize(
    ("loss", "logits", "target", "weight"),
    [
        (sdf_error, (B, 1, H, W), (B, H, W), (B, H, W)),  # broadcasts to all pairs of images
        (sdf_error, (B, 1, H, W), (1, 1, H, W), (B, H, W)),
        (sdf_error, (B, 1, H, W), (B, 1, H, W), (B, 1, H, W)),
        (seg_dice, (B, 2, H, W), (1, H, W), (B, H, W)),
        (seg_dice, (B, 2, H, W), (B, H, W), (1, H, W)),
        (boundary_dice, (B, 2, H, W), (B, H, 1), (B, H, W)),
    ],
)
def test_shapes_are_never_broadcast(loss, logits, target, weight) -> None:
    kind = torch.float32 if loss is sdf_error else torch.int64
    with pytest.raises(ValueError, match="must be equal"):
        loss(torch.zeros(logits), torch.zeros(target, dtype=kind), torch.ones(weight))


def test_adaptive_loss_rests_where_e_to_the_s_is_the_root_of_loss_over_gamma() -> None:
    adaptive, terms = AdaptiveLoss(0.4), Terms(*torch.tensor([0.1, 0.4, 1.6]))
    with torch.no_grad():
        adaptive.s.copy_(0.5 * torch.log(torch.stack(terms) / 0.4))
    value = adaptive(terms)
    value.backward()
    assert adaptive.s.grad is not None
    torch.testing.assert_close(adaptive.s.grad, torch.zeros(3), atol=1e-6, rtol=0)
    assert value.item() == pytest.approx(sum(2 * math.sqrt(0.4 * loss) for loss in (0.1, 0.4, 1.6)))
    with torch.no_grad():
        adaptive.s += 0.1
    assert adaptive(terms).item() > value.item()


def test_optimising_the_scales_finds_that_point() -> None:
    adaptive, terms = AdaptiveLoss(0.8), Terms(*torch.tensor([0.05, 0.3, 2.5]))
    optimizer = torch.optim.Adam(adaptive.parameters(), lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        adaptive(terms).backward()
        optimizer.step()
    expected = torch.sqrt(torch.stack(list(terms)) / 0.8)
    torch.testing.assert_close(torch.exp(adaptive.s.detach()), expected, atol=0, rtol=1e-3)


def test_a_task_without_a_head_has_no_loss_and_no_regulariser() -> None:
    adaptive, made = AdaptiveLoss(0.4), heads()._replace(sdf=None)
    terms = task_losses(made, targets(), ONES)
    assert set(terms.present()) == {"seg", "bnd"}
    value = adaptive(terms)
    value.backward()
    assert adaptive.s.grad is not None
    assert adaptive.s.grad[1] == 0
    assert value.item() == pytest.approx(
        (math.exp(-1) * (terms.seg + terms.bnd)).item() + 2 * 0.4 * math.e
    )
    # An expert without a gate: eq. 4 has one summand for it.
    both = supervised_terms(task_losses(heads(), targets(), ONES), terms)
    assert both.sdf is not None
    assert both.sdf.item() == pytest.approx(sdf_error(heads().sdf, targets().sdf, ONES).item())


@pytest.mark.parametrize("loss", [AdaptiveLoss(0.4), SumLoss()])
def test_losses_that_are_not_scalars_are_refused(loss) -> None:
    with pytest.raises(ValueError, match="scalar"):
        loss(Terms(torch.ones(3), torch.tensor(1.0), torch.tensor(1.0)))


@pytest.mark.parametrize(
    "wrong", [{"mask": (1, H, W)}, {"sdf": (B, H, W)}, {"boundary": (B, H, 1)}]
)
@pytest.mark.parametrize("loss", [task_losses, unsupervised_terms])
def test_targets_of_another_shape_are_refused_whatever_the_task(loss, wrong) -> None:
    given = targets()._replace(
        **{
            name: torch.zeros(shape, dtype=getattr(targets(), name).dtype)
            for name, shape in wrong.items()
        }
    )
    with pytest.raises(ValueError, match="must be equal"):
        loss(heads(), given, ONES)


def test_plain_sum_and_total() -> None:
    ones = Terms(*torch.ones(3))
    assert SumLoss()(supervised_terms(ones, ones)).item() == 6
    assert total(torch.tensor(2.0), torch.tensor(3.0), 0.5).item() == 3.5
    assert total(torch.tensor(2.0), None, 0.5).item() == 2


def test_gates_get_no_gradient_from_pseudo_labels() -> None:
    experts, gates = heads(2), heads(3)
    sum(unsupervised_terms(experts, pseudo_targets(gates), ONES)).backward()  # type: ignore[union-attr]
    assert all(tensor.grad is None for tensor in gates)
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in experts)


def test_pseudo_labels_are_what_the_gates_say() -> None:
    gates = heads()
    made = pseudo_targets(gates)
    assert torch.equal(made.mask, (gates.seg[:, 1] > gates.seg[:, 0]).long())
    assert torch.equal(made.boundary, (gates.bnd[:, 1] > gates.bnd[:, 0]).long())
    torch.testing.assert_close(made.sdf, torch.tanh(gates.sdf).detach())
