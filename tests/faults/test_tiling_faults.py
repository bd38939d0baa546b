"""What happens to a store when disk, file, process or user fail: it is whole and the same bytes, or absent with an error that says why."""

import hashlib
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

from tiling.stores.attributes import recorded_error
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
_KILLS = 20
_SIDE_PX = 4300  # 3 x 3 shards
_ARGUMENTS = ("--tile-px", "128", "--overlap-px", "32")


def slide(path: Path, *, seed: int = 0, compression: str = "deflate") -> Path:
    """Tissue all over, at 1 um per pixel."""
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


def tree(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


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
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A slide and its store."""
    folder = tmp_path_factory.mktemp("sound")
    source = slide(folder / "s.tiff")
    tile(source, folder / "s.zarr")
    return source, folder / "s.zarr"


# Imports first, then one child per line read: the kill falls into the work and not into the start of Python.
_CHILDREN = """
import os, sys
from pathlib import Path
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
import tiling.slides.slide_reader, openslide, zarr, dask.base, dask.delayed, tqdm, rasterio.features, PIL.Image
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        parameters = TileParameters(tile_px=128, overlap_px=32)
        tile_slide(SlideSource("s", Path(sys.argv[1])), Path(sys.argv[2]), parameters=parameters, code_version=1, record=False)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # until then the child is not reaped, and its number means nobody else
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Children:
    """Tiles in child processes of a process that has everything imported."""

    def __init__(self, parent: "subprocess.Popen[str]") -> None:
        assert parent.stdin is not None
        assert parent.stdout is not None
        self._say, self._hear = parent.stdin, parent.stdout
        assert self._hear.readline() == "ready\n"

    def begin(self) -> int:
        """Start one; returns its process id."""
        self._tell("go")
        return int(self._hear.readline())

    def end(self) -> int:
        """Wait for it; returns its exit code, negative for a signal."""
        self._tell("reap")
        return int(self._hear.readline())

    def _tell(self, word: str) -> None:
        self._say.write(word + "\n")
        self._say.flush()


def test_killed_at_twenty_random_moments_the_store_is_absent_or_whole_and_then_the_same_bytes(
    tmp_path: Path, sound: tuple[Path, Path]
) -> None:
    source, whole = sound
    store, pauses = tmp_path / "s.zarr", random.Random(1)
    arguments = [sys.executable, "-c", _CHILDREN, str(source), str(store)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        children = Children(parent)
        start = time.perf_counter()
        children.begin()
        assert children.end() == 0
        seconds = time.perf_counter() - start
        assert tree(store) == tree(whole)
        killed = finished = 0
        while killed < _KILLS:
            if store.exists():
                shutil.rmtree(store)
            child = children.begin()
            time.sleep(pauses.uniform(0, seconds / 3))
            os.kill(child, signal.SIGKILL)
            status = children.end()
            killed += status == -signal.SIGKILL
            finished += status == 0
            assert not store.exists() or tree(store) == tree(whole)
            assert finished < 50, "nothing is ever killed"
        children.begin()
        assert children.end() == 0
        assert tree(store) == tree(whole)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare on this machine")
def test_a_full_disk_is_named_and_with_room_the_run_goes_on_to_the_same_bytes(
    tmp_path: Path, sound: tuple[Path, Path]
) -> None:
    source, whole = sound
    small = tmp_path / "small"
    small.mkdir()
    size = sum(path.stat().st_size for path in whole.rglob("*"))
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
    assert tree(tmp_path / "copy.zarr") == tree(whole)


def test_two_runs_on_one_output_leave_one_whole_store(
    tmp_path: Path, sound: tuple[Path, Path]
) -> None:
    source, whole = sound
    runs = [
        subprocess.Popen(command(source, tmp_path / "s.zarr"), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate()[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes
    assert all(
        code == 0 or "being written by host" in text for code, text in zip(codes, said, strict=True)
    )
    assert tree(tmp_path / "s.zarr") == tree(whole)


def test_a_source_replaced_between_two_tries_is_tiled_from_the_new_file_alone(
    tmp_path: Path, sound: tuple[Path, Path]
) -> None:
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    shutil.copy(sound[0], source)
    run = subprocess.Popen(command(source, store), stderr=subprocess.DEVNULL)
    journal = tmp_path / "s.zarr.journal"
    while not journal.is_file() or '"0/' not in journal.read_text():
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    slide(source, seed=1)
    tile(source, store)
    (tmp_path / "fresh").mkdir()
    shutil.copy(source, tmp_path / "fresh" / "s.tiff")
    tile(source, tmp_path / "fresh" / "s.zarr")
    assert tree(store) == tree(tmp_path / "fresh" / "s.zarr") != tree(sound[1])


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_a_tile_with_a_checksum_is_never_passed_on(
    tmp_path: Path, sound: tuple[Path, Path], seed: int
) -> None:
    """Deflate carries a checksum. JPEG does not: see docs/formats.md."""
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    shutil.copy(sound[0], source)
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
def test_a_file_that_was_cut_is_named(
    tmp_path: Path, sound: tuple[Path, Path], share: float
) -> None:
    source, store = tmp_path / "s.tiff", tmp_path / "s.zarr"
    data = sound[0].read_bytes()
    source.write_bytes(data[: int(len(data) * share)])
    tile(source, store, record=True)
    error = recorded_error(store)
    assert error is not None
    assert str(source) in error
