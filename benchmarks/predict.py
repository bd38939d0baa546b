"""predict_slide beside the bare network: tiles per second of a whole slide, reading, blending and writing included.

python benchmarks/predict.py [--width 16] [--tile 256] [--batch 16] [--device cpu|gpu]

The bare network predicts tiles of the same slide that lie in memory. An untrained network is as fast as a trained one.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from contenders import measured, row, serve

_SIDE_PX = 6000  # of the slide, 0.5 um per pixel
_SLIDE = "bench"


def _tiles(folder: Path, tile_px: int) -> Path:
    from tiling.synthetic import make_slide
    from tiling.tile import TileParameters, tile_slide

    make_slide(folder / "slide.tiff", slide_id=_SLIDE, width_px=_SIDE_PX, height_px=_SIDE_PX, seed=0, tissue_share=0.8)
    parameters = TileParameters(mpp_um=1.0, tile_px=tile_px, overlap_px=tile_px // 4)
    tile_slide(folder / "slide.tiff", folder / "tiles.zarr", slide=_SLIDE, parameters=parameters, code_version=1, record=False)
    return folder / "tiles.zarr"


def _model(folder: Path, width: int, tile_px: int) -> None:
    import torch

    from semimoe.network.model import SemiMoE
    from semimoe.settings import NetworkSettings
    from semimoe.weights import WEIGHTS, save_card, save_tensors

    torch.manual_seed(0)
    network = NetworkSettings(width=width)
    net = SemiMoE(network)
    save_tensors(folder / WEIGHTS, net.state_dict(), {"network": network.to_dict()})
    split = {"seed_depth_um": 4.0, "boundary_level": 0.5, "growth_um": 8.0}
    card = {"method": "semimoe", "network": network.to_dict(), "mpp_um": 1.0, "tile_px": tile_px, "threshold": 0.5, "split": split}
    save_card(folder, {**card, "sdf_um": network.sdf_um, "sdf_scale": network.sdf_scale, "normalisation": {}})


def bare(folder: str, device: str, threads: str, batch: str) -> dict[str, float]:
    """The network alone on tiles in memory."""
    from semimoe.prediction import Predictor
    from tiling.store.tiles import StoredTiles, tile_windows

    windows = tile_windows(Path(folder) / "tiles.zarr")
    source = StoredTiles(Path(folder) / "tiles.zarr", windows)
    predictor = Predictor.load(Path(folder) / "model", device="gpu" if device == "gpu" else "cpu", threads=int(threads))
    images = np.stack([source[index].image for index in range(len(windows))])
    for start in range(0, len(images), int(batch)):
        predictor(images[start : start + int(batch)])
    return {"tiles": len(images)}


def slide(folder: str, device: str, threads: str, batch: str) -> dict[str, float]:
    """predict_slide as the workflow calls it."""
    from tiling.store.arrays import attributes
    from workflow.prediction import predict_slide

    place = Path(folder)
    predict_slide(
        place / "tiles.zarr", place / "model", place / "maps.zarr", slide=_SLIDE, batch=int(batch), gpu=int(device == "gpu"),
        threads=int(threads), code_version=1,
    )  # fmt: skip
    return {"tiles": attributes(place / "maps.zarr")["tiles"]}


def main() -> None:
    if serve({"bare": bare, "slide": slide}):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _tiles(folder, given.tile)
        (folder / "model").mkdir()
        _model(folder / "model", given.width, given.tile)
        arguments = (folder, given.device, given.threads, given.batch)
        alone, whole = measured(__file__, "bare", *arguments), measured(__file__, "slide", *arguments)
        tiles = int(whole.counted["tiles"])
        print(f"{tiles} tiles of {given.tile} px, width {given.width}, {given.device}, {given.threads} threads")
        row("bare network, tiles in memory", alone, note=f"{alone.counted['tiles'] / alone.seconds:.1f} tiles/s with loading")
        row("predict_slide", whole, beside=alone, note=f"{tiles / whole.seconds:.1f} tiles/s with loading")


if __name__ == "__main__":
    main()
