"""A slide that ends the process that opens it costs no other slide."""

import io
import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.__main__ import main
from tiling.child_process import ChildProcess
from tiling.slide_errors import SlideError
from tiling.slides import child_probe
from tiling.slides.child_probe import UnansweredProbeError, fatal_probes, probe_slides
from tiling.slides.folder_sheet import sheet_from_folder
from tiling.slides.probe import ProbeRequest, probe_slide
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide


def write_ndpi(path: Path, size_px: int) -> Path:
    """An NDPI of one JPEG that claims to be a square of that size.

    OpenSlide asks for the memory of the whole image at the first read. With 65500 px, its memory
    allocator ends the process.
    """
    stream = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), (230, 200, 220)).save(stream, "jpeg")
    jpeg = bytearray(stream.getvalue())
    frame = jpeg.find(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", size_px, size_px)
    jpeg += bytes(len(jpeg) % 2)
    maker = b"Hamamatsu\0"
    power = struct.unpack("<I", struct.pack("<f", 20.0))[0]
    tags = [(256, 4, 1, size_px), (257, 4, 1, size_px), (258, 3, 1, 8), (259, 3, 1, 7)]
    tags += [(262, 3, 1, 6), (271, 2, len(maker), 16 + len(jpeg)), (273, 4, 1, 16), (277, 3, 1, 3)]
    tags += [(278, 4, 1, size_px), (279, 4, 1, len(jpeg)), (65420, 4, 1, 1), (65421, 11, 1, power)]
    tags += [(65422, 9, 1, 0), (65423, 9, 1, 0), (65424, 9, 1, 0)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(8 + 4 * len(tags))
    content = bytes(jpeg) + maker
    start = struct.pack("<4sQ4x", b"II*\0", 16 + len(content))
    path.write_bytes(start + content + directory)
    return path


def write_slide(path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 256, (150, 230, 3), np.uint8)
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", **options)
    return path


def test_a_slide_that_ends_the_process_is_named_and_the_others_are_looked_at(
    tmp_path: Path,
) -> None:
    before, after = write_slide(tmp_path / "a.tiff"), write_slide(tmp_path / "c.tiff")
    fatal = write_ndpi(tmp_path / "b.tif", 65500)  # NDPI by content
    probes = probe_slides([ProbeRequest(str(path), mpp_um=1.0) for path in (before, fatal, after)])
    first, second, third = (probe for probe in probes if probe is not None)
    assert first == third == probe_slide(ProbeRequest(str(before), mpp_um=1.0))
    assert first.geometry is not None
    assert (first.geometry.width_px, first.geometry.height_px) == (115, 75)
    assert second.is_fatal
    assert not second.may_be_repeated
    assert f"{fatal}: the library that decodes it ends the process" in second.problem


def test_the_commands_refuse_a_slide_that_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_ndpi(tmp_path / "s.ndpi", 65500)
    write_slide(tmp_path / "t.tiff")
    for command in (["info", str(path)], ["tile", str(path), str(tmp_path / "out.zarr")]):
        assert main(command) == 2
        assert "s.ndpi: the library that decodes it ends the process" in capsys.readouterr().err
    assert not (tmp_path / "out.zarr").exists()
    assert main(["sheet", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert ["predict" in row for row in rows[1:]] == [False, True]


def test_a_usable_slide_of_a_vendor_is_no_fatal_problem(tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "s.ndpi", 64)
    assert fatal_probes([path]) == {}


def test_a_slide_that_takes_too_long_is_named(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tiff")
    quick, slow = (ProbeRequest(str(path), limit_s=limit_s) for limit_s in (20.0, 1e-6))
    probes = probe_slides([slow, quick])
    assert probes[0] is not None
    assert probes[0].is_fatal
    assert probes[0].may_be_repeated
    assert "does not end within the time limit" in probes[0].problem
    assert probes[1] is not None
    assert probes[1].problem == ""


@pytest.mark.parametrize(
    ("end", "messages"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", ("9, SIGKILL", "memory ran out", "fewer jobs")),
        ("signal.alarm(1); time.sleep(60)", ("time limit", "run again when the disk is faster")),
        ("import missing_package", ("status 1", "make doctor")),
    ],
)
def test_a_probe_that_the_slide_does_not_end_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, messages: tuple[str, ...]
) -> None:
    (tmp_path / "ending.py").write_text(f"import os, signal, time\n{end}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child_probe, "ChildProcess", lambda _: ChildProcess("ending"))
    source = SlideSource("s", write_ndpi(tmp_path / "s.ndpi", 64), None)
    store = tmp_path / "s.zarr"
    with pytest.raises(UnansweredProbeError) as caught:
        tile_slide(source, store, parameters=TileParameters(), code_version=1)
    for message in (str(source.path), *messages):
        assert message in str(caught.value)
    assert not store.exists()
    (row,) = sheet_from_folder(tmp_path).rows
    assert row.split == "predict"  # a sheet outlives a moment without memory
    assert messages[0] in row.check


def test_an_error_of_the_disk_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, **_: object) -> None:
        raise OSError(5, "Input/output error", str(path))

    request = ProbeRequest(str(write_slide(tmp_path / "a.tiff")))
    monkeypatch.setattr("tiling.slides.probe.open_slide", failing)
    assert probe_slide(request).may_be_repeated


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP"])
def test_a_crash_of_the_library_is_an_error_of_the_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "ending.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child_probe, "ChildProcess", lambda _: ChildProcess("ending"))
    with pytest.raises(SlideError, match=f"ends the process .*{name}.*copy it again"):
        child_probe.check_not_fatal(write_ndpi(tmp_path / "s.ndpi", 64))


def test_what_the_time_does_not_suffice_for_is_not_looked_at(tmp_path: Path) -> None:
    request = ProbeRequest(str(write_slide(tmp_path / "a.tiff")))
    assert probe_slides([request, request], budget_s=-1.0) == [None, None]
    assert probe_slides([]) == []


def child_processes() -> set[str]:
    """Children of this process, also ended ones; other tests may have left some."""
    files = Path("/proc/self/task").glob("*/children")
    return {number for file in files for number in file.read_text().split()}


def test_an_unreadable_slide_gives_its_message_and_no_process_stays(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(b"nothing")
    files, processes = set(os.listdir("/proc/self/fd")), child_processes()
    (probe,) = probe_slides([ProbeRequest(str(tmp_path / "a.tiff"))])
    assert probe is not None
    assert not probe.is_fatal
    assert "a.tiff: cannot be read as a slide" in probe.problem
    assert set(os.listdir("/proc/self/fd")) == files
    assert child_processes() == processes


def test_a_smaller_memory_limit_of_the_machine_stays() -> None:
    """A process without rights cannot raise it: every slide would be refused."""
    code = (
        "import resource; from tiling.child_process import answer_requests;"
        "answer_requests(lambda _: {'bytes': resource.getrlimit(resource.RLIMIT_AS)[1]})"
    )
    allowed = 3 << 30
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"request": {}, "limit_s": 30}\n',
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed)),
    )
    assert json.loads(done.stdout) == {"bytes": allowed}
