"""Predict a slide: from its tiles and a model to its maps."""

from pathlib import Path
from typing import TYPE_CHECKING

from tiling.maps.blend_tiles import (
    MapProvenance,
    SlideTiles,
    TilePrediction,
    blend_to_store,
)
from tiling.parallel import JobSettings
from tiling.raster.atomic_files import file_checksum
from tiling.slide_errors import SlideError
from tiling.stores.attributes import geometry_of
from tiling.stores.layout import TileStore
from tiling.tiles.tile_source import StoredTiles
from tiling.tiles.tissue_store import StoredTissue
from tiling.tiles.training_windows import tile_windows
from workflow.config.configuration import MPP_TOLERANCE
from workflow.config.option_groups import PredictionOptions
from workflow.stages.job_resources import JobResources, device_for

if TYPE_CHECKING:
    from semimoe.model_card import ModelCard

# Cache of decoded chunks of the image. Tiles are read shard by shard, in rows: 40 chunks hold
# all rows of a shard that the next row of tiles overlaps.
CACHE_BYTES = 32 * 2**20


def predict_slide(
    tiles: Path,
    model: Path,
    maps: Path,
    *,
    slide: str,
    prediction: PredictionOptions,
    job: JobResources,
) -> None:
    """Predict one slide into uint8 maps by blending overlapping tiles.

    Parameters
    ----------
    model : folder of the model
    prediction : settings of the configuration; the maps' attributes record the `precision`, the
        `runtime`, the `flips` and the `margin_um` that were used

    Raises
    ------
    SlideError
        The tiles could not be made (the message is the recorded error), or the slide and the
        model have different resolutions.
    """
    from semimoe.model_card import WEIGHTS
    from semimoe.prediction.predictor import Predictor

    geometry = geometry_of(tiles)
    predictor = Predictor.load(
        model,
        device=device_for(job.gpu),
        threads=job.threads,
        precision=prediction.precision,
        flips=prediction.flips,
        runtime=prediction.runtime,
    )
    model_mpp = float(predictor.card.mpp_um)
    if abs(geometry.mpp / model_mpp - 1) > MPP_TOLERANCE:
        raise SlideError(
            f"{slide}: tiled at {geometry.mpp:.3g} um per pixel, but the model {model} was trained "
            f"at {model_mpp:.3g}; set tiles.mpp_um to {model_mpp:.3g}"
        )
    windows = tile_windows(tiles)
    tile_store = TileStore.read(tiles)
    margin_um = _margin_um(prediction.margin_um, predictor.card, tile_store)
    slide_tiles = SlideTiles(
        slide=slide,
        geometry=geometry,
        images=StoredTiles(tiles, windows, cache_bytes=CACHE_BYTES),
        origins_yx_px=windows[:, :2],
        tile_px=int(windows[0, 2]) if len(windows) else 0,
    )
    tile_prediction = TilePrediction(
        predict=predictor,
        batch=prediction.batch,
        limit=predictor,
        read_mask=StoredTissue(tiles, margin_um=margin_um).read,
    )
    provenance = MapProvenance(
        parameters={
            **prediction.to_dict(),
            "precision": predictor.precision,
            "runtime": predictor.runtime,
            "flips": predictor.flips,
            "margin_um": margin_um,
        },
        model=predictor.card.to_dict(),
        code_version=job.code_version,
        inputs={
            "tiles": {
                "fingerprint": tile_store.fingerprint,
                "parameters": tile_store.parameters,
                "version": tile_store.version,
            },
            "weights": file_checksum(model / WEIGHTS),
            # Sums in another order differ in their last bits.
            "device": [job.gpu > 0, job.threads],
        },
    )
    # On the CPU the network uses all threads.
    blend_to_store(
        maps,
        slide_tiles,
        tile_prediction,
        provenance,
        readers=job.threads if job.gpu else 1,
        job=JobSettings(workers=max(job.threads // 4, 1) if job.gpu else 1, progress=True),
    )


def _margin_um(configured: float | None, card: "ModelCard", tile_store: TileStore) -> float:
    """Width of the glass around tissue that is predicted, um.

    By default it is that of the model. It is 0 where a person drew the tissue or the region
    of interest: predictions then end at the edge that was drawn.
    """
    if configured is not None:
        return configured
    if tile_store.tissue_was_drawn:
        return 0.0
    return card.glass_margin_um
