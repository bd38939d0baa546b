"""`tile`: tile a slide into an OME-Zarr store."""

import argparse
from pathlib import Path

from tiling.commands.shared_arguments import add_origin, number_between
from tiling.raster.geometry import MOST_TILE_PX
from tiling.slide_errors import FailedSlideError, StoreError

NAME = "tile"
SUMMARY = "tile a slide into an OME-Zarr store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("slide", type=Path, help="slide file or folder")
    parser.add_argument("out", type=Path, help="store to write, *.zarr")
    parser.add_argument(
        "--mpp", type=float, help="um per pixel at full resolution, in place of what the file says"
    )
    parser.add_argument(
        "--working-mpp",
        type=number_between(float, 0.05, 20),
        default=1.0,
        help="um per stored pixel",
    )
    parser.add_argument(
        "--tile-px",
        type=number_between(int, 16, MOST_TILE_PX),
        default=256,
        help="side of a tile, stored pixels",
    )
    parser.add_argument(
        "--overlap-px",
        type=number_between(int, 0, 4096),
        default=64,
        help="overlap of neighbouring tiles, stored pixels",
    )
    parser.add_argument(
        "--tissue-mpp",
        type=number_between(float, 1, 64),
        default=8.0,
        help="resolution at which tissue is found, um per pixel",
    )
    parser.add_argument(
        "--min-tissue",
        type=number_between(float, 0, 1),
        default=0.05,
        help="least share of tissue in a tile; 0: every tile",
    )
    parser.add_argument(
        "--tissue", type=Path, help="GeoJSON or mask image that replaces the tissue found"
    )
    parser.add_argument(
        "--roi", type=Path, help="GeoJSON or mask image outside which there is no tissue"
    )
    add_origin(parser)
    parser.add_argument(
        "--icc",
        choices=("keep", "apply"),
        default="keep",
        help="keep the pixels of the file, or apply its colour profile (to sRGB)",
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        help="folder on a fast local disk to which the slide is copied while it is read",
    )
    parser.add_argument(
        "--workers",
        type=number_between(int, 1, 1024),
        default=1,
        help="threads",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the store; an existing tile store is replaced, nothing else is."""
    from tiling.parallel import JobSettings
    from tiling.tiles.slide_source import SlideSource
    from tiling.tiles.tile_slide import TileParameters, tile_slide
    from tiling.tissue.mask_files import MaskFiles

    _check_store(arguments.out)
    parameters = TileParameters(
        mpp_um=arguments.working_mpp,
        tile_px=arguments.tile_px,
        overlap_px=arguments.overlap_px,
        tissue_mpp_um=arguments.tissue_mpp,
        min_tissue=arguments.min_tissue,
        icc=arguments.icc,
    )
    source = SlideSource(
        slide=arguments.out.stem,
        path=arguments.slide,
        mpp=arguments.mpp,
        masks=MaskFiles(arguments.tissue, arguments.roi, arguments.origin),
    )
    tile_slide(
        source,
        arguments.out,
        parameters=parameters,
        code_version=1,
        job=JobSettings(workers=arguments.workers, progress=True),
        local_copies=arguments.scratch,
        record=False,
    )


def _check_store(out: Path) -> None:
    """Refuse a path whose content is no tile store: writing a store deletes what is there."""
    from tiling.stores.layout import TileStore

    if out.suffix != ".zarr":
        raise ValueError(f"{out}: the store to write must be named *.zarr")
    is_empty_folder = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_empty_folder:
        try:
            TileStore.read(out)
        except (StoreError, FailedSlideError) as error:
            raise ValueError(
                f"{out}: exists and is not a finished tile store ({error}); name another, or delete"
                " it"
            ) from error
