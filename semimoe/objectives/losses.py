"""The losses: each equation is written in one place.

B batch, K classes, H, W sides. `weight` (B, H, W) is 1 on pixels that count and 0 elsewhere; if no
pixel counts, a loss is 0. All losses are computed in float32, at every precision of the network.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.networks.mixture import TaskLogits, signed_distance
from semimoe.settings import TrainingSettings

_SEG_SMOOTHING = 1.0
_BOUNDARY_SMOOTHING = 1e-8
_INITIAL_LOG_SCALE = 1.0


class Targets(NamedTuple):
    """Values that the network must predict, per pixel."""

    mask: Tensor  # int64 (B, H, W), 0 or 1
    sdf: Tensor  # float32 (B, 1, H, W), [-1, 1]
    boundary: Tensor  # int64 (B, H, W), 0 or 1

    def with_skeleton_distance(self, skeleton: Tensor) -> "Targets":
        """Replace the distance inside glands by float32 (B, H, W) in [0, 1]."""
        inside = (self.mask > 0)[:, None]
        return self._replace(sdf=torch.where(inside, skeleton[:, None], self.sdf))


class BatchShare(NamedTuple):
    """Share that a part has of its batch.

    If the losses of each part are multiplied by its share, they and their gradients add up to those
    of the whole batch.

    Attributes
    ----------
    tiles : share of the tiles
    images : share of the images in which at least one pixel counts
    pixels : share of the pixels that count
    """

    tiles: float = 1.0
    images: float = 1.0
    pixels: float = 1.0


class TaskLosses(NamedTuple):
    """One loss (scalar) for each task; None if the network does not predict it."""

    seg: Tensor
    sdf: Tensor | None
    bnd: Tensor | None

    def present(self) -> dict[str, Tensor]:
        """Losses by task, without the tasks that are None."""
        return {task: loss for task, loss in self._asdict().items() if loss is not None}

    def times(self, share: BatchShare) -> "TaskLosses":
        """Multiply the losses of a part by its share of the batch.

        The Dice losses are means over images, the distance loss is a mean over pixels.
        """
        return TaskLosses(
            share.images * self.seg,
            None if self.sdf is None else share.pixels * self.sdf,
            None if self.bnd is None else share.images * self.bnd,
        )


def seg_dice(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice loss with squared sums, per image and class.

    Parameters
    ----------
    logits : (B, 2, H, W)
    mask : int64 (B, H, W)
    weight : (B, H, W)

    Returns
    -------
    Tensor
        Scalar: mean over both classes, and over the images in which at least one pixel counts.
    """
    probability, truth = _weighted_classes(logits, mask, weight)  # (B, K, H W)
    overlap = (probability * truth).sum(2)
    size = (probability * probability).sum(2) + (truth * truth).sum(2)
    return _image_mean(1 - (2 * overlap + _SEG_SMOOTHING) / (size + _SEG_SMOOTHING), weight)


def boundary_dice(logits: Tensor, boundary: Tensor, weight: Tensor) -> Tensor:
    """Soft Dice loss without squares, per image and class: 1 - 2 tp / (2 tp + fp + fn).

    Shapes and mean are those of `seg_dice`.
    """
    probability, truth = _weighted_classes(logits, boundary, weight)  # (B, K, H W)
    overlap = (probability * truth).sum(2)
    size = probability.sum(2) + truth.sum(2)  # = 2 tp + fp + fn
    dice = (2 * overlap + _BOUNDARY_SMOOTHING) / (size + _BOUNDARY_SMOOTHING)
    return _image_mean(1 - dice, weight)


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy, per image the mean over the pixels that count.

    Shapes and mean over the images are those of `seg_dice`.
    """
    _same_shape("prediction without its channel", logits[:, 0], "target", target)
    _same_shape("target", target, "weight", weight)
    error = pixel_cross_entropy(logits, target)
    pixels = weight.float()
    means = (error * pixels).sum((1, 2)) / pixels.sum((1, 2)).clamp(min=1.0)  # (B,)
    return _image_mean(means[:, None], weight)


def pixel_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel, (B, H, W), in float32.

    Parameters
    ----------
    logits : (B, K, H, W)
    target : int64 (B, H, W)
    """
    return functional.cross_entropy(logits.float(), target, reduction="none")


def sdf_error(logits: Tensor, sdf: Tensor, weight: Tensor, *, power: Literal[1, 2] = 2) -> Tensor:
    """Mean of |tanh(logits) - sdf| ** power, over the pixels that count.

    Raises
    ------
    ValueError
        The shapes differ: (B, 1, H, W) and (B, H, W) would be broadcast to all pairs of images.
    """
    _same_shape("sdf prediction", logits, "sdf target", sdf)
    _same_shape("sdf prediction without its channel", logits[:, 0], "weight", weight)
    difference = (signed_distance(logits) - sdf.float())[:, 0]  # (B, H, W)
    return pixel_mean(difference.abs() if power == 1 else difference * difference, weight)


