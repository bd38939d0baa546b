"""`python -m tiling`: look at a slide, tile it, list a folder, convert outlines.

Status 0 when what was asked for was made, 2 for wrong input with one line on stderr, 1 when the machine failed.
Each command imports what it needs: `--help` stays quick.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tiling.messages import counted
from tiling.slide_errors import StoreError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        given.run(given)
    except BrokenPipeError:
        return 1
    except (ValueError, FileNotFoundError) as error:
        return _refused(error, 2)
    except (OSError, StoreError) as error:
        return _refused(error, 1)
    return 0


def _refused(error: Exception, status: int) -> int:
    print(" ".join(str(error).split()), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tiling", description="Slides to arrays and back.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = _command(commands, "info", _info, "facts of a slide, and what is wrong with it")
    info.add_argument("slide", type=Path)
    info.add_argument("--mpp", type=float, help="um per pixel, in place of what the file says")
    info.add_argument("--json", action="store_true", help="as JSON")

    tile = _command(commands, "tile", _tile, "tile a slide into an OME-Zarr store")
    tile.add_argument("slide", type=Path)
    tile.add_argument("out", type=Path, help="store to write, *.zarr")
    tile.add_argument(
        "--mpp", type=float, help="um per pixel at full resolution, in place of what the file says"
    )
    tile.add_argument(
        "--working-mpp", type=float, default=1.0, help="um per stored pixel (default %(default)s)"
    )
    tile.add_argument(
        "--tile-px",
        type=int,
        default=256,
        help="side of a tile, stored pixels (default %(default)s)",
    )
    tile.add_argument(
        "--overlap-px",
        type=int,
        default=64,
        help="overlap of neighbouring tiles (default %(default)s)",
    )
    tile.add_argument(
        "--tissue-mpp",
        type=float,
        default=8.0,
        help="um per pixel at which tissue is found (default %(default)s)",
    )
    tile.add_argument(
        "--min-tissue",
        type=float,
        default=0.05,
        help="least share of tissue in a tile (default %(default)s)",
    )
    tile.add_argument(
        "--tissue", type=Path, help="GeoJSON or mask image that replaces the tissue found"
    )
    tile.add_argument("--roi", type=Path, help="GeoJSON or mask image that restricts it")
    tile.add_argument(
        "--origin",
        choices=("bounds", "slide"),
        default="bounds",
        help="what GeoJSON counts from (default %(default)s, as QuPath)",
    )
    tile.add_argument(
        "--icc",
        choices=("keep", "apply"),
        default="keep",
        help="embedded colour profile (default %(default)s)",
    )
    tile.add_argument(
        "--scratch",
        type=Path,
        help="folder on a fast local disk to which the slide is copied while it is read",
    )
    tile.add_argument("--workers", type=int, default=1, help="threads (default %(default)s)")

    sheet = _command(commands, "sheet", _sheet, "a sheet of the slides in a folder")
    sheet.add_argument("folder", type=Path)
    sheet.add_argument(
        "--out",
        type=Path,
        help="file to write (default: stdout, paths relative to the current folder)",
    )

    thumbnail = _command(commands, "thumbnail", _thumbnail, "a small picture of a slide")
    thumbnail.add_argument("slide", type=Path)
    thumbnail.add_argument("out", type=Path)
    thumbnail.add_argument(
        "--max-px", type=int, default=1024, help="longest side (default %(default)s)"
    )

    labels = _command(
        commands,
        "geojson-to-labels",
        _geojson_to_labels,
        "outlines to an int32 label image at full resolution",
    )
    labels.add_argument("annotations", type=Path)
    labels.add_argument("slide", type=Path)
    labels.add_argument("out", type=Path)
    labels.add_argument(
        "--gland-class", default="Gland", help="class of a gland (default %(default)s)"
    )
    labels.add_argument(
        "--objects",
        choices=("annotations", "all"),
        default="annotations",
        help="also read detections: all (default %(default)s)",
    )

    tissue = _command(
        commands,
        "tissue",
        _tissue,
        "the tissue found in a tile store, to be corrected in QuPath (then: column tissue)",
    )
    tissue.add_argument("store", type=Path, help="results/tiles/SLIDE.zarr")
    tissue.add_argument("out", type=Path, help="GeoJSON to write")
    tissue.add_argument(
        "--origin",
        choices=("bounds", "slide"),
        default="bounds",
        help="what GeoJSON counts from (default %(default)s, as QuPath)",
    )

    outlines = _command(
        commands,
        "labels-to-geojson",
        _labels_to_geojson,
        "a label image to outlines that QuPath opens",
    )
    outlines.add_argument("labels", type=Path)
    outlines.add_argument("out", type=Path)
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:  # noqa: ANN401  # argparse has no public type for it
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(run=run)
    return command


def _info(given: argparse.Namespace) -> None:
    from tiling.slides.metadata import mpp_problem
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.truncation import cut_problem

    with open_slide(given.slide, mpp=given.mpp) as slide:
        facts = slide.facts
    problems = [
        problem for problem in (cut_problem(given.slide), mpp_problem(facts)) if problem is not None
    ]
    if given.json:
        print(json.dumps({**facts.to_dict(), "problems": problems}, indent=2))
        return
    print(f"{facts.path}: {facts.vendor}, read by {facts.reader}, {facts.bytes / 1e6:.1f} MB")
    for level, ((width, height), (x, y)) in enumerate(
        zip(facts.level_sizes_px, facts.downsamples, strict=True)
    ):
        print(
            f"  level {level}: {width} x {height} px, downsample {x:g}"
            + (f" x {y:g}" if x != y else "")
        )
    size = (
        "none"
        if facts.mpp_x is None
        else f"{facts.mpp_x:.5g} x {facts.mpp_y:.5g} um (from {facts.mpp_origin})"
    )
    print(f"  pixel size: {size}; looked at {'; '.join(facts.mpp_looked_at)}")
    print(f"  bounds (x, y, width, height): {', '.join(map(str, facts.bounds_level0))}")
    print(
        f"  objective: {'unknown' if facts.objective_power is None else f'{facts.objective_power:g}x'}"
    )
    print(f"  associated images: {', '.join(facts.associated) or 'none'}")
    print(f"  colour profile: {facts.colour_profile or 'none'}")
    print(f"  fingerprint: {facts.fingerprint}")
    for problem in problems:
        print(f"  problem: {problem}")


def _tile(given: argparse.Namespace) -> None:
    from tiling.tiles.tile_slide import TileParameters, tile_slide

    _check_store(given.out)
    parameters = TileParameters(
        mpp_um=given.working_mpp,
        tile_px=given.tile_px,
        overlap_px=given.overlap_px,
        tissue_mpp_um=given.tissue_mpp,
        min_tissue=given.min_tissue,
        icc=given.icc,
    )
    tile_slide(
        given.slide,
        given.out,
        slide=given.out.stem,
        parameters=parameters,
        mpp=given.mpp,
        tissue=given.tissue,
        roi=given.roi,
        origin=given.origin,
        code_version=1,
        workers=given.workers,
        progress=True,
        record=False,
        scratch=given.scratch,
    )


def _check_store(out: Path) -> None:
    """Writing a store replaces what is there: only a store of ours may be."""
    from tiling.stores.arrays import open_store

    if out.suffix != ".zarr":
        raise ValueError(f"{out}: the store to write must be named *.zarr")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        try:
            open_store(out)
        except StoreError as error:
            raise ValueError(
                f"{out}: exists and is not a store of this pipeline; name another ({error})"
            ) from error


def _sheet(given: argparse.Namespace) -> None:
    from tiling.raster.atomic_files import write_atomic
    from tiling.slides.folder_sheet import sheet_from_folder, sheet_text

    if given.out is not None and given.out.exists():
        raise ValueError(
            f"{given.out}: is there already, and what was filled in would be lost; give --out another name, or remove it"
        )
    rows, left_out = sheet_from_folder(given.folder)
    if given.out is None:
        sys.stdout.write(sheet_text(rows, Path.cwd()))
    else:
        write_atomic(given.out, sheet_text(rows, given.out.parent))
    doubtful = sum(bool(row.check) for row in rows)
    print(f"{counted(len(rows), 'slide')}, {doubtful} to check (column `check`)", file=sys.stderr)
    for remark in left_out:
        print(f"left out: {remark}", file=sys.stderr)


def _thumbnail(given: argparse.Namespace) -> None:
    import PIL.Image

    from tiling.slides.slide_reader import open_slide
    from tiling.slides.working_resolution import read_thumbnail

    if given.max_px < 1:
        raise ValueError(f"--max-px {given.max_px}: must be at least 1")
    with open_slide(given.slide) as slide:
        picture = PIL.Image.fromarray(read_thumbnail(slide, given.max_px))
    picture.save(given.out)


def _geojson_to_labels(given: argparse.Namespace) -> None:
    from tiling.qupath.label_slide import geojson_to_labels

    for message in geojson_to_labels(
        given.annotations,
        given.slide,
        given.out,
        gland_class=given.gland_class,
        objects=given.objects,
    ):
        print(message, file=sys.stderr)


def _tissue(given: argparse.Namespace) -> None:
    from tiling.qupath.tissue_outlines import tissue_to_geojson

    count = tissue_to_geojson(given.store, given.out, origin=given.origin)
    print(
        f"{count} area(s) of tissue; correct them in QuPath, export, and name the file in column 'tissue' of the sheet",
        file=sys.stderr,
    )


def _labels_to_geojson(given: argparse.Namespace) -> None:
    from tiling.qupath.export_glands import labels_to_geojson

    count = labels_to_geojson(given.labels, given.out)
    print(counted(count, "gland"), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
