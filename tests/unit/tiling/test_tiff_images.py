"""Which image of a TIFF is the slide."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.metadata import pixel_size_problem
from tiling.slides.slide_reader import open_slide

TILES = {"tile": (64, 64)}


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).normal(size=(256, 384, 3))
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0)) * 900 + 160
    return np.clip(smooth, 0, 255).astype(np.uint8)


def ome(path, *images):
    """Write images, each (pixels, name, um per pixel, options, number of sub-resolutions)."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for pixels, name, mpp, options, levels in images:
            metadata = {"Name": name, "axes": "YXS"}
            if mpp is not None:
                metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            writer.write(pixels, subifds=levels, metadata=metadata, photometric="rgb", **options)
            for level in range(1, levels + 1):
                step = 2**level
                reduced = pixels[::step, ::step]
                writer.write(reduced, subfiletype=1, photometric="rgb", **options)
    return path


def check(path, image, levels, mpp):
    with open_slide(path) as slide:
        metadata = slide.metadata
        assert metadata.level_sizes_px == tuple(
            (-(-image.shape[1] // step), -(-image.shape[0] // step)) for step in levels
        )
        assert metadata.mpp_x == (pytest.approx(mpp) if mpp is not None else None)
        for level, step in enumerate(levels):
            expected = image[::step, ::step]
            np.testing.assert_array_equal(
                slide.read(level, Window(0, 0, *expected.shape[:2])), expected
            )
        return metadata


@pytest.mark.parametrize("grid", [TILES, {}, {"rowsperstrip": 9}])
@pytest.mark.parametrize("name", ["macro", "Label image", "Slide overview", ""])
@pytest.mark.parametrize("place", ["first", "last"])
def test_the_slide_of_an_ome_tiff_has_its_own_pixel_size_and_pyramid(
    tmp_path, image, grid, name, place
):
    small = (255 - image[:96, :64], name, 16.4, grid, 0)
    position = 0 if place == "first" else 1
    images = [(image, "slide", 0.5, TILES, 1)]
    images.insert(position, small)
    metadata = check(ome(tmp_path / "s.ome.tif", *images), image, (1, 2), 0.5)
    assert metadata.associated == (name or f"image {position}",)


def test_a_larger_macro_image_is_not_the_slide(tmp_path, image):
    slide = np.ascontiguousarray(image[:128, :128])
    path = ome(
        tmp_path / "s.ome.tif", (image, "macro", 16.4, TILES, 0), (slide, "scan", 0.5, TILES, 1)
    )
    check(path, slide, (1, 2), 0.5)


def test_other_scenes_are_named(tmp_path, image):
    scene = np.ascontiguousarray(image[:100, :90])
    path = ome(
        tmp_path / "s.ome.tif", (scene, "scene 1", 1.0, TILES, 0), (image, "scene 2", 0.5, TILES, 1)
    )
    metadata = check(path, image, (1, 2), 0.5)
    assert metadata.remarks == (
        "the slide is 'scene 2', 384 x 256 px of 0.5 um; other images of the file are not used: "
        "'scene 1', 90 x 100 px of 1 um",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((256, 384), "a", 0.5, 0), ((256, 384), "b", 0.5, 0)),
        (((256, 384), "a", 4.0, 0), ((128, 128), "b", 0.5, 0)),
        (((256, 384), "a", None, 0), ((200, 200), "b", None, 1)),
    ],
    ids=["of one size", "one is finer", "one has a pyramid"],
)
def test_two_images_that_may_be_the_slide_are_refused_by_name(tmp_path, image, first, second):
    images = [
        (np.ascontiguousarray(image[: size[0], : size[1]]), name, mpp, TILES, levels)
        for size, name, mpp, levels in (first, second)
    ]
    path = ome(tmp_path / "s.ome.tif", *images)
    with pytest.raises(SlideError, match=r"two of its images may be the slide: 'a', .*; 'b', "):
        open_slide(path)


