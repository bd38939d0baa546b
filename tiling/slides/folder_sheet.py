"""A sheet of slides from a folder: safe unique ids, the files' own names kept, and what to check before a run."""

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from tiling.slide_errors import SlideError
from tiling.slides.metadata import mpp_problem
from tiling.slides.slide_reader import open_slide
from tiling.slides.truncation import cut_problem

_SLIDES = (
    ".svs",
    ".tif",
    ".tiff",
    ".ndpi",
    ".mrxs",
    ".scn",
    ".vms",
    ".vmu",
    ".bif",
    ".svslide",
    ".dcm",
    ".czi",
)
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_MASK_NAME = re.compile(
    r"(^|[_. -])(mask|masks|anno|annotation|label|labels|overlay)([_. -]|$)", re.IGNORECASE
)
_HEADER = ("slide", "path", "split", "annotation", "mpp", "name", "check")
_MAX_ID = 80
# Beside files of scanners a picture of this size is their thumbnail, label or overview; without them it may be the slide itself.
_THUMBNAIL_PX = 2048
_SHOWN = 3
# What only a run of this pipeline leaves: the logs of its first step, and what it makes for QuPath (results copied without logs).
_OF_A_RUN = ("logs/tile_slide", "qupath/import_all.groovy")


@dataclass(frozen=True)
class SheetRow:
    """One slide of a folder.

    Attributes
    ----------
    slide : id, unique ignoring case
    path : the file
    split : "predict", or "skip" for a file that cannot be read, or not to its end
    mpp : always "": the file's own pixel size is used; fill it in where `check` asks for it
    name : path inside the folder, as it was
    check : what is doubtful, "" when nothing is
    """

    slide: str
    path: Path
    split: str
    mpp: str
    name: str
    check: str


class FolderSheet(NamedTuple):
    """The slides of a folder.

    Attributes
    ----------
    rows : sorted by name
    left_out : what is no slide although it has the ending of one, and why; a line each
    """

    rows: list[SheetRow]
    left_out: list[str]


def sheet_from_folder(folder: Path) -> FolderSheet:
    """Rows for every slide below a folder.

    Results of this pipeline, and small pictures beside files of scanners, are left out.

    Raises
    ------
    SlideError
        No such folder, or no slide in it.
    """
    if not folder.is_dir():
        raise SlideError(f"{folder}: no such folder")
    files, left_out = _slide_files(folder)
    if not files:
        raise SlideError(
            "; ".join(
                [
                    f"{folder}: no slide in it (looked for {', '.join((*_SLIDES, *_PICTURES))})",
                    *left_out,
                ]
            )
        )
    names = [path.relative_to(folder) for path in files]
    rows = [
        _row(slide, path, name)
        for slide, path, name in zip(unique_ids(names), files, names, strict=True)
    ]
    return FolderSheet(rows, left_out)


def _slide_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files that may be slides, and what was left out."""
    found: list[Path] = []
    left_out: list[str] = []
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        if any((here / mark).exists() for mark in _OF_A_RUN):
            left_out.append(f"{here}: results of an earlier run")
            folders.clear()
            continue
        # MIRAX keeps its data in a folder of the slide's name; stores and hidden folders hold no slides.
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not name.endswith(".zarr")
            and f"{name}.mrxs" not in files
        )
        seen = {Path(name).suffix.lower() for name in files}
        # Hamamatsu VMS keeps its pixels in JPEGs beside it.
        wanted = _SLIDES if seen & {".vms", ".vmu"} else (*_SLIDES, *_PICTURES)
        chosen = sorted(
            name for name in files if not name.startswith(".") and name.lower().endswith(wanted)
        )
        dicom = [name for name in chosen if name.lower().endswith(".dcm")]
        # A DICOM slide is a folder of files; any one of them opens it.
        chosen = [name for name in chosen if name not in dicom[1:]]
        if any(name.lower().endswith(_SLIDES) for name in chosen):
            small = [
                name
                for name in chosen
                if name.lower().endswith(_PICTURES) and _is_small(here / name)
            ]
            chosen = [name for name in chosen if name not in small]
            if small:
                named = ", ".join([*small[:_SHOWN], *(["..."] if len(small) > _SHOWN else [])])
                left_out.append(
                    f"{here}: {len(small)} picture(s) of at most {_THUMBNAIL_PX} px beside slides, taken for thumbnails ({named})"
                )
        found.extend(here / name for name in chosen)
    return sorted(found), left_out


def _is_small(picture: Path) -> bool:
    """Whether a picture is no larger than a thumbnail; one that cannot be read is not: its row says why."""
    try:
        with PIL.Image.open(picture) as image:
            return max(image.size) <= _THUMBNAIL_PX
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return False


def _row(slide: str, path: Path, name: Path) -> SheetRow:
    notes = []
    if path.suffix.lower() in _PICTURES and _MASK_NAME.search(path.stem):
        notes.append("looks like a mask, not a slide")
    if path.suffix.lower() == ".dcm":
        notes.append("DICOM: one row per folder")
    try:
        with open_slide(path) as opened:
            cut, doubt = cut_problem(path), mpp_problem(opened.facts)
        problems, split = [cut, doubt], "predict" if cut is None else "skip"
    except SlideError as error:
        problems, split = [str(error)], "skip"
    notes += [problem.removeprefix(f"{path}: ") for problem in problems if problem is not None]
    return SheetRow(slide, path, split, "", str(name), "; ".join(notes))


def unique_ids(names: Iterable[Path]) -> list[str]:
    """Ids that are safe in paths and unique ignoring case: the stem, with its folders where stems repeat, with a number where that repeats.

    >>> unique_ids([Path("a/s 1.svs"), Path("b/S_1.svs"), Path("µ.ome.tif")])
    ['a_s_1', 'b_S_1', 'slide']
    """
    names = list(names)
    short = [_safe(_stem(name.name)) for name in names]
    often = Counter(stem.lower() for stem in short)
    taken: set[str] = set()
    ids = []
    for name, stem in zip(names, short, strict=True):
        base = (
            _safe("_".join((*name.parts[:-1], _stem(name.name))))
            if often[stem.lower()] > 1
            else stem
        )
        candidate, number = base, 2
        while candidate.lower() in taken:
            candidate, number = f"{base}-{number}", number + 1
        taken.add(candidate.lower())
        ids.append(candidate)
    return ids


def _stem(name: str) -> str:
    stem = Path(name).stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def _safe(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip("_.-").rstrip("_.")
    return kept[:_MAX_ID] or "slide"


def sheet_text(rows: Iterable[SheetRow], relative_to: Path) -> str:
    """The sheet as tab-separated text, paths relative to the folder it will lie in."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(_HEADER)
    for row in rows:
        path = os.path.relpath(row.path.resolve(), relative_to.resolve())
        writer.writerow(
            (row.slide, path, row.split, "", row.mpp, row.name, " ".join(row.check.split()))
        )
    return text.getvalue()