def binned_sdf_error(logits: Tensor, sdf: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of K values from -1 to 1, over the pixels that count.

    The two values beside the true distance share its probability, so that their mean is the
    distance: no rounding to a value.

    Parameters
    ----------
    logits : (B, K, H, W)
    sdf : (B, 1, H, W)
    weight : (B, H, W)
    """
    _same_shape("sdf prediction, one channel", logits[:, :1], "sdf target", sdf)
    _same_shape("sdf prediction without its channel", logits[:, 0], "weight", weight)
    last = logits.shape[1] - 1
    position = (sdf.float() + 1) * (last / 2)
    lower = position.long().clamp(0, last - 1)
    share_of_upper = position - lower
    log_probability = torch.log_softmax(logits.float(), 1)
    error = -(1 - share_of_upper) * log_probability.gather(1, lower)
    error = error - share_of_upper * log_probability.gather(1, lower + 1)
    return pixel_mean(error[:, 0], weight)


def task_losses(
    logits: TaskLogits, targets: Targets, weight: Tensor, *, training: TrainingSettings
) -> TaskLosses:
    """Loss of each task: the summands of eqs. 4 and 6, or other losses of the settings."""
    seg = seg_dice(logits.seg, targets.mask, weight)
    bnd = None if logits.bnd is None else boundary_dice(logits.bnd, targets.boundary, weight)
    if training.mask_loss == "dice+ce":
        seg = seg + cross_entropy(logits.seg, targets.mask, weight)
        if bnd is not None and logits.bnd is not None:
            bnd = bnd + cross_entropy(logits.bnd, targets.boundary, weight)
    sdf = None
    if logits.sdf is not None and logits.sdf.shape[1] > 1:
        sdf = binned_sdf_error(logits.sdf, targets.sdf, weight)
    elif logits.sdf is not None:
        power: Literal[1, 2] = 1 if training.sdf_loss == "l1" else 2
        sdf = sdf_error(logits.sdf, targets.sdf, weight, power=power)
    return TaskLosses(seg, sdf, bnd)


def supervised_losses(experts: TaskLosses, gates: TaskLosses) -> TaskLosses:
    """Eq. 4 per task: the sum of the losses of expert and gate."""
    gate_losses = gates.present()
    return TaskLosses(
        **{
            task: loss + gate_losses[task] if task in gate_losses else loss
            for task, loss in experts._asdict().items()
        }
    )


def pseudo_targets(gates: TaskLogits) -> Targets:
    """Eq. 5: predictions of the gates without gradient; 0 for a task without a gate."""
    mask = gates.seg.detach().argmax(1)
    sdf = torch.zeros_like(mask, dtype=torch.float32)[:, None]
    if gates.sdf is not None:
        sdf = signed_distance(gates.sdf.detach())
    boundary = torch.zeros_like(mask) if gates.bnd is None else gates.bnd.detach().argmax(1)
    return Targets(mask, sdf, boundary)


def unsupervised_losses(
    experts: TaskLogits, pseudo: Targets, weight: Tensor, *, training: TrainingSettings
) -> TaskLosses:
    """Eq. 6 per task: the experts learn from the pseudo-labels, the gates do not."""
    detached = Targets(*(target.detach() for target in pseudo))
    return task_losses(experts, detached, weight, training=training)


def total_loss(
    supervised: Tensor, unsupervised: Tensor | None, unsup_weight: float | Tensor
) -> Tensor:
    """Eq. 7: L = L_sup + lambda_unsup(t) L_unsup."""
    return supervised if unsupervised is None else supervised + unsup_weight * unsupervised


class AdaptiveLoss(nn.Module):
    """Eq. 11: sum_m e^{-s_m} L_m + gamma sum_m e^{s_m}, with learnt log-scales s_m.

    For a constant loss the minimum is at e^{s_m} = sqrt(L_m / gamma): the smaller the loss of a
    task becomes, the larger is its weight.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        log_scales = torch.full((len(TaskLosses._fields),), _INITIAL_LOG_SCALE)
        self.s = nn.Parameter(log_scales)  # s_seg, s_sdf, s_bnd

    def forward(self, losses: TaskLosses, share: float = 1.0) -> Tensor:
        """Losses of the tasks -> scalar.

        Parameters
        ----------
        share : share of the tiles that this part has of its batch; the second sum of eq. 11 is
            multiplied by it
        """
        present = losses.present()
        indices = [index for index, task in enumerate(TaskLosses._fields) if task in present]
        s = torch.stack([self.s[index] for index in indices])
        return (torch.exp(-s) * _stacked(losses) + share * self.gamma * torch.exp(s)).sum()


class SumLoss(nn.Module):
    """The plain sum of the task losses, as written in eqs. 4 and 6."""

    def forward(self, losses: TaskLosses, share: float = 1.0) -> Tensor:
        """Losses of the tasks -> scalar; `share` has no effect, `AdaptiveLoss` uses it."""
        return _stacked(losses).sum()


def _stacked(losses: TaskLosses) -> Tensor:
    """The losses that are present, (tasks,)."""
    present = list(losses.present().values())
    if any(loss.ndim for loss in present):
        shapes = [tuple(loss.shape) for loss in present]
        raise ValueError(f"losses of shapes {shapes}; each must be a scalar, nothing is broadcast")
    return torch.stack(present)


def _weighted_classes(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax and one-hot target, both 0 where the weight is 0, flattened to (B, K, H W)."""
    _same_shape("prediction without its channel", logits[:, 0], "target", target)
    _same_shape("target", target, "weight", weight)
    pixel_weight = weight.float()[:, None]  # (B, 1, H, W)
    probability = torch.softmax(logits.float(), dim=1) * pixel_weight
    classes = torch.arange(logits.shape[1], device=target.device).view(1, -1, 1, 1)
    truth = (target[:, None] == classes) * pixel_weight  # faster than functional.one_hot
    return probability.flatten(2), truth.flatten(2)


def _image_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean over classes, and over the images in which at least one pixel counts; loss (B, K)."""
    has_weight = (weight.flatten(1).sum(1) > 0).float()  # (B,)
    return (loss.mean(1) * has_weight).sum() / has_weight.sum().clamp(min=1.0)


def pixel_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over the pixels that count; both (B, H, W)."""
    pixels = weight.float()
    return (error * pixels).sum() / pixels.sum().clamp(min=1.0)


def _same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, {other_name} {tuple(other.shape)};"
            " they must be equal, nothing is broadcast"
        )