@pytest.mark.parametrize("compression", ["lzw", "jpeg", None])
@pytest.mark.parametrize("grid", [TILES, {"rowsperstrip": 50}])
def test_a_planar_ome_tiff_with_a_pyramid_is_read(tmp_path, image, grid, compression):
    path = tmp_path / "s.ome.tif"
    options = {"photometric": "rgb", "planarconfig": "separate", "compression": compression, **grid}
    with tifffile.TiffWriter(path, ome=True) as writer:
        for level, pixels in enumerate((image, image[::2, ::2])):
            planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
            metadata = {"axes": "SYX", "PhysicalSizeX": 500, "PhysicalSizeY": 500}
            metadata |= {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}
            flags = {"subfiletype": 1} if level else {"subifds": 1, "metadata": metadata}
            writer.write(planes, **options, **flags)
    if compression != "jpeg":
        check(path, image, (1, 2), 0.5)
    with open_slide(path) as slide:
        assert (slide.metadata.mpp_x, slide.metadata.mpp_origin) == (0.5, "OME PhysicalSizeX")
        pixels = slide.read(0, Window(0, 0, 256, 384)).astype(int)
    assert np.abs(pixels - image).max() < 12


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("grid", [TILES, {"rowsperstrip": 50}])
def test_the_full_resolution_need_not_be_the_first_page(tmp_path, image, order, grid):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        for level in order:
            writer.write(
                image[:: 2**level, :: 2**level],
                photometric="rgb",
                subfiletype=int(level > 0),
                resolution=(20000 / 2**level, 20000 / 2**level),
                resolutionunit="CENTIMETER",
                metadata=None,
                **grid,
            )
    check(path, image, (1, 2, 4), 0.5)


def test_the_full_resolution_may_be_a_sub_resolution_of_a_thumbnail(tmp_path, image):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(image[::4, ::4], photometric="rgb", subifds=1, metadata=None, **TILES)
        writer.write(image, photometric="rgb", metadata=None, **TILES)
    check(path, image, (1, 4), None)


def test_two_pages_of_the_full_size_are_refused(tmp_path, image):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        for pixels in (image, 255 - image):
            writer.write(pixels, photometric="rgb", metadata=None, **TILES)
    with pytest.raises(SlideError, match="2 planes of one size"):
        open_slide(path)


def test_a_mask_page_is_no_image(tmp_path, image):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, photometric="rgb", metadata=None, **TILES)
        mask = np.ones(image.shape[:2], bool)
        writer.write(mask, photometric="minisblack", subfiletype=4, metadata=None, **TILES)
    check(path, image, (1,), None)


def overwrite(path, **values):
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, value in values.items():
            tiff.pages.first.tags[name].overwrite(value)


@pytest.mark.parametrize("grid", [TILES, {"rowsperstrip": 50}])
@pytest.mark.parametrize("resolution", [(0, 0), (1, 0), (20000, 0), (0, 1)])
@pytest.mark.parametrize("tag", ["XResolution", "YResolution"])
def test_a_resolution_without_meaning_is_no_pixel_size_and_no_error(
    tmp_path, image, grid, resolution, tag
):
    path = tmp_path / "s.tif"
    tifffile.imwrite(
        path,
        image,
        photometric="rgb",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
        metadata=None,
        **grid,
    )
    overwrite(path, **{tag: resolution})
    metadata = check(path, image, (1,), None)
    assert "in a sheet: column 'mpp'" in pixel_size_problem(metadata)
    with open_slide(path, mpp=0.5) as slide:
        assert pixel_size_problem(slide.metadata) is None


@pytest.mark.parametrize(
    "description", [b"\xff\xfe\xb5m \xe4", b"<OME>broken", b"<?xml ?></OME>", b"", b"images=x"]
)
def test_a_description_without_meaning_is_no_error(tmp_path, image, description):
    path = tmp_path / "s.tif"
    tifffile.imwrite(
        path, image, photometric="rgb", description=description, metadata=None, **TILES
    )
    check(path, image, (1,), None)


def test_ome_xml_of_other_sizes_than_the_pages_is_not_used(tmp_path, image):
    """A cropped copy with the OME-XML of the original: its pixel size may be wrong too."""
    path = ome(tmp_path / "s.ome.tif", (image, "slide", 0.5, TILES, 0))
    path.write_bytes(path.read_bytes().replace(b'SizeX="384"', b'SizeX="999"'))
    check(path, image, (1,), None)


def test_pixels_in_another_file_are_refused_by_its_name(tmp_path, image):
    path = ome(tmp_path / "s.ome.tif", (image, "slide", 0.5, TILES, 0))
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    start = xml.index("<TiffData")
    other = '<TiffData IFD="0"><UUID FileName="other.ome.tif">urn:uuid:1</UUID></TiffData>'
    xml = xml[:start] + other + xml[xml.index("</Pixels>") :]
    tifffile.imwrite(
        path, image, photometric="rgb", description=xml.encode(), metadata=None, **TILES
    )
    with pytest.raises(SlideError, match=r"pixels of image 'slide' are in another file \(other"):
        open_slide(path)


def test_an_ome_stack_is_refused(tmp_path, image):
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(
        path, np.stack([image, image]), photometric="rgb", metadata={"axes": "ZYXS"}, **TILES
    )
    with pytest.raises(SlideError, match="2 planes of one size, not one RGB image"):
        open_slide(path)
