"""The label mask, read back by tifffile level by level."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from tiling.objects.label_image import write_label_image
from tiling.raster.atomic_files import partial_path
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_array, create_group, create_table
from tiling.stores.attributes import set_attributes
from tiling.stores.manifest import seal_store


def glands_of(path: Path, labels: np.ndarray) -> Path:
    height, width = labels.shape
    group = create_group(path)
    create_array(group, "labels", labels.shape, np.int32)[...] = labels
    create_table(group, "objects", {"first_px": np.arange(labels.max(), dtype=np.int64)})
    geometry = replace(Geometry.uniform(width, height), mpp_x=0.5, mpp_y=0.25)
    set_attributes(group, {"status": "ok", "geometry": geometry.to_dict()})
    seal_store(path)
    return path


@pytest.mark.parametrize(
    ("shape", "most", "dtype"),
    [
        ((1300, 2100), 255, np.uint8),
        ((700, 515), 256, np.uint16),
        ((513, 512), 65536, np.int32),
        ((30, 20), 7, np.uint8),
        ((1, 1), 0, np.uint8),
    ],
)
def test_every_level_is_every_second_pixel_of_the_one_before(
    tmp_path: Path, shape: tuple[int, int], most: int, dtype: type
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, most + 1, shape).astype(np.int32)
    labels[-1, -1] = most
    write_label_image(glands_of(tmp_path / "g.zarr", labels), tmp_path / "m.ome.tiff", slide="s<1>")
    with tifffile.TiffFile(tmp_path / "m.ome.tiff") as tiff:
        assert tiff.is_ome
        [series] = tiff.series
        assert series.axes == "YX"
        assert series.dtype == dtype
        assert series.levels[-1].shape[0] <= 512 >= series.levels[-1].shape[1]
        for level, found in enumerate(series.levels):
            np.testing.assert_array_equal(found.asarray(), labels[:: 1 << level, :: 1 << level])
            assert found.keyframe.is_tiled
        metadata = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        assert metadata["Name"] == "s<1>"
        assert (metadata["Pixels"]["PhysicalSizeX"], metadata["Pixels"]["PhysicalSizeY"]) == (
            0.5,
            0.25,
        )
    assert {path.name for path in tmp_path.iterdir()} == {"g.zarr", "m.ome.tiff"}


@pytest.mark.parametrize("most", [255, 3000])
def test_openslide_reads_it_with_its_pixel_size(tmp_path: Path, most: int) -> None:
    labels = np.random.default_rng(0).integers(0, most + 1, (1300, 2100)).astype(np.int32)
    labels[-1, -1] = most
    write_label_image(glands_of(tmp_path / "g.zarr", labels), tmp_path / "m.ome.tiff", slide="s")
    with openslide.OpenSlide(tmp_path / "m.ome.tiff") as slide:
        assert slide.dimensions == (2100, 1300)
        assert [float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy"] == pytest.approx(
            [0.5, 0.25]
        )
        shown = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., 0]
    if most <= 255:
        np.testing.assert_array_equal(shown, labels)


def test_a_mask_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_label_image(
            glands_of(tmp_path / "g.zarr", np.ones((600, 600), np.int32)),
            tmp_path / "m.ome.tiff",
            slide="s",
        )
    assert {path.name for path in tmp_path.iterdir()} == {"g.zarr"}


def test_the_same_labels_give_the_same_bytes_whatever_a_killed_run_left(tmp_path: Path) -> None:
    glands, out = (
        glands_of(tmp_path / "g.zarr", np.ones((700, 600), np.int32)),
        tmp_path / "m.ome.tiff",
    )
    write_label_image(glands, out, slide="s")
    first = out.read_bytes()
    partial_path(out, 999_999_999).write_bytes(b"1" * 1000)
    write_label_image(glands, out, slide="s")
    assert out.read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"g.zarr", "m.ome.tiff"}
