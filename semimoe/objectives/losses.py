"""The losses: each equation in one place.

B batch, K classes, H, W sides. `weight` (B, H, W) is 1 on pixels that count and 0 elsewhere; without any weight a loss is 0.
All are computed in float32, whatever the precision of the network.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.networks.mixture import Heads

_SEG_SMOOTH = 1.0
_BND_SMOOTH = 1e-8
_S_START = 1.0


class Targets(NamedTuple):
    """What the heads should say, per pixel."""

    mask: Tensor  # int64 (B, H, W), 0 or 1
    sdf: Tensor  # float32 (B, 1, H, W), [-1, 1]
    boundary: Tensor  # int64 (B, H, W), 0 or 1


class BatchShare(NamedTuple):
    """How much of a whole batch a part of it is, by tiles, by images that have weight, and by pixels that have.

    The losses of the parts, each times its share, add up to the loss of the whole, and so do their gradients.
    """

    tiles: float = 1.0
    images: float = 1.0
    pixels: float = 1.0


class Terms(NamedTuple):
    """One loss per task (scalars); None where the network has no head for it."""

    seg: Tensor
    sdf: Tensor | None
    bnd: Tensor | None

    def present(self) -> dict[str, Tensor]:
        """Losses by task, without tasks that have no head."""
        return {task: loss for task, loss in self._asdict().items() if loss is not None}

    def times(self, share: BatchShare) -> "Terms":
        """Multiply the losses of a part by its share of the batch.

        The Dice losses are means over images, the distance loss is a mean over pixels.
        """
        return Terms(
            share.images * self.seg,
            None if self.sdf is None else share.pixels * self.sdf,
            None if self.bnd is None else share.images * self.bnd,
        )


def seg_dice(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice of both classes with squared sums, per image and class, then the mean over images that have weight."""
    probability, truth = _weighted_classes(logits, mask, weight)  # (B, K, H W)
    overlap = (probability * truth).sum(2)
    size = (probability**2).sum(2) + (truth**2).sum(2)
    return _image_mean(1 - (2 * overlap + _SEG_SMOOTH) / (size + _SEG_SMOOTH), weight)


def boundary_dice(logits: Tensor, boundary: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice of both classes without squares, per image and class: 1 - 2 tp / (2 tp + fp + fn)."""
    probability, truth = _weighted_classes(logits, boundary, weight)  # (B, K, H W)
    overlap = (probability * truth).sum(2)
    size = probability.sum(2) + truth.sum(2)  # = 2 tp + fp + fn
    return _image_mean(1 - (2 * overlap + _BND_SMOOTH) / (size + _BND_SMOOTH), weight)


def sdf_error(logits: Tensor, sdf: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of tanh(logits), over the pixels that count.

    Shapes must be equal: (B, 1, H, W) against (B, H, W) would broadcast to all pairs of images.
    """
    _same_shape("sdf prediction", logits, "sdf target", sdf)
    _same_shape("sdf prediction without its channel", logits[:, 0], "weight", weight)
    error = weight.float() * (torch.tanh(logits.float()) - sdf.float())[:, 0] ** 2  # (B, H, W)
    return error.sum() / weight.float().sum().clamp(min=1.0)


def task_losses(heads: Heads, targets: Targets, weight: Tensor) -> Terms:
    """Loss per task of one set of heads: the summands of eqs. 4 and 6."""
    return Terms(
        seg_dice(heads.seg, targets.mask, weight),
        None if heads.sdf is None else sdf_error(heads.sdf, targets.sdf, weight),
        None if heads.bnd is None else boundary_dice(heads.bnd, targets.boundary, weight),
    )


def supervised_terms(experts: Terms, gates: Terms) -> Terms:
    """Eq. 4 per task: experts and gates learn from the same targets."""
    gate = gates.present()
    return Terms(
        **{
            task: loss + gate[task] if task in gate else loss
            for task, loss in experts._asdict().items()
        }
    )


def pseudo_targets(gates: Heads) -> Targets:
    """Eq. 5: what the gates say, without a gradient; 0 for a task without a gate."""
    mask = gates.seg.detach().argmax(1)
    sdf = (
        torch.zeros_like(mask, dtype=torch.float32)[:, None]
        if gates.sdf is None
        else torch.tanh(gates.sdf.detach().float())
    )
    return Targets(
        mask, sdf, torch.zeros_like(mask) if gates.bnd is None else gates.bnd.detach().argmax(1)
    )


def unsupervised_terms(experts: Heads, pseudo: Targets, weight: Tensor) -> Terms:
    """Eq. 6 per task: the experts learn from the pseudo-labels, the gates do not."""
    return task_losses(experts, Targets(*(target.detach() for target in pseudo)), weight)


def total(supervised: Tensor, unsupervised: Tensor | None, unsup_weight: float) -> Tensor:
    """Eq. 7: L = L_sup + lambda_unsup(t) L_unsup."""
    return supervised if unsupervised is None else supervised + unsup_weight * unsupervised


class AdaptiveLoss(nn.Module):
    """Eq. 11: sum_m e^{-s_m} L_m + gamma sum_m e^{s_m}, the s_m learnt.

    For a constant loss the minimum is at e^{s_m} = sqrt(L_m / gamma): a task weighs more as its loss shrinks.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.s = nn.Parameter(torch.full((len(Terms._fields),), _S_START))  # s_seg, s_sdf, s_bnd

    def forward(self, terms: Terms, share: float = 1.0) -> Tensor:
        """Losses per task -> scalar; `share` of the regulariser belongs to this part of a batch."""
        losses = _scalars(terms)
        s = self.s[[number for number, task in enumerate(Terms._fields) if task in terms.present()]]
        return (torch.exp(-s) * losses + share * self.gamma * torch.exp(s)).sum()


class SumLoss(nn.Module):
    """The plain sum of the task losses, as written in eqs. 4 and 6."""

    def forward(
        self, terms: Terms, share: float = 1.0
    ) -> Tensor:  # the share as of the adaptive loss
        """Losses per task -> scalar."""
        return _scalars(terms).sum()


def _scalars(terms: Terms) -> Tensor:
    """The losses there are, (tasks,)."""
    known = list(terms.present().values())
    if any(loss.ndim for loss in known):
        raise ValueError(
            f"losses of shapes {[tuple(loss.shape) for loss in known]}; each must be a scalar, nothing is broadcast"
        )
    return torch.stack(known)


def _weighted_classes(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax and one-hot truth, both 0 where the weight is 0, flattened to (B, K, H W)."""
    _same_shape("prediction without its channel", logits[:, 0], "target", target)
    _same_shape("target", target, "weight", weight)
    counts = weight.float()[:, None]  # (B, 1, H, W)
    probability = torch.softmax(logits.float(), dim=1) * counts
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * counts
    return probability.flatten(2), truth.flatten(2)


def _image_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean over classes and over the images that have any weight; loss (B, K)."""
    counts = (weight.flatten(1).sum(1) > 0).float()  # (B,)
    return (loss.mean(1) * counts).sum() / counts.sum().clamp(min=1.0)


def _same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, {other_name} {tuple(other.shape)}; they must be equal, nothing is broadcast"
        )
