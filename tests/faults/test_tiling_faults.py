"""Stores after failures of disk, file, process or user.

The store is complete and has the same bytes, or it does not exist and an error says why.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from file_checksums import checksums

from tiling.stores.attributes import recorded_error
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
_KILLS = 20
_SIDE_PX = 4300  # 3 x 3 shards
_ARGUMENTS = ("--tile-px", "128", "--overlap-px", "32")


def write_slide(path: Path, *, seed: int = 0, compression: str = "deflate") -> Path:
    """A slide full of tissue, at 1 um per pixel."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-30, 30, (_SIDE_PX // 10, _SIDE_PX // 10, 1))
    image = (np.array([200, 130, 170]) + coarse.repeat(10, 0).repeat(10, 1)).astype(np.uint8)
    tifffile.imwrite(
        path,
        image,
        tile=(256, 256),
        photometric="rgb",
        compression=compression,
        resolution=(1e4, 1e4),
        resolutionunit="CENTIMETER",
    )
    return path


def tile(source: Path, store: Path, *, record: bool = False) -> None:
    tile_slide(
        SlideSource("s", source),
        store,
        parameters=TileParameters(tile_px=128, overlap_px=32),
        code_version=1,
        record=record,
    )


def command(source: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "tiling", "tile", str(source), str(store), *_ARGUMENTS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A slide and its finished store."""
    folder = tmp_path_factory.mktemp("finished")
    source = write_slide(folder / "s.tiff")
    tile(source, folder / "s.zarr")
    return source, folder / "s.zarr"


# All imports come first, then one child process for each line of input: SIGKILL arrives during the
# work, not while Python starts.
_CHILDREN = """
import os, sys
from pathlib import Path
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
import tiling.slides.slide_reader, openslide, zarr, tqdm
import rasterio.features, PIL.Image
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        tile_slide(
            SlideSource("s", Path(sys.argv[1])),
            Path(sys.argv[2]),
            parameters=TileParameters(tile_px=128, overlap_px=32),
            code_version=1,
            record=False,
        )
        os._exit(0)
    print(child, flush=True)
    # The child is not reaped before this line: no other process can have its process id.
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Children:
    """Starts tilings as child processes of a process that has finished all imports."""

    def __init__(self, parent: "subprocess.Popen[str]") -> None:
        assert parent.stdin is not None
        assert parent.stdout is not None
        self._input, self._output = parent.stdin, parent.stdout
        assert self._output.readline() == "ready\n"

    def begin(self) -> int:
        """Start a tiling; returns its process id."""
        self._send("go")
        return int(self._output.readline())

    def end(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        self._send("reap")
        return int(self._output.readline())

    def _send(self, word: str) -> None:
        self._input.write(word + "\n")
        self._input.flush()


def test_a_store_killed_at_twenty_random_moments_is_absent_or_complete_and_then_the_same_bytes(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    source, expected = finished
    store, pauses = tmp_path / "s.zarr", random.Random(1)
    arguments = [sys.executable, "-c", _CHILDREN, str(source), str(store)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        children = Children(parent)
        start = time.perf_counter()
        children.begin()
        assert children.end() == 0
        longest_pause_s = (time.perf_counter() - start) / 3
        assert checksums(store) == checksums(expected)
        killed = completed = 0
        while killed < _KILLS:
            if store.exists():
                shutil.rmtree(store)
            child = children.begin()
            time.sleep(pauses.uniform(0, longest_pause_s))
            os.kill(child, signal.SIGKILL)
            status = children.end()
            killed += status == -signal.SIGKILL
            if status == 0:  # the machine is faster now than at the first tiling
                completed += 1
                longest_pause_s *= 0.8
            assert not store.exists() or checksums(store) == checksums(expected)
            assert completed < 50, "the tiling always ends before the kill"
        children.begin()
        assert children.end() == 0
        assert checksums(store) == checksums(expected)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare on this machine")
def test_a_full_disk_is_an_error_and_with_free_space_the_next_run_gives_the_same_bytes(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    source, expected = finished
    small = tmp_path / "small"
    small.mkdir()
    size = sum(path.stat().st_size for path in expected.rglob("*"))
    tiling = " ".join(command(source, small / "s.zarr"))
    script = f"""
mount -t tmpfs -o size={size // 2} tmpfs {small} || exit 77
{tiling}; echo "first $?"; ls {small}
mount -o remount,size={size * 4} {small}
{tiling}; echo "second $?"; ls {small}
cp -r {small}/s.zarr {tmp_path}/copy.zarr
"""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mount namespaces here")
    first, second = done.stdout.split("second ")
    assert first.startswith("first 1\n")
    assert "s.zarr\n" not in first
    assert "No space left on device" in done.stderr
    assert second.startswith("0\n")
    assert checksums(tmp_path / "copy.zarr") == checksums(expected)


def test_two_runs_on_one_output_leave_one_complete_store(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    source, expected = finished
    runs = [
        subprocess.Popen(command(source, tmp_path / "s.zarr"), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    messages = [run.communicate()[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes
    assert all(
        code == 0 or "being written by host" in text
        for code, text in zip(codes, messages, strict=True)
    )
    assert checksums(tmp_path / "s.zarr") == checksums(expected)


def test_a_slide_replaced_between_two_runs_is_tiled_from_the_new_file_alone(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    shutil.copy(finished[0], source)
    run = subprocess.Popen(command(source, store), stderr=subprocess.DEVNULL)
    journal = tmp_path / "s.zarr.journal"
    while not journal.is_file() or '"0/' not in journal.read_text():
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    write_slide(source, seed=1)
    tile(source, store)
    (tmp_path / "fresh").mkdir()
    shutil.copy(source, tmp_path / "fresh" / "s.tiff")
    tile(source, tmp_path / "fresh" / "s.zarr")
    assert checksums(store) == checksums(tmp_path / "fresh" / "s.zarr") != checksums(finished[1])


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_a_tile_with_a_checksum_is_an_error(
    tmp_path: Path, finished: tuple[Path, Path], seed: int
) -> None:
    """Deflate carries a checksum. JPEG does not: see docs/formats.md."""
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    shutil.copy(finished[0], source)
    rng = random.Random(seed)
    with tifffile.TiffFile(source) as tiff:
        page = tiff.pages.first
        index = rng.randrange(len(page.dataoffsets))
        place = page.dataoffsets[index] + rng.randrange(page.databytecounts[index])
    with source.open("r+b") as handle:
        handle.seek(place)
        byte = handle.read(1)[0]
        handle.seek(place)
        handle.write(bytes([byte ^ (1 << rng.randrange(8))]))
    tile(source, store, record=True)
    error = recorded_error(store)
    assert error is not None
    assert str(source) in error
    assert "copy the file again" in error or "copy it again" in error


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_the_error_of_a_truncated_file_names_it(
    tmp_path: Path, finished: tuple[Path, Path], share: float
) -> None:
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    data = finished[0].read_bytes()
    source.write_bytes(data[: int(len(data) * share)])
    tile(source, store, record=True)
    error = recorded_error(store)
    assert error is not None
    assert str(source) in error
