import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from tiling.parallel import JobSettings
from tiling.slide_errors import SlideError
from tiling.stores import atomic_store as atomic
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import geometry_of, recorded_error, stored_json
from tiling.stores.ome_pyramid import halved, level_shapes
from tiling.tiles import pyramid as pixels
from tiling.tiles import tile_slide as tile
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
from tiling.tissue.mask_files import MaskFiles

PARAMETERS = TileParameters(tile_px=128, overlap_px=32)
TISSUE = (214, 130, 170)


def slide_image(size, *areas, seed=0):
    image = np.full((*size, 3), 243, np.uint8)
    rng = np.random.default_rng(seed)
    for top, left, height, width in areas:
        image[top : top + height, left : left + width] = np.array(TISSUE) + rng.integers(
            -20, 20, (height, width, 1)
        )
    return image


def write_slide(path, image, mpp=1.0, **options):
    tifffile.imwrite(
        path,
        image,
        tile=(256, 256),
        photometric="rgb",
        resolution=(1e4 / mpp, 1e4 / mpp),
        resolutionunit="CENTIMETER",
        **options,
    )
    return path


def tree(store):
    """Bytes of every file of a store."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def write_tile_store(path, store, *, parameters=PARAMETERS, code_version=1, workers=1, **options):
    """Tile a slide file; options of `SlideSource`, `MaskFiles` and `tile_slide` by name."""
    job = {name: options.pop(name) for name in ("record", "local_copies") if name in options}
    names = [name for name in ("tissue", "roi", "origin") if name in options]
    masks = MaskFiles(**{name: options.pop(name) for name in names})
    source = SlideSource(options.pop("slide", "s"), path, **options, masks=masks)
    tile_slide(
        source,
        store,
        parameters=parameters,
        code_version=code_version,
        job=JobSettings(workers=workers),
        **job,
    )


@pytest.fixture(scope="module")
def tissue_slide(tmp_path_factory):
    """1500 x 2600 px (y, x) at 1 um: tissue at the left, nothing from x = 900 on."""
    image = slide_image((1500, 2600), (200, 150, 900, 600))
    return write_slide(tmp_path_factory.mktemp("tissue") / "s.tiff", image), image


def test_pixels_under_tissue_are_stored_and_the_others_are_not(tmp_path, tissue_slide):
    path, image = tissue_slide
    write_tile_store(path, tmp_path / "s.zarr", code_version=3)
    stored = open_array(open_store(tmp_path / "s.zarr"), "0")
    assert stored.shape == (3, 1500, 2600)
    pixels = np.moveaxis(np.asarray(stored[...]), 0, -1)
    np.testing.assert_array_equal(pixels[:1024, :1024], image[:1024, :1024])
    assert (pixels[:, 1024:] == 255).all()
    assert not list((tmp_path / "s.zarr" / "0").glob("c/0/0/1"))

    table = read_table(
        tmp_path / "s.zarr",
        "tiles",
        ("origin_yx_px", "origin_xy_level0", "tissue", "focus", "pen", "status"),
    )
    covered = np.zeros(image.shape[:2], bool)
    for y, x in table["origin_yx_px"]:
        covered[y : y + 128, x : x + 128] = True
    assert covered[210:1090, 160:740].all()
    assert not covered[:, 1000:].any()
    np.testing.assert_array_equal(table["origin_xy_level0"], table["origin_yx_px"][:, ::-1])
    dtypes = {name: values.dtype.name for name, values in table.items()}
    assert dtypes == {
        "origin_yx_px": "int64",
        "origin_xy_level0": "float64",
        "tissue": "float32",
        "focus": "float32",
        "pen": "float32",
        "status": "uint8",
    }
    assert (table["focus"] > 0).all()
    assert (table["status"] == 0).all()


def test_attributes_record_how_the_pixels_were_read(tmp_path, tissue_slide):
    path, _ = tissue_slide
    write_tile_store(
        path, tmp_path / "s.zarr", parameters=TileParameters(mpp_um=2.0), code_version=3
    )
    values = stored_json(tmp_path / "s.zarr")
    geometry = geometry_of(tmp_path / "s.zarr")
    assert (geometry.width_px, geometry.height_px, geometry.downsample_x, geometry.mpp_x) == (
        1300,
        750,
        2.0,
        2.0,
    )
    assert (values["status"], values["slide"], values["version"], values["mpp_origin"]) == (
        "ok",
        "s",
        3,
        "tiff resolution tags",
    )
    assert (
        values["tissue_mpp_um"],
        values["tissue_stride_px"],
        values["tile_px"],
        values["overlap_px"],
    ) == (8.0, 4, 256, 64)
    assert values["tissue_um2"] == pytest.approx(900 * 600, rel=0.05)
    assert values["counts"]["chunks_read"] + values["counts"]["chunks_background"] == 2 * 3
    tissue = open_array(open_store(tmp_path / "s.zarr"), "tissue")
    assert tissue.shape == (188, 325)
    assert json.loads(json.dumps(values)) == values


def test_pyramid_levels_are_exact_means_and_valid_ome_zarr(tmp_path, tissue_slide):
    from ome_zarr_models.v05 import Image

    path, _ = tissue_slide
    write_tile_store(path, tmp_path / "s.zarr")
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    model = Image.from_zarr(group)
    datasets = model.ome_attributes.multiscales[0].datasets
    assert [dataset.path for dataset in datasets] == ["0", "1", "2", "3"]
    assert [axis.name for axis in model.ome_attributes.multiscales[0].axes] == ["c", "y", "x"]
    fine = np.asarray(group["0"][...]).astype(np.int64)
    for level in range(1, 4):
        coarse = np.asarray(group[str(level)][...])
        padded = np.pad(fine, ((0, 0), (0, fine.shape[1] % 2), (0, fine.shape[2] % 2)), mode="edge")
        expected = (
            padded[:, ::2, ::2]
            + padded[:, 1::2, ::2]
            + padded[:, ::2, 1::2]
            + padded[:, 1::2, 1::2]
            + 2
        ) // 4
        np.testing.assert_array_equal(coarse, expected)
        scale = datasets[level].coordinateTransformations
        assert scale[0].scale == (1.0, 2.0**level, 2.0**level) or list(scale[0].scale) == [
            1.0,
            2.0**level,
            2.0**level,
        ]
        assert list(scale[1].translation) == [0.0, (2**level - 1) / 2, (2**level - 1) / 2]
        fine = coarse.astype(np.int64)


def test_a_second_reader_opens_the_pyramid(tmp_path, tissue_slide):
    import warnings

    path, _ = tissue_slide
    write_tile_store(path, tmp_path / "s.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        node = next(iter(Reader(parse_url(tmp_path / "s.zarr"))()))
        assert [level.shape for level in node.data] == [
            (3, 1500, 2600),
            (3, 750, 1300),
            (3, 375, 650),
            (3, 188, 325),
        ]
        np.testing.assert_array_equal(
            np.asarray(node.data[2]),
            np.asarray(zarr.open_array(tmp_path / "s.zarr" / "2", mode="r")[...]),
        )


def test_a_reader_that_shares_no_code_with_zarr_gets_the_same_pixels(tmp_path, tissue_slide):
    import tensorstore

    path, _ = tissue_slide
    write_tile_store(path, tmp_path / "s.zarr")
    for level in range(4):
        folder = tmp_path / "s.zarr" / str(level)
        foreign = tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
        ).result()
        np.testing.assert_array_equal(
            foreign[...].read().result(), zarr.open_array(folder, mode="r")[...]
        )


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (4, 6)])
def test_odd_edges_average_the_pixels_there_are(size):
    image = np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8)
    result = halved(image)
    assert result.shape == (3, -(-size[0] // 2), -(-size[1] // 2))
    for c, i, j in np.ndindex(*result.shape):
        block = image[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(int)
        assert result[c, i, j] == (2 * block.sum() + block.size) // (2 * block.size)


def test_level_shapes_end_at_512():
    assert level_shapes(512, 512) == [(512, 512)]
    assert level_shapes(513, 100) == [(513, 100), (257, 50)]


@pytest.fixture(scope="module")
def four_shards(tmp_path_factory):
    """A slide whose tissue overlaps four shards at their common corner, and its store."""
    folder = tmp_path_factory.mktemp("four_shards")
    path = write_slide(folder / "s.tiff", slide_image((2300, 2300), (1900, 1900, 350, 350)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile, "IMAGE_SHARD_PX", 2048)
        write_tile_store(path, folder / "s.zarr")
    return path, folder / "s.zarr"


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch, four_shards):
    monkeypatch.setattr(tile, "IMAGE_SHARD_PX", 2048)
    path, whole = four_shards
    write_tile_store(path, tmp_path / "s.zarr", workers=3)
    assert tree(tmp_path / "s.zarr") == tree(whole)


@pytest.mark.parametrize(
    ("workers", "stopped_after"), [(1, None), (3, None), (16, None), (1, 7), (16, 9), (2, 20)]
)
def test_coarser_levels_do_not_depend_on_workers_or_interruptions(
    tmp_path, monkeypatch, workers, stopped_after
):
    """With small shards: one worker begins at level 1, sixteen workers begin at level 0."""
    monkeypatch.setattr(tile, "IMAGE_SHARD_PX", 512)
    path = write_slide(
        tmp_path / "s.tiff",
        slide_image((2301, 2599), (100, 100, 1900, 700), (1500, 1500, 801, 1099)),
    )
    done, keys = atomic.UnfinishedStore.record_finished, []

    def noted(self, key, *values):
        done(self, key, *values)
        keys.append(key)
        if len(keys) == stopped_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic.UnfinishedStore, "record_finished", noted)
    options = {}
    if stopped_after:
        with pytest.raises(KeyboardInterrupt):
            write_tile_store(path, tmp_path / "s.zarr", workers=workers, **options)
        workers = 17 - workers
    write_tile_store(path, tmp_path / "s.zarr", workers=workers, **options)
    fine = np.asarray(open_array(open_store(tmp_path / "s.zarr"), "0")[...])
    for level in range(1, 4):
        fine = halved(fine)
        np.testing.assert_array_equal(
            open_array(open_store(tmp_path / "s.zarr"), str(level))[...], fine
        )
    if stopped_after is None:
        assert keys[0].startswith("0/")
        assert (
            keys.index(next(key for key in keys if key.startswith("1/")))
            < sum(key.startswith("0/") for key in keys)
        ) == (workers < 16)


KILLED = """
import sys
from pathlib import Path
from tiling.tiles import pyramid as pixels
from tiling.tiles import tile_slide as tile
from tiling.stores import atomic_store as atomic
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide

