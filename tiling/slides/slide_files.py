"""The files of a slide: some formats keep it in several. The format is recognised by content."""

import stat
from pathlib import Path

from tiling.slide_errors import SlideError
from tiling.slides.dicom_series import is_dicom, series_files

_VMS_SIGNATURE = b"[Virtual Microscope Specimen]"
_MAX_VMS_BYTES = 1 << 20


def files_of_slide(path: Path) -> list[Path]:
    """All files of a slide: its MIRAX folder, the files of its DICOM series or of its VMS index.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    if is_mirax(path):
        return [path, *sorted(file for file in mirax_folder(path).rglob("*") if file.is_file())]
    if is_dicom(path):
        return series_files(path)
    return [path, *_named_in_vms(path)]


def has_one_file(path: Path) -> bool:
    """Whether the format of a slide keeps it in one file; from its content, no other file is read.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    return not (is_mirax(path) or is_dicom(path) or is_vms(path))


def is_mirax(path: Path) -> bool:
    """Whether a slide is MIRAX; its index is a picture, so that only the folder shows it."""
    return path.suffix.lower() == ".mrxs"


def mirax_folder(path: Path) -> Path:
    """The folder that holds the pixels of a MIRAX slide."""
    return path.with_suffix("")


def is_vms(path: Path) -> bool:
    """Whether a file is the index of a Hamamatsu VMS or VMU slide."""
    with path.open("rb") as file:
        return file.read(len(_VMS_SIGNATURE) + 3).lstrip(b"\xef\xbb\xbf").startswith(_VMS_SIGNATURE)


def check_companion_files(path: Path) -> None:
    """Refuse a slide beside which there are no regular files where its format expects files.

    OpenSlide opens every file in the folder of a DICOM slide. A process that opens a pipe waits
    until another process writes to it.

    Raises
    ------
    SlideError
        The folder holds a pipe, a socket or a device.
    """
    if is_mirax(path):
        companions = list(mirax_folder(path).rglob("*"))
    elif is_dicom(path):
        companions = list(path.parent.iterdir())
    else:
        companions = _named_in_vms(path)
    for file in companions:
        try:
            mode = file.stat().st_mode
        except OSError:
            continue  # a broken link: the library reports it if it needs the file
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SlideError(
                f"{path}: {file} is no file but a pipe, socket or device; remove it from the slide"
            )


def _named_in_vms(path: Path) -> list[Path]:
    """Files that the index of a VMS slide names and that exist; none for other formats."""
    if not is_vms(path):
        return []
    with path.open("rb") as file:
        lines = file.read(_MAX_VMS_BYTES).decode("utf-8", "replace").splitlines()
    names = [line.partition("=")[2].strip() for line in lines]
    return sorted({path.parent / name for name in names if name and (path.parent / name).exists()})
