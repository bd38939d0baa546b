"""Slide -> Zarr beside what people use today: the script of an afternoon (OpenSlide, Zarr defaults), tiffslide, and the bare decoder.

python benchmarks/slide_to_zarr.py --slide REAL.svs --sides 16384 40000

The slide is a tiled JPEG pyramid of mirrored real tissue; without --slide, of synthetic tissue.
Every contender reads all pixels at full resolution; ours also makes the pyramid, finds the tissue and measures focus. One process each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

TILE_PX = 512


def make_slide(source: Path | None, side_px: int, out: Path) -> None:
    """A pyramidal tiled JPEG TIFF of side_px x side_px, mirrored tissue at 0.5 um per pixel."""
    from tiling.slide.reader import open_slide

    if source is None:
        from tiling.synthetic import make_slide as synthetic

        source = out.with_name("tissue.tiff")
        synthetic(source, slide_id="bench", width_px=3000, height_px=3000, seed=0)
    with open_slide(source) as slide:
        pixels = slide.read(0, 0, 0, slide.facts.height_px, slide.facts.width_px)
    motif = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    motif = np.concatenate([motif, motif[::-1]], axis=0)
    options = {"tile": (256, 256), "photometric": "ycbcr", "compression": "jpeg", "compressionargs": {"level": 80}, "subsampling": (2, 2)}
    with tifffile.TiffWriter(out, bigtiff=True) as tiff:
        for level in range(4):
            side, step = side_px >> level, 1 << level
            small = np.ascontiguousarray(motif[::step, ::step])

            tiff.write(
                _tiles(small, side), shape=(side, side, 3), dtype=np.uint8, subfiletype=int(level > 0), resolution=(20000 / step,) * 2,
                resolutionunit="CENTIMETER", metadata=None, **options,
            )  # fmt: skip


def _tiles(motif: NDArray[np.uint8], side_px: int) -> Iterator[NDArray[np.uint8]]:
    """256 x 256 tiles of the motif repeated over the plane, raster order."""
    for y in range(0, side_px, 256):
        rows = motif[np.arange(y, y + 256) % motif.shape[0]]
        for x in range(0, side_px, 256):
            yield rows[:, np.arange(x, x + 256) % motif.shape[1]]


def afternoon(slide: Path, out: Path) -> None:
    """OpenSlide, tile by tile, into a Zarr array with its defaults."""
    import openslide
    import zarr

    opened = openslide.OpenSlide(slide)
    width, height = opened.dimensions
    array = zarr.create_array(out, shape=(height, width, 3), chunks=(TILE_PX, TILE_PX, 3), dtype="uint8")
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            h, w = min(TILE_PX, height - y), min(TILE_PX, width - x)
            array[y : y + h, x : x + w] = np.asarray(opened.read_region((x, y), 0, (w, h)))[..., :3]


def with_tiffslide(slide: Path, out: Path) -> None:
    """The same with tiffslide."""
    import tiffslide
    import zarr

    opened = tiffslide.TiffSlide(slide)
    width, height = opened.dimensions
    array = zarr.create_array(out, shape=(height, width, 3), chunks=(TILE_PX, TILE_PX, 3), dtype="uint8")
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            h, w = min(TILE_PX, height - y), min(TILE_PX, width - x)
            array[y : y + h, x : x + w] = opened.read_region((x, y), 0, (w, h), as_array=True)


def decoder(slide: Path, out: Path) -> None:
    """Every tile of level 0 decoded once, one thread, nothing kept: the limit of any reader."""
    with tifffile.TiffFile(slide) as tiff, slide.open("rb") as handle:
        page = tiff.pages.first
        for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            handle.seek(offset)
            page.decode(handle.read(count), index, jpegtables=page.jpegtables)


def our_reader(slide: Path, out: Path) -> None:
    """Our read path alone, one thread, block by block."""
    from tiling.slide.reader import open_slide

    with open_slide(slide) as opened:
        width, height = opened.facts.width_px, opened.facts.height_px
        for y in range(0, height, TILE_PX):
            for x in range(0, width, TILE_PX):
                opened.read(0, y, x, min(TILE_PX, height - y), min(TILE_PX, width - x))


def openslide_reader(slide: Path, out: Path) -> None:
    """OpenSlide's read path alone, one thread, block by block."""
    import openslide

    opened = openslide.OpenSlide(slide)
    width, height = opened.dimensions
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            np.asarray(opened.read_region((x, y), 0, (min(TILE_PX, width - x), min(TILE_PX, height - y))))


def ours(slide: Path, out: Path, workers: int) -> None:
    """tile_slide with every pixel kept, pyramid, tissue and focus included."""
    from tiling.tile import TileParameters, tile_slide

    parameters = TileParameters(mpp_um=0.5, tile_px=TILE_PX, overlap_px=0, min_tissue=0.0)
    tile_slide(slide, out, slide="bench", parameters=parameters, code_version=1, workers=workers, record=False)


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "decoder": decoder,
    "openslide read": openslide_reader,
    "our read": our_reader,
    "openslide -> zarr": afternoon,
    "tiffslide -> zarr": with_tiffslide,
    "ours, 1 thread": lambda slide, out: ours(slide, out, 1),
    "ours, 2 threads": lambda slide, out: ours(slide, out, 2),
}


def measured(name: str, slide: Path, folder: Path) -> dict[str, float]:
    """Seconds, peak PSS in MiB and bytes written of one contender in its own process."""
    out = folder / "out.zarr"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    process = subprocess.Popen([sys.executable, __file__, "--one", name, str(slide), str(out)], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_full_info().pss)
        except psutil.Error:
            break
        time.sleep(0.1)
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} failed")
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        "seconds": json.loads(text)["seconds"],
        "peak_mib": peak / 2**20,
        "mb": sum(f.stat().st_size for f in files) / 1e6,
        "files": len(files),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, help="real slide whose tissue is mirrored")
    parser.add_argument("--sides", type=int, nargs="+", default=[16384])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SLIDE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, slide, out = given.one
        start = time.perf_counter()
        CONTENDERS[name](Path(slide), Path(out))
        print(json.dumps({"seconds": time.perf_counter() - start}))
        return
    with tempfile.TemporaryDirectory() as folder:
        for side in given.sides:
            slide = Path(folder) / f"slide-{side}.tiff"
            make_slide(given.slide, side, slide)
            mpx = side**2 / 1e6
            print(f"{side} x {side} px, {slide.stat().st_size / 1e6:.0f} MB", flush=True)
            for name in given.contenders:
                found = measured(name, slide, Path(folder))
                print(
                    f"  {name:20s} {found['seconds']:7.1f} s {mpx / found['seconds']:7.0f} Mpx/s  peak {found['peak_mib']:6.0f} MiB"
                    f"  {found['mb']:7.0f} MB in {found['files']:5.0f} files",
                    flush=True,
                )


if __name__ == "__main__":
    main()