done = atomic.UnfinishedStore.record_finished
def slow(self, key, *values):
    done(self, key, *values)
    print(key, flush=True)
    sys.stdin.readline()
atomic.UnfinishedStore.record_finished = slow
tile.IMAGE_SHARD_PX = 2048
source = SlideSource("s", Path(sys.argv[1]))
parameters = TileParameters(tile_px=128, overlap_px=32)
tile_slide(source, Path(sys.argv[2]), parameters=parameters, code_version=1)
"""


@pytest.mark.parametrize("finished", [1, 4])
def test_a_rerun_after_a_kill_reads_only_missing_shards_and_gives_the_same_bytes(
    tmp_path, monkeypatch, four_shards, finished
):
    monkeypatch.setattr(tile, "IMAGE_SHARD_PX", 2048)
    path, whole = four_shards
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(tmp_path / "killed.zarr")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(finished):
        assert run.stdout.readline().startswith("0/")
        run.stdin.write("\n")
        run.stdin.flush()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stdin.close()
    run.stdout.close()
    assert not (tmp_path / "killed.zarr").exists()
    journal = (tmp_path / "killed.zarr.journal").read_text()
    assert journal.count('["0/') >= finished

    written = []
    write = pixels.read_scaled
    monkeypatch.setattr(
        pixels,
        "read_scaled",
        lambda slide, plan, y, x: written.append((y.start, x.start)) or write(slide, plan, y, x),
    )
    write_tile_store(path, tmp_path / "killed.zarr")
    chunks = stored_json(whole)["counts"]["chunks_read"]
    assert len(written) <= chunks - finished  # those of finished shards are not read again
    assert tree(tmp_path / "killed.zarr") == tree(whole)


def test_a_rerun_after_an_unreadable_block_gives_the_same_bytes(tmp_path, monkeypatch, four_shards):
    monkeypatch.setattr(tile, "IMAGE_SHARD_PX", 2048)
    read, done = pixels.read_scaled, atomic.UnfinishedStore.record_finished

    def broken(slide, plan, rows, columns):
        if (rows.start, columns.start) == (1536, 1536):
            raise SlideError("cannot be read")
        return read(slide, plan, rows, columns)

    def stopped(self, key, *values):
        done(self, key, *values)
        if key == "0/0/0":  # it holds the broken block
            raise KeyboardInterrupt

    monkeypatch.setattr(pixels, "read_scaled", broken)
    options = {
        "parameters": TileParameters(tile_px=128, overlap_px=32, max_failed=0.5),
    }
    write_tile_store(four_shards[0], tmp_path / "whole.zarr", **options)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.UnfinishedStore, "record_finished", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_tile_store(four_shards[0], tmp_path / "s.zarr", **options)
    write_tile_store(four_shards[0], tmp_path / "s.zarr", **options)
    assert stored_json(tmp_path / "s.zarr")["counts"]["chunks_failed"] == 1
    assert tree(tmp_path / "s.zarr") == tree(tmp_path / "whole.zarr")


def test_the_store_of_an_unusable_slide_has_the_error(tmp_path, caplog):
    path = write_slide(tmp_path / "s.tiff", slide_image((300, 300), (0, 0, 300, 300)), mpp=350.0)
    write_tile_store(path, tmp_path / "s.zarr", slide="s7")
    assert "in a sheet: column 'mpp'" in recorded_error(tmp_path / "s.zarr")
    assert "s7 is left out" in caplog.text
    with pytest.raises(SlideError, match="350"):
        geometry_of(tmp_path / "s.zarr")
    with pytest.raises(SlideError, match="350"):
        write_tile_store(
            path,
            tmp_path / "t.zarr",
            slide="s7",
            record=False,
        )
    assert not (tmp_path / "t.zarr").exists()
    write_tile_store(path, tmp_path / "s.zarr", slide="s7", mpp=1.0)
    assert stored_json(tmp_path / "s.zarr")["mpp_origin"] == "sheet"


def test_a_full_disk_fails_the_job_and_not_the_slide(tmp_path, tissue_slide, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tile, "write_levels", full)
    with pytest.raises(OSError, match="No space left"):
        write_tile_store(tissue_slide[0], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_an_unreadable_block_fails_the_slide_unless_a_share_is_allowed(
    tmp_path, tissue_slide, monkeypatch
):
    path, _ = tissue_slide
    chunk = pixels.read_scaled

    def broken(slide, plan, rows, columns):
        if (rows.start, columns.start) == (0, 0):
            raise SlideError(f"{slide.metadata.path}: level 0, window y 0, x 0 cannot be read")
        return chunk(slide, plan, rows, columns)

    monkeypatch.setattr(pixels, "read_scaled", broken)
    write_tile_store(path, tmp_path / "s.zarr")
    assert "window y 0, x 0" in recorded_error(tmp_path / "s.zarr")

    allowed = TileParameters(tile_px=128, overlap_px=32, max_failed=0.3)
    write_tile_store(path, tmp_path / "t.zarr", parameters=allowed)
    assert stored_json(tmp_path / "t.zarr")["counts"]["chunks_failed"] == 1
    table = read_table(tmp_path / "t.zarr", "tiles", ("origin_yx_px", "status"))
    over = (table["origin_yx_px"] < 512).all(axis=1)
    np.testing.assert_array_equal(table["status"] == 1, over)
    assert 0 < over.sum() < len(over)

    strict = TileParameters(tile_px=128, overlap_px=32, max_failed=0.01)
    write_tile_store(path, tmp_path / "u.zarr", parameters=strict)
    assert "1 of 6 blocks cannot be read" in recorded_error(tmp_path / "u.zarr")


def test_a_slide_of_one_level_with_a_damaged_tile_is_tiled_when_a_share_may_fail(tmp_path):
    """Its tissue is found in the same pixels that cannot be read."""
    image = slide_image((1500, 2600), (200, 150, 900, 1500))
    path = write_slide(tmp_path / "s.tiff", image, compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        index = 2 * 11 + 2  # y, x 512..768
        start, size = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(path.read_bytes())
    data[start + 10 : start + size] = bytes(size - 10)
    path.write_bytes(data)
    allowed = TileParameters(tile_px=128, overlap_px=32, max_failed=0.3)
    write_tile_store(path, tmp_path / "s.zarr", parameters=allowed)
    assert recorded_error(tmp_path / "s.zarr") is None
    assert stored_json(tmp_path / "s.zarr")["counts"]["chunks_failed"] == 1
    table = read_table(tmp_path / "s.zarr", "tiles", ("origin_yx_px", "status"))
    over = ((table["origin_yx_px"] < 1024) & (table["origin_yx_px"] + 128 > 512)).all(axis=1)
    np.testing.assert_array_equal(table["status"] == 1, over)
    assert 0 < over.sum() < len(over)
    write_tile_store(path, tmp_path / "t.zarr")
    assert "cannot be read" in recorded_error(tmp_path / "t.zarr")


def feature(*corners):
    ring = [list(corner) for corner in (*corners, corners[0])]
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def test_roi_restricts_and_tissue_replaces(tmp_path, tissue_slide):
    path, _ = tissue_slide
    (tmp_path / "roi.geojson").write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [feature((0, 0), (2600, 0), (2600, 400), (0, 400))],
            }
        )
    )
    mask = np.zeros((150, 260), np.uint8)
    mask[100:120, 200:240] = 1
    PIL.Image.fromarray(mask).save(tmp_path / "tissue.png")
    write_tile_store(
        path,
        tmp_path / "r.zarr",
        roi=tmp_path / "roi.geojson",
    )
    write_tile_store(
        path,
        tmp_path / "t.zarr",
        tissue=tmp_path / "tissue.png",
    )
    assert stored_json(tmp_path / "r.zarr")["tissue_um2"] == pytest.approx(200 * 600, rel=0.1)
    assert stored_json(tmp_path / "t.zarr")["tissue_um2"] == pytest.approx(200 * 400, rel=0.1)
    tissue = np.asarray(open_array(open_store(tmp_path / "t.zarr"), "tissue")[...])
    assert tissue[1000 // 8 + 1 : 1200 // 8 - 1, 2000 // 8 + 1 : 2400 // 8 - 1].all()


def test_the_area_of_tissue_ends_at_the_edge_of_the_slide(tmp_path):
    """The last row and column of the coarse grid reach beyond a slide of 603 x 405 px."""
    path = write_slide(tmp_path / "s.tiff", slide_image((405, 603), (0, 0, 405, 603)))
    PIL.Image.fromarray(np.full((405, 603), 255, np.uint8)).save(tmp_path / "tissue.png")
    write_tile_store(path, tmp_path / "s.zarr", tissue=tmp_path / "tissue.png")
    geometry = geometry_of(tmp_path / "s.zarr")
    um_per_px = geometry.mpp / geometry.downsample_x
    whole_um2 = 405 * 603 * um_per_px**2
    assert stored_json(tmp_path / "s.zarr")["tissue_um2"] == pytest.approx(whole_um2, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("roi.geojson", b"{ not json", "Expecting property name"),
        ("roi.geojson", b'{"type": "FeatureCollection", "features": []}', "no polygon"),
        ("roi.png", b"no image", "cannot be read as a mask image"),
    ],
)
def test_an_unreadable_roi_fails_the_slide_and_is_named(
    tmp_path, tissue_slide, name, content, words
):
    (tmp_path / name).write_bytes(content)
    write_tile_store(
        tissue_slide[0],
        tmp_path / "s.zarr",
        roi=tmp_path / name,
    )
    assert words in recorded_error(tmp_path / "s.zarr")
    assert name in recorded_error(tmp_path / "s.zarr")


def test_inked_tiles_are_left_out(tmp_path):
    image = slide_image((600, 1200), (0, 0, 600, 800))
    image[100:400, 500:800] = (40, 70, 170)
    path = write_slide(tmp_path / "s.tiff", image)
    write_tile_store(
        path,
        tmp_path / "s.zarr",
        parameters=TileParameters(tile_px=128, overlap_px=32, max_pen=0.3),
    )
    table = read_table(tmp_path / "s.zarr", "tiles", ("origin_yx_px", "pen", "status"))
    np.testing.assert_array_equal(table["status"], table["pen"] > np.float32(0.3))
    assert (table["status"] == 1).any()
    left_out = table["origin_yx_px"][table["status"] == 1]
    assert (left_out[:, 1] > 350).all()


def test_an_overlap_as_large_as_a_tile_is_an_error():
    with pytest.raises(ValueError, match="overlap_px 256 must be"):
        TileParameters(tile_px=256, overlap_px=256)


def test_a_slide_read_from_a_local_copy_gives_the_same_bytes(tmp_path, tissue_slide):
    path, _ = tissue_slide
    for name, folder in (("direct", None), ("copied", tmp_path / "scratch")):
        write_tile_store(
            path,
            tmp_path / name / "s.zarr",
            local_copies=folder,
        )
    assert tree(tmp_path / "direct" / "s.zarr") == tree(tmp_path / "copied" / "s.zarr")
    assert list((tmp_path / "scratch").iterdir()) == []
