"""Pseudo-labels of a teacher: where it is certain, for mixed tiles.

The teacher predicts tiles without changes of stain and focus; the experts learn from the same tiles
with these changes (FixMatch: Sohn et al. 2020), after parts of tiles were exchanged (CutMix: French
et al. 2020).

B batch, H, W sides of a tile.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semimoe.networks.mixture import NetworkOutputs, TaskLogits, signed_distance
from semimoe.objectives.losses import Targets
from tiling.raster.quantise import quantise_probability, quantise_sdf
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import split_glands

# A pixel counts if the teacher's probability of its class is at least this.
_LEAST_CONFIDENCE = 0.9
# Area of an exchanged rectangle, as a share of the tile.
_MIXED_AREAS = (0.1, 0.4)


class PseudoTiles(NamedTuple):
    """Tiles with pseudo-labels.

    Attributes
    ----------
    image : uint8 (B, 3, H, W)
    targets : of the teacher
    weight : float32 (B, H, W), 1 where the pseudo-label counts
    truth, truth_weight : see `semimoe.objectives.batch.Batch`
    """

    image: Tensor
    targets: Targets
    weight: Tensor
    truth: Tensor
    truth_weight: Tensor


class TeacherMaps(NamedTuple):
    """Means over the views of a teacher; a task without a gate has zeros.

    Attributes
    ----------
    gland, boundary : float32 (B, H, W), probabilities
    sdf : float32 (B, 1, H, W), [-1, 1]
    """

    gland: Tensor
    sdf: Tensor
    boundary: Tensor


def teacher_maps(views: list[NetworkOutputs]) -> TeacherMaps:
    """Mean outputs of the gates.

    Parameters
    ----------
    views : outputs for the same tiles, already flipped back
    """
    gland = _mean([torch.softmax(view.gates.seg.float(), 1)[:, 1] for view in views])
    sdf, boundary = torch.zeros_like(gland)[:, None], torch.zeros_like(gland)
    if views[0].gates.sdf is not None:
        sdf = _mean([signed_distance(_present(view.gates.sdf)) for view in views])
    if views[0].gates.bnd is not None:
        logits = [_present(view.gates.bnd) for view in views]
        boundary = _mean([torch.softmax(part.float(), 1)[:, 1] for part in logits])
    return TeacherMaps(gland, sdf, boundary)


def targets_of_maps(maps: TeacherMaps) -> Targets:
    """Mask and boundary from a probability of .5, and the mean distance."""
    return Targets((maps.gland >= 0.5).long(), maps.sdf, (maps.boundary >= 0.5).long())


def certain_pixels(maps: TeacherMaps, views: list[NetworkOutputs]) -> Tensor:
    """Where pseudo-labels count, bool (B, H, W).

    The mean probability is certain, and the experts for mask and distance agree with it.
    """
    probability = maps.gland
    mask = (probability >= 0.5).long()
    counts = torch.maximum(probability, 1 - probability) >= _LEAST_CONFIDENCE
    expert = _mean([torch.softmax(view.experts.seg.float(), 1)[:, 1] for view in views])
    counts &= (expert >= 0.5).long() == mask
    if views[0].experts.sdf is not None:
        expert_sdf = _mean([signed_distance(_present(view.experts.sdf)) for view in views])
        counts &= (expert_sdf[:, 0] > 0).long() == mask
    return counts


def glands_of_maps(
    maps: TeacherMaps, *, mpp_um: float, parameters: SplitParameters
) -> list[NDArray[np.int32]]:
    """Glands that the split rule finds in each tile, int32 (H, W)."""
    gland, sdf, boundary = (
        quantise(values.cpu().numpy())
        for quantise, values in (
            (quantise_probability, maps.gland),
            (quantise_sdf, maps.sdf[:, 0]),
            (quantise_probability, maps.boundary),
        )
    )
    return [
        split_glands(*tile, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=parameters)
        for tile in zip(gland, sdf, boundary, strict=True)
    ]


def flipped_back(outputs: NetworkOutputs, axes: tuple[int, ...]) -> NetworkOutputs:
    """Outputs of flipped images, on the pixels of the images."""
    experts, gates = (
        TaskLogits(
            logits.seg.flip(axes),
            None if logits.sdf is None else logits.sdf.flip(axes),
            None if logits.bnd is None else logits.bnd.flip(axes),
        )
        for logits in (outputs.experts, outputs.gates)
    )
    return outputs._replace(experts=experts, gates=gates)


def exchange_rectangles(tiles: PseudoTiles) -> PseudoTiles:
    """Replace a random rectangle of each tile by that of the tile before it in the batch.

    A batch of one tile stays as it is; a run with such batches is refused.
    """
    count, height, width = tiles.weight.shape
    device = tiles.weight.device
    area, shape, y, x = torch.rand(4, count, 1, device=device)
    low, high = _MIXED_AREAS
    side = (low + (high - low) * area).sqrt()
    ratio = torch.exp2(shape - 0.5)  # sides differ by at most the factor 2
    inside = []
    for centre, share, length in ((y, side * ratio, height), (x, side / ratio, width)):
        axis = (torch.arange(length, device=device) + 0.5) / length
        start = centre * (1 - share)
        inside.append((axis >= start) & (axis < start + share))  # (B, length)
    mixed = inside[0][:, :, None] & inside[1][:, None, :]  # (B, H, W)

    def exchange(values: Tensor) -> Tensor:
        where = mixed if values.ndim == mixed.ndim else mixed[:, None]
        return torch.where(where, values.roll(1, 0), values)

    return PseudoTiles(
        exchange(tiles.image),
        Targets(*(exchange(target) for target in tiles.targets)),
        exchange(tiles.weight),
        exchange(tiles.truth),
        exchange(tiles.truth_weight),
    )


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).mean(0)


def _present(logits: Tensor | None) -> Tensor:
    assert logits is not None  # the caller asked whether the task has an output
    return logits
