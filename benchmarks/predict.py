r"""Tiles per second of predict_slide (with reading, blending, writing) and of the network alone.

python benchmarks/predict.py [--method semimoe|unet] [--width 16] [--tile 256] [--batch 16] \
    [--precision fp32|bf16] [--flips]
python benchmarks/predict.py --precisions [--method semimoe|unet] [--width 16] [--tile 512]
python benchmarks/predict.py --reading [--tile 256]
(all except --reading: [--device cpu|gpu])

The network alone predicts tiles of the same slide that are in memory. An untrained network is as
fast as a trained one. `--precisions` times the network in fp32 and bf16 in turns, on eight tiles;
`--reading` times the reading of all tiles in the order of prediction, with and without a cache of
decoded chunks.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
from contenders import measured, row, serve

from semimoe.methods import METHODS
from semimoe.settings import Precision

_SIDE_PX = 6000  # of the slide, 0.5 um per pixel
_SLIDE = "bench"
_TILES, _TURNS = 8, 3


def _tiles(folder: Path, tile_px: int) -> Path:
    from tiling.synthetic import SyntheticSettings, make_slide
    from tiling.tiles.slide_source import SlideSource
    from tiling.tiles.tile_slide import TileParameters, tile_slide

    settings = SyntheticSettings(
        slide=_SLIDE, seed=0, width_px=_SIDE_PX, height_px=_SIDE_PX, tissue_share=0.8
    )
    make_slide(settings, folder / "slide.tiff")
    parameters = TileParameters(mpp_um=1.0, tile_px=tile_px, overlap_px=tile_px // 4)
    tile_slide(
        SlideSource(_SLIDE, folder / "slide.tiff"),
        folder / "tiles.zarr",
        parameters=parameters,
        code_version=1,
        record=False,
    )
    return folder / "tiles.zarr"


def _write_model(folder: Path, method: str, width: int, tile_px: int) -> None:
    """Write a model folder with random weights."""
    import torch

    from semimoe.methods import METHODS
    from semimoe.model_card import WEIGHTS, ModelCard, Normalisation, save_card
    from semimoe.settings import NetworkSettings
    from semimoe.split_choice import SplitChoice
    from semimoe.tensor_files import save_tensors

    torch.manual_seed(0)
    network = NetworkSettings(encoder="unet", experts="separate", width=width)
    net = METHODS[method].load_learner().build_network(network)
    save_tensors(folder / WEIGHTS, net.state_dict(), {"network": network.to_dict()})
    card = ModelCard(
        method=method,
        network=network,
        mpp_um=1.0,
        tile_px=tile_px,
        sdf_um=network.sdf_um,
        sdf_scale=network.sdf_scale,
        normalisation=Normalisation(),
        threshold=0.5,
        split=SplitChoice(seed_depth_um=4.0, boundary_level=0.5, growth_um=8.0),
    )
    save_card(folder, card)


def bare(folder: str, device: str, threads: str, prediction: str) -> dict[str, float]:
    """The network alone, on tiles in memory."""
    from semimoe.prediction.predictor import Predictor
    from tiling.tiles.tile_source import StoredTiles
    from tiling.tiles.training_windows import tile_windows

    windows = tile_windows(Path(folder) / "tiles.zarr")
    source = StoredTiles(Path(folder) / "tiles.zarr", windows)
    settings = json.loads(prediction)
    batch = settings["batch"]
    predictor = Predictor.load(
        Path(folder) / "model",
        device="gpu" if device == "gpu" else "cpu",
        threads=int(threads),
        precision=settings["precision"],
        flips=settings["flips"],
    )
    images = np.stack([source[index].image for index in range(len(windows))])
    for start in range(0, len(images), batch):
        predictor(images[start : start + batch])
    return {"tiles": len(images)}


def slide(folder: str, device: str, threads: str, prediction: str) -> dict[str, float]:
    """predict_slide, called like in the workflow."""
    from tiling.stores.layout import MapStore
    from workflow.stages.job_resources import JobResources
    from workflow.stages.predict_slide import predict_slide

    place = Path(folder)
    predict_slide(
        place / "tiles.zarr",
        place / "model",
        place / "maps.zarr",
        slide=_SLIDE,
        prediction=json.loads(prediction),
        job=JobResources(gpu=int(device == "gpu"), threads=int(threads), code_version=1),
    )
    return {"tiles": MapStore.read(place / "maps.zarr").tiles or 0}


def reading(folder: str, cache_bytes: str) -> dict[str, float]:
    """Read all tiles in the order of prediction."""
    from tiling.maps.blend_grid import BlendGrid
    from tiling.stores.arrays import SHARD_PX
    from tiling.stores.attributes import geometry_of
    from tiling.tiles.tile_source import StoredTiles
    from tiling.tiles.training_windows import tile_windows

    tiles = Path(folder) / "tiles.zarr"
    windows, geometry = tile_windows(tiles), geometry_of(tiles)
    source = StoredTiles(tiles, windows, cache_bytes=int(cache_bytes))
    shape = (geometry.height_px, geometry.width_px)
    order = BlendGrid(
        windows[:, :2], int(windows[0, 2]), shape, shard_px=(SHARD_PX, SHARD_PX)
    ).order
    start = time.process_time()
    total = sum(int(source[int(tile)].image[0, 0, 0]) for tile in order)
    return {
        "tiles": len(windows),
        "total": total,
        "ms_per_tile": 1000 * (time.process_time() - start) / len(windows),
    }


def compare_reading(folder: Path, tile_px: int) -> None:
    """Reading with the cache of decoded chunks that predict_slide has, and without a cache."""
    from workflow.stages.predict_slide import CACHE_BYTES

    cached, uncached = (measured(__file__, "reading", folder, size) for size in (CACHE_BYTES, 0))
    for title, result in (
        ("chunks decoded for each tile", uncached),
        (f"cache of {CACHE_BYTES >> 20} MiB for decoded chunks", cached),
    ):
        row(
            title,
            result,
            note=f"{result.counted['ms_per_tile']:.2f} ms of processor per tile of {tile_px} px",
        )
    print(f"  {uncached.counted['ms_per_tile'] / cached.counted['ms_per_tile']:.1f} x")


def precisions(folder: Path, device: str, threads: int, tile_px: int) -> None:
    """Processor seconds of fp32 and bf16 in turns."""
    from semimoe.prediction.predictor import Predictor

    images = np.random.default_rng(0).integers(0, 256, (_TILES, 3, tile_px, tile_px), np.uint8)
    place = "gpu" if device == "gpu" else "cpu"
    predictors = {
        name: Predictor.load(folder / "model", device=place, threads=threads, precision=name)
        for name in get_args(Precision)
    }
    clock = time.perf_counter if device == "gpu" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(_TURNS + 1):
        for name, predictor in predictors.items():
            start = clock()
            for image in images:
                predictor(image[None])
            if turn:  # the first turn also initialises libraries
                seconds[name].append(clock() - start)
    fp32, bf16 = (float(np.median(seconds[name])) for name in ("fp32", "bf16"))
    print(
        f"{_TILES} tiles of {tile_px} px, one at a time: fp32 {fp32:.2f} s, bf16 {bf16:.2f} s: "
        f"{fp32 / bf16:.2f} x (medians of {_TURNS})"
    )


def main() -> None:
    if serve({"bare": bare, "slide": slide, "reading": reading}):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=tuple(METHODS), default="semimoe")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--precisions", action="store_true")
    parser.add_argument("--reading", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        _write_model(folder / "model", arguments.method, arguments.width, arguments.tile)
        if arguments.precisions:
            print(
                f"{arguments.method}, width {arguments.width}, {arguments.device}, "
                f"{arguments.threads} threads"
            )
            precisions(folder, arguments.device, arguments.threads, arguments.tile)
            return
        _tiles(folder, arguments.tile)
        if arguments.reading:
            compare_reading(folder, arguments.tile)
            return
        prediction = json.dumps(
            {
                "batch": arguments.batch,
                "precision": arguments.precision,
                "flips": arguments.flips,
                "margin_um": None,
            }
        )
        job = (folder, arguments.device, arguments.threads, prediction)
        alone = measured(__file__, "bare", *job)
        stage = measured(__file__, "slide", *job)
        tiles = int(stage.counted["tiles"])
        model = f"{arguments.method} of width {arguments.width}, {arguments.precision}"
        print(
            f"{tiles} tiles of {arguments.tile} px, {model}, {arguments.device}, "
            f"{arguments.threads} threads"
        )
        row(
            "network alone, tiles in memory",
            alone,
            note=f"{alone.counted['tiles'] / alone.seconds:.1f} tiles/s with loading",
        )
        row(
            "predict_slide",
            stage,
            compared_with=alone,
            note=f"{tiles / stage.seconds:.1f} tiles/s with loading",
        )


if __name__ == "__main__":
    main()
