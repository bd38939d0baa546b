"""Object scores of split parameters on validation images, and the parameters that are compared."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.evaluation.metrics import object_scores
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.split_choice import DEFAULT_PROMINENCE_UM, DEFAULT_SPLIT, SplitChoice
from tiling.raster.prominence import BasinsOfMask
from tiling.raster.split_rule import basins_of_maps, split_basins, split_glands

_SEED_DEPTHS_UM = (3.0, 0.0, 1.5, 6.0)
_BOUNDARY_LEVELS = (0.5, 0.25, 1.01)
_GROWTHS_UM = (10.0, 20.0)
_PROMINENCES_UM = (DEFAULT_PROMINENCE_UM, 4.0, 8.0, 3.0, 2.0, 1.0)
_SEED_THRESHOLDS = (0.7, 0.8, 0.9)
_BOUNDARY_WEIGHTS_UM = (5.0, 10.0)


class ValidationImage(NamedTuple):
    """Predicted maps and truth of a validation image.

    Attributes
    ----------
    maps : uint8 (4, H, W), quantised
    labels : int32 (H, W)
    counts : bool (H, W), pixels that count
    """

    maps: NDArray[np.uint8]
    labels: NDArray[np.int32]
    counts: NDArray[np.bool_]


def depth_candidates(network: NetworkSettings) -> list[SplitChoice]:
    """Parameters of the rule depth, the defaults first: chosen if several are equal."""
    depths: tuple[float, ...] = _SEED_DEPTHS_UM[:1]  # no effect without distances in um
    if network.splits_by_distance:  # predicted distances are clipped at sdf_um
        depths = tuple(depth for depth in _SEED_DEPTHS_UM if depth < network.sdf_um)
    return [
        SplitChoice(seed_depth_um=depth, boundary_level=level, growth_um=growth)
        for depth, level, growth in itertools.product(depths, _BOUNDARY_LEVELS, _GROWTHS_UM)
    ]


def prominence_candidates(network: NetworkSettings) -> list[SplitChoice]:
    """Parameters of the rule prominence without a threshold of seeds, the default first."""
    values: tuple[float, ...] = _PROMINENCES_UM[:1]
    if network.splits_by_distance:
        values = tuple(value for value in _PROMINENCES_UM if value < network.sdf_um)
    return [
        DEFAULT_SPLIT.model_copy(update={"rule": "prominence", "prominence_um": value})
        for value in values or (network.sdf_um / 2,)
    ]


def boundary_weight_candidates(network: NetworkSettings, split: SplitChoice) -> list[SplitChoice]:
    """The same parameters first without, then with weights of the boundary."""
    uses_boundary = network.splits_by_distance and "bnd" in network.expert_tasks
    values = _BOUNDARY_WEIGHTS_UM if uses_boundary else ()
    return [split, *(split.model_copy(update={"boundary_weight_um": value}) for value in values)]


def seed_threshold_candidates(split: SplitChoice, threshold: float) -> list[SplitChoice]:
    """The same parameters first without, then with a threshold of seeds above the mask's."""
    values = (value for value in _SEED_THRESHOLDS if value > threshold)
    return [split, *(split.model_copy(update={"seed_threshold": value}) for value in values)]


def split_scores(
    images: Sequence[ValidationImage],
    threshold: float,
    splits: Sequence[SplitChoice],
    *,
    network: NetworkSettings,
    training: TrainingSettings,
    mpp_um: float,
) -> list[dict[str, float]]:
    """Pooled object F1 and object Dice of each split, at one threshold.

    Parameters
    ----------
    splits : what their rule needs of the maps is computed once
    """
    parameters = [
        split.parameters(
            threshold=threshold,
            min_area_um2=training.min_area_um2,
            sdf_um=network.sdf_um,
            use_sdf=network.splits_by_distance,
        )
        for split in splits
    ]
    truth = [image.labels for image in images]
    predicted: list[list[NDArray[np.int32]]] = [[] for _ in splits]
    um2_per_px = mpp_um**2
    for image in images:
        gland, sdf, boundary, _ = image.maps
        basins: dict[float, BasinsOfMask] = {}
        for one, glands in zip(parameters, predicted, strict=True):
            if one.rule == "prominence":
                if (weight := one.boundary_weight_um) not in basins:
                    basins[weight] = basins_of_maps(
                        gland, sdf, boundary, mpp_um=mpp_um, parameters=one
                    )
                labels = split_basins(basins[weight], um2_per_px=um2_per_px, parameters=one)
            else:
                labels = split_glands(
                    gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=um2_per_px, parameters=one
                )
            glands.append(np.where(image.counts, labels, 0).astype(np.int32))
    scores = [
        object_scores(
            truth, glands, mpp_um=mpp_um, min_object_um2=training.min_area_um2, distances=False
        )
        for glands in predicted
    ]
    return [{"object_f1": one.object_f1, "object_dice": one.object_dice} for one in scores]
