"""DICOM files by content: without endings, two series in a folder, the checksum of a series."""

import os
import struct
from pathlib import Path

import pytest

from tiling.slide_errors import SlideError
from tiling.slides.dicom_series import is_dicom, series_files, series_uid
from tiling.slides.folder_sheet import sheet_from_folder
from tiling.slides.local_copy import local_copy
from tiling.slides.metadata import slide_checksum
from tiling.slides.slide_reader import open_slide

EXPLICIT, IMPLICIT = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0"
UNDEFINED = 0xFFFFFFFF


def element(group: int, number: int, kind: bytes, value: bytes, *, explicit: bool = True) -> bytes:
    """An element with its value; sequences have an undefined length."""
    length = UNDEFINED if kind == b"SQ" else len(value)
    if not explicit:
        return struct.pack("<HHI", group, number, length) + value
    if kind in (b"SQ", b"OB", b"UT"):
        return struct.pack("<HH2s2xI", group, number, kind, length) + value
    return struct.pack("<HH2sH", group, number, kind, length) + value


def sequence_item(content: bytes) -> bytes:
    """One item of undefined length, and the end of the sequence around it."""
    start = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return start + content + ends


def dicom(uid: str | None, *, explicit: bool = True, pixels: bytes = b"") -> bytes:
    """A file whose header names another series inside of two sequences, before its own."""
    syntax = element(2, 0x10, b"UI", EXPLICIT if explicit else IMPLICIT)
    other = element(0x20, 0x0E, b"UI", b"9.9.9\0", explicit=explicit)
    inner = element(8, 0x1140, b"SQ", sequence_item(other), explicit=explicit)
    data = bytes(128) + b"DICM" + element(2, 1, b"OB", b"\0\1") + syntax
    data += element(8, 5, b"CS", b"ISO_IR 192", explicit=explicit)
    data += element(8, 0x1115, b"SQ", sequence_item(inner + other), explicit=explicit)
    if uid is not None:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        data += element(0x20, 0x0E, b"UI", value, explicit=explicit)
    return data + element(0x28, 2, b"US", b"\3\0", explicit=explicit) + pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two series without endings, and other files."""
    folder = tmp_path / "export"
    folder.mkdir()
    series = {"1.2.1": "1.2", "1.2.2": "1.2", "IM0001": "7.7.7", "1.2.3.dcm": "1.2"}
    for name, uid in series.items():
        (folder / name).write_bytes(dicom(uid, pixels=name.encode()))
    (folder / "DICOMDIR").write_bytes(dicom(None))
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("uid", ["1.2", "1.2.826.0.1.3680043.8.498.1"])
def test_the_series_is_that_of_the_file_and_not_one_that_it_refers_to(
    tmp_path: Path, uid: str, explicit: bool
) -> None:
    (tmp_path / "f").write_bytes(dicom(uid, explicit=explicit))
    assert series_uid(tmp_path / "f") == uid


def test_every_beginning_of_a_file_has_its_series_or_none(tmp_path: Path) -> None:
    data = dicom("1.2.3")
    for length in range(len(data)):
        (tmp_path / "f").write_bytes(data[:length])
        uid = series_uid(tmp_path / "f")
        assert uid is None or "1.2.3".startswith(uid)


def test_a_series_is_recognised_by_content(folder: Path) -> None:
    names = ["1.2.1", "1.2.2", "1.2.3.dcm"]
    assert [file.name for file in series_files(folder / "1.2.2")] == names
    assert is_dicom(folder / "DICOMDIR")
    assert not is_dicom(folder / "notes.txt")


def test_a_local_copy_has_all_files_of_its_series_and_no_others(
    folder: Path, tmp_path: Path
) -> None:
    with local_copy(folder / "1.2.2", tmp_path / "scratch") as copy:
        assert copy.name == "1.2.2"
        copied = {file.name: file.read_bytes() for file in copy.parent.iterdir()}
    assert copied == {
        name: (folder / name).read_bytes() for name in ("1.2.1", "1.2.2", "1.2.3.dcm")
    }


def test_the_checksum_is_that_of_the_whole_series(folder: Path) -> None:
    before = {name: slide_checksum(folder / name) for name in ("1.2.1", "1.2.3.dcm", "IM0001")}
    assert before["1.2.1"] == before["1.2.3.dcm"] != before["IM0001"]
    (folder / "1.2.2").write_bytes(dicom("1.2", pixels=b"other"))
    assert slide_checksum(folder / "1.2.1") != before["1.2.1"]
    assert slide_checksum(folder / "IM0001") == before["IM0001"]


def test_a_vms_slide_has_the_checksum_of_all_its_files(tmp_path: Path) -> None:
    index = tmp_path / "slide.index"
    index.write_text("[Virtual Microscope Specimen]\nImageFile=a.jpg\nMapFile=missing.jpg\n")
    (tmp_path / "a.jpg").write_bytes(b"1")
    before = slide_checksum(index)
    (tmp_path / "a.jpg").write_bytes(b"2")
    assert slide_checksum(index) != before
    with local_copy(index, tmp_path / "scratch") as copy:
        assert copy == index


def test_the_sheet_of_a_folder_has_one_row_for_each_series(folder: Path) -> None:
    rows, _ = sheet_from_folder(folder)
    assert [row.name for row in rows] == ["1.2.1", "IM0001"]


def test_a_pipe_beside_a_dicom_file_is_named_before_openslide_waits_for_it(folder: Path) -> None:
    os.mkfifo(folder / "IM0002")
    with pytest.raises(SlideError, match=r"1\.2\.1: .*IM0002 is no file but a pipe"):
        open_slide(folder / "1.2.1")
