"""Pseudo-labels for an unlabelled slide: from its tiles and a supervised model to targets."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.progress import count_progress
from tiling.raster.quantise import quantise_pseudo_label
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import geometry_of, record_failure, recorded_error
from tiling.stores.layout import PseudoLabelStore
from tiling.tiles.tile_source import StoredTiles
from tiling.tiles.training_windows import sample_windows
from workflow.stages.job_resources import JobResources, device_for
from workflow.stages.training_sources import training_window_px

if TYPE_CHECKING:
    from semimoe.prediction.predictor import Predictor
    from tiling.raster.tile import Tile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabelSettings:
    """How tiles of an unlabelled slide are drawn and chosen.

    Attributes
    ----------
    tile_px : side of a tile, stored pixels
    tiles_per_slide : tissue tiles that are drawn, at most
    min_confidence : tiles with a smaller mean probability of the predicted class are not chosen
    seed : of the draw
    """

    tile_px: int
    tiles_per_slide: int
    min_confidence: float
    seed: int


class TileScores(NamedTuple):
    """Means over the tissue of one tile; 0 without tissue.

    Attributes
    ----------
    confidence : probability of the predicted class
    agreement : 1 - disagreement of the experts
    gate_weights : float32 (3, 3), gate x expert
    """

    confidence: float
    agreement: float
    gate_weights: NDArray[np.float32]


def pseudo_label(
    tiles: Path,
    model: Path,
    store: Path,
    *,
    slide: str,
    settings: PseudoLabelSettings,
    job: JobResources,
) -> None:
    """Draw tissue tiles of an unlabelled slide, predict their labels, and choose confident ones.

    Parameters
    ----------
    model : folder of the supervised model
    store : store to write; where the tiles record an error, it records the same error
    """
    from semimoe.prediction.predictor import Predictor

    parameters = {
        "tiles_per_slide": settings.tiles_per_slide,
        "min_confidence": settings.min_confidence,
        "seed": settings.seed,
        "code_version": job.code_version,
    }
    error = recorded_error(tiles)
    if error:
        record_failure(store, SlideError(error), parameters)
        return
    predictor = Predictor.load(model, device=device_for(job.gpu), threads=job.threads)
    windows = sample_windows(
        tiles,
        count=settings.tiles_per_slide,
        read_px=training_window_px(settings.tile_px),
        seed=settings.seed,
    )
    source = StoredTiles(tiles, windows, tissue=True)
    with write_store(store, parameters, resume=False) as partial:
        group = create_group(partial.folder)
        side = int(windows[0, 2]) if len(windows) else 0
        targets = group.create_array(
            "pseudo",
            shape=(len(windows), 3, side, side),
            dtype=PseudoLabelStore.ARRAYS["pseudo"],
            chunks=(1, 3, side or 1, side or 1),
        )
        scores = []
        with count_progress("tiles", len(windows)) as progress:
            for row in range(len(windows)):
                targets[row], tile_scores = _predicted(predictor, source[row])
                scores.append(tile_scores)
                progress.advance()
        columns = _columns(scores)
        chosen = (columns["confidence"] >= settings.min_confidence).astype(np.uint8)
        PseudoLabelStore.write_table(group, {"window_px": windows, "chosen": chosen, **columns})
        log.info("%s: %d of %d tiles chosen", slide, int(chosen.sum()), len(windows))
        PseudoLabelStore(
            slide=slide,
            parameters=parameters,
            model=predictor.card.to_dict(),
            version=job.code_version,
            geometry=geometry_of(tiles),
        ).write(group)


def _predicted(predictor: "Predictor", tile: "Tile") -> tuple[NDArray[np.uint8], TileScores]:
    """Quantised targets uint8 (3, H, W) of a tile, and its scores."""
    maps, weights = predictor.maps_and_gate_weights(tile.image[None])
    gland, _, _, disagreement = maps[0]
    tissue = np.asarray(tile.inside, bool)
    confidence = agreement = 0.0
    if tissue.any():
        confidence = np.maximum(gland, 1 - gland)[tissue].mean()
        agreement = 1 - disagreement[tissue].mean()
    return quantise_pseudo_label(maps[0]), TileScores(confidence, agreement, weights[0])


def _columns(scores: list[TileScores]) -> dict[str, NDArray[np.float32]]:
    """Columns of the table of tiles, a row for each tile."""
    columns = {}
    for name in TileScores._fields:
        values = [getattr(tile_scores, name) for tile_scores in scores]
        columns[name] = np.asarray(values, np.float32)
    return columns
