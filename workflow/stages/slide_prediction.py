"""Tiles of a slide -> a model -> maps or pseudo-labels: what predict_slide and pseudo_label do."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiling.maps.blend_tiles import blend_to_store
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import (
    geometry_of,
    record_failure,
    recorded_error,
)
from tiling.stores.layout import PseudoLabelStore, TileStore
from tiling.tiles.tile_source import StoredTiles
from tiling.tiles.tissue_store import StoredTissue
from tiling.tiles.training_windows import sample_windows, tile_windows
from workflow.config.configuration import MPP_TOLERANCE
from workflow.stages.device_choice import device_for
from workflow.stages.slide_training import read_px

if TYPE_CHECKING:
    from semimoe.model_card import ModelCard

log = logging.getLogger(__name__)

# Tiles come shard by shard, in rows: 40 chunks of the image hold the rows that the next tiles reach back to.
CACHE_BYTES = 32 * 2**20
# Lumina as wide as this open to glass; farther off there is dust, and nothing to find.
_MARGIN_UM = 100.0


def predict_slide(
    tiles: Path,
    model: Path,
    maps: Path,
    *,
    slide: str,
    prediction: dict[str, Any],
    gpu: int,
    threads: int,
    code_version: int,
) -> None:
    """Predict one slide into uint8 maps by blending overlapping tiles.

    Parameters
    ----------
    prediction : of the configuration; `precision` and `margin_um` stand in the maps' attributes as they were taken

    Raises
    ------
    SlideError
        The slide failed at tiling (the recorded error is raised again), or its resolution is not the model's.
    """
    from semimoe.model_card import WEIGHTS
    from semimoe.prediction.predictor import Predictor
    from tiling.raster.atomic_files import file_checksum

    geometry = geometry_of(tiles)
    precision, flips = prediction["precision"], prediction["flips"]
    predictor = Predictor.load(
        model, device=device_for(gpu), threads=threads, precision=precision, flips=flips
    )
    trained_mpp = float(predictor.card.mpp_um)
    if abs(geometry.mpp / trained_mpp - 1) > MPP_TOLERANCE:
        raise SlideError(
            f"{slide}: tiled at {geometry.mpp:.3g} um per pixel, but the model {model} was trained at {trained_mpp:.3g}; "
            f"set tiles.mpp_um to {trained_mpp:.3g}"
        )
    windows = tile_windows(tiles)
    tiled = TileStore.read(tiles)
    margin_um = _margin_um(prediction["margin_um"], predictor.card, tiled)
    blend_to_store(
        maps,
        slide=slide,
        geometry=geometry,
        source=StoredTiles(tiles, windows, cache_bytes=CACHE_BYTES),
        origins_yx_px=windows[:, :2],
        tile_px=int(windows[0, 2]) if len(windows) else 0,
        predict=predictor,
        batch=prediction["batch"],
        parameters={**prediction, "precision": predictor.precision, "margin_um": margin_um},
        model=predictor.card.to_dict(),
        progress=True,
        code_version=code_version,
        within=StoredTissue(tiles, margin_um=margin_um).read,
        inputs={
            "tiles": {
                "fingerprint": tiled.fingerprint,
                "parameters": tiled.parameters,
                "version": tiled.version,
            },
            "weights": file_checksum(model / WEIGHTS),
            # Sums in another order differ in their last bits.
            "device": [gpu > 0, threads],
        },
        # On a CPU the network has the threads.
        readers=threads if gpu else 1,
        workers=max(threads // 4, 1) if gpu else 1,
        memory=predictor,
    )


def _margin_um(asked: float | None, card: "ModelCard", tiled: TileStore) -> float:
    """As asked; by default glass is left to a model that knows what it is. One that never saw glass draws glands along its edge.

    Where a person drew the tissue, or the part of the slide that counts, its edge is theirs.
    """
    if asked is not None:
        return asked
    if tiled.tissue_was_drawn:
        return 0.0
    return _MARGIN_UM if card.training and card.training.augment == "scanners" else 0.0


def pseudo_label(
    tiles: Path,
    model: Path,
    store: Path,
    *,
    slide: str,
    config: dict[str, Any],
    gpu: int,
    threads: int,
    code_version: int,
) -> None:
    """Draw tissue tiles of an unlabelled slide, label them with the gating heads, and choose those to train on."""
    from semimoe.prediction.predictor import Predictor
    from tiling.raster.quantise import quantise_pseudo_label

    training = config["training"]
    parameters = {key: training[key] for key in ("tiles_per_slide", "min_confidence")} | {
        "seed": config["seed"],
        "code_version": code_version,
    }
    error = recorded_error(tiles)
    if error:
        record_failure(store, SlideError(error), parameters)
        return
    predictor = Predictor.load(model, device=device_for(gpu), threads=threads)
    windows = sample_windows(
        tiles,
        count=training["tiles_per_slide"],
        read_px=read_px(config["tiles"]["tile_px"]),
        seed=config["seed"],
    )
    source = StoredTiles(tiles, windows, tissue=True)
    with write_store(store, parameters, resume=False) as partial:
        group = create_group(partial.folder)
        side = int(windows[0, 2]) if len(windows) else 0
        pseudo = group.create_array(
            "pseudo",
            shape=(len(windows), 3, side, side),
            dtype=np.uint8,
            chunks=(1, 3, side or 1, side or 1),
        )
        columns: dict[str, list[Any]] = {"confidence": [], "agreement": [], "gate_weights": []}
        for row in range(len(windows)):
            tile = source[row]
            maps, weights = predictor.maps_and_gate_weights(tile.image[None])
            gland, _, _, disagreement = maps[0]
            tissue = np.asarray(tile.inside, bool)
            pseudo[row] = quantise_pseudo_label(maps[0])
            columns["confidence"].append(
                np.maximum(gland, 1 - gland)[tissue].mean() if tissue.any() else 0
            )
            columns["agreement"].append(1 - disagreement[tissue].mean() if tissue.any() else 0)
            columns["gate_weights"].append(weights[0])
        table = {
            name: np.asarray(values, np.float32).reshape(len(windows), *np.shape(values)[1:])
            for name, values in columns.items()
        }
        chosen = (table["confidence"] >= training["min_confidence"]).astype(np.uint8)
        PseudoLabelStore.write_table(group, {"window_px": windows, "chosen": chosen, **table})
        log.info("%s: %d of %d tiles chosen", slide, int(chosen.sum()), len(windows))
        PseudoLabelStore(
            slide=slide,
            parameters=parameters,
            model=predictor.card.to_dict(),
            version=code_version,
            geometry=geometry_of(tiles),
        ).write(group)
