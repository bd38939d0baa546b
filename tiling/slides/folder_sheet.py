"""Writes a sheet for the slides of a folder.

The sheet has safe unique ids, the original names of the files, and remarks on what a person must
check before a run.
"""

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

from tiling.messages import counted
from tiling.slide_errors import SlideError
from tiling.slides.child_probe import fatal_probes
from tiling.slides.dicom_series import is_dicom, series_uid
from tiling.slides.probe import SlideProbe
from tiling.slides.slide_problems import correctable_problems, unusable_problems
from tiling.slides.slide_reader import open_slide

_SLIDE_ENDINGS = (
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
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
_MASK_NAME = re.compile(
    r"(^|[_. -])(mask|masks|anno|annotation|label|labels|overlay)([_. -]|$)", re.IGNORECASE
)
_COLUMNS = ("slide", "path", "split", "annotation", "mpp", "name", "check")
_MAX_ID_LENGTH = 80
# Beside slide files, an image of at most this size is a thumbnail, a label or an overview. In a
# folder without slide files it may be the slide itself.
_THUMBNAIL_PX = 2048
_MAX_LISTED = 3
# Files that only a run of this pipeline writes: the logs of its first step, and a script for QuPath
# (in results that were copied without logs).
_RUN_FILES = ("logs/tile_slide", "qupath/import_all.groovy")


@dataclass(frozen=True)
class FolderRow:
    """The row of one slide in the sheet of a folder.

    Attributes
    ----------
    slide : id, unique ignoring case
    path : the file
    split : "predict", or "skip" for a file that cannot be read or is truncated; a file whose
        process was killed or ran out of time is "predict"
    mpp : always "": the pixel size of the file is used; a person enters it where `check` says so
    name : original path inside the folder
    check : what a person must check, "" when there is nothing
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
    rows : sorted by path
    left_out : lines that name files with the ending of a slide that are no slides, and say why
    """

    rows: list[FolderRow]
    left_out: list[str]


def sheet_from_folder(folder: Path) -> FolderSheet:
    """Rows for every slide in a folder and its subfolders.

    Results of this pipeline, and small images beside slide files, are left out.

    Raises
    ------
    SlideError
        No such folder, or no slide in it.
    """
    if not folder.is_dir():
        raise SlideError(f"{folder}: no such folder")
    files, left_out = _slide_files(folder)
    if not files:
        endings = ", ".join((*_SLIDE_ENDINGS, *_IMAGE_ENDINGS))
        lines = [f"{folder}: no slide in it (looked for {endings})", *left_out]
        raise SlideError("; ".join(lines))
    names = [path.relative_to(folder) for path in files]
    fatal = fatal_probes(files)
    rows = [
        _row(slide, path, name, fatal.get(path))
        for slide, path, name in zip(unique_ids(names), files, names, strict=True)
    ]
    return FolderSheet(rows, left_out)


def _slide_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files that may be slides, and a line for what was left out in each folder."""
    slides: list[Path] = []
    left_out: list[str] = []
    for current, subfolders, files in os.walk(folder):
        path = Path(current)
        if any((path / name).exists() for name in _RUN_FILES):
            left_out.append(f"{path}: results of an earlier run")
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if _may_hold_slides(name, files))
        names = _slide_names(path, files)
        unprintable = [name for name in names if not name.isprintable()]
        left_out.extend(
            f"{path}: {name!r} has a control character in its name; rename it"
            for name in unprintable
        )
        names = [name for name in names if name.isprintable()]
        thumbnails = _thumbnails(path, names)
        if thumbnails:
            listed = ", ".join(thumbnails[:_MAX_LISTED])
            if len(thumbnails) > _MAX_LISTED:
                listed += ", ..."
            left_out.append(
                f"{path}: {counted(len(thumbnails), 'image')} of at most {_THUMBNAIL_PX} px"
                f" beside slides, taken for thumbnails ({listed})"
            )
        slides.extend(path / name for name in names if name not in thumbnails)
    return sorted(slides), left_out


def _may_hold_slides(folder: str, files: list[str]) -> bool:
    """Not a hidden folder, a store, or the folder in which MIRAX keeps the data of a slide."""
    is_mirax_data = f"{folder}.mrxs" in files
    return not (folder.startswith(".") or folder.endswith(".zarr") or is_mirax_data)


def _slide_names(folder: Path, files: list[str]) -> list[str]:
    """The files of one folder that may be slides; one for each DICOM series."""
    endings = {Path(name).suffix.lower() for name in files}
    # Hamamatsu VMS keeps the pixels of a slide in JPEGs beside it.
    has_vms = bool(endings & {".vms", ".vmu"})
    accepted = _SLIDE_ENDINGS if has_vms else (*_SLIDE_ENDINGS, *_IMAGE_ENDINGS)
    names = sorted(
        name for name in files if not name.startswith(".") and name.lower().endswith(accepted)
    )
    # A DICOM slide is a series of files, which often have no ending; any one of them opens it.
    series: dict[str, str] = {}
    members: set[str] = set()
    for name in sorted(files):
        try:
            uid = series_uid(folder / name)
        except PermissionError:
            continue  # if it is a slide by its ending, its row states the error
        if uid is not None:
            series.setdefault(uid, name)
            members.add(name)
    return sorted([*(name for name in names if name not in members), *series.values()])


def _thumbnails(folder: Path, names: list[str]) -> list[str]:
    """Small images among the files of a folder that has slide files too."""
    if not any(name.lower().endswith(_SLIDE_ENDINGS) for name in names):
        return []
    images = [name for name in names if name.lower().endswith(_IMAGE_ENDINGS)]
    return [name for name in images if _is_small(folder / name)]


def _is_small(image_file: Path) -> bool:
    """Whether an image is no larger than a thumbnail.

    False for a file that cannot be read: it gets a row, which states the error.
    """
    try:
        with PIL.Image.open(image_file) as image:
            return max(image.size) <= _THUMBNAIL_PX
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return False


def _row(slide: str, path: Path, name: Path, fatal: SlideProbe | None) -> FolderRow:
    if fatal is not None:
        # Memory may have run out for a moment, or the disk was slow: the run tries again.
        split = "predict" if fatal.may_be_repeated else "skip"
        return FolderRow(slide, path, split, "", str(name), fatal.problem.removeprefix(f"{path}: "))
    remarks: list[str] = []
    if path.suffix.lower() in _IMAGE_ENDINGS and _MASK_NAME.search(path.stem):
        remarks.append("looks like a mask, not a slide")
    try:
        with open_slide(path) as opened:
            if is_dicom(path):
                remarks.append("DICOM: one row per series")
            unusable = unusable_problems(opened)
            problems = [*unusable, *correctable_problems(opened), *opened.metadata.remarks]
        split = "skip" if unusable else "predict"
    except SlideError as error:
        problems, split = [str(error)], "skip"
    remarks += [problem.removeprefix(f"{path}: ") for problem in problems]
    return FolderRow(slide, path, split, "", str(name), "; ".join(remarks))


def unique_ids(names: Iterable[Path]) -> list[str]:
    """Ids that are safe in paths and unique ignoring case.

    The id is the stem of the file. Where stems repeat, its folders come first; where that repeats
    too, a number follows.

    >>> unique_ids([Path("a/s 1.svs"), Path("b/S_1.svs"), Path("µ.ome.tif")])
    ['a_s_1', 'b_S_1', 'slide']
    """
    names = list(names)
    stems = [_safe(_stem(name.name)) for name in names]
    frequency = Counter(stem.lower() for stem in stems)
    used: set[str] = set()
    ids = []
    for name, stem in zip(names, stems, strict=True):
        base = stem
        if frequency[stem.lower()] > 1:
            base = _safe("_".join((*name.parts[:-1], _stem(name.name))))
        candidate, number = base, 2
        while candidate.lower() in used:
            candidate, number = f"{base}-{number}", number + 1
        used.add(candidate.lower())
        ids.append(candidate)
    return ids


def _stem(name: str) -> str:
    stem = Path(name).stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def _safe(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", ascii_text).lstrip("_.-").rstrip("_.")
    return safe[:_MAX_ID_LENGTH] or "slide"


def sheet_text(rows: Iterable[FolderRow], relative_to: Path) -> str:
    """The sheet as tab-separated text, with paths relative to the folder of the sheet."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        path = _no_formula(os.path.relpath(row.path.resolve(), relative_to.resolve()))
        check = " ".join(row.check.split())
        writer.writerow((row.slide, path, row.split, "", row.mpp, _no_formula(row.name), check))
    return text.getvalue()


def _no_formula(path: str) -> str:
    """A path that no spreadsheet program runs as a formula."""
    return f"./{path}" if path.startswith(("=", "+", "-", "@")) else path
