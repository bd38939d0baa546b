"""Every supported layout of an image file gives the same pixels, those of a numpy computation.

reader (tiled TIFF, strips, OME-TIFF, SVS, PNG) x samples and alpha x planes x compression x pyramid
"""

import io
import itertools
from contextlib import closing

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.openslide_backend import OpenSlideBackend
from tiling.slides.slide_reader import open_slide

HEIGHT, WIDTH = 80, 112
APERIO = {
    "description": "Aperio Image Library v1.0.0\r\n9x9 [0,0 9x9] (64x64) J2K Q=70|MPP = 0.5",
    "metadata": None,
    "software": False,
}
READERS = {
    "tiles": ("s.tif", {"tile": (32, 48), "metadata": None}),
    "big tiff": ("s.tif", {"tile": (64, 64), "metadata": None}),
    "strips": ("s.tif", {"rowsperstrip": 13, "metadata": None}),
    "one strip": ("s.tif", {"metadata": None}),
    "ome tiles": ("s.ome.tif", {"tile": (32, 32)}),
    "ome strips": ("s.ome.tif", {"rowsperstrip": 7}),
    "svs": ("s.svs", {"tile": (64, 64), **APERIO}),
}
# TIFF 6.0 calls alpha "unassociated" where colours do not depend on it, else "associated".
SAMPLES = {
    "rgb": None,
    "straight": "unassalpha",
    "premultiplied": "assocalpha",
    "not alpha": "unspecified",
}
LOSSLESS = {
    "none": {},
    "lzw": {"compression": "lzw"},
    "lzw, predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "deflate"},
    "deflate, predictor": {"compression": "zlib", "predictor": True},
    "packbits": {"compression": "packbits"},
    "zstd": {"compression": "zstd"},
    "lzma": {"compression": "lzma"},
    "webp": {"compression": "webp", "compressionargs": {"lossless": True}},
    "jpeg 2000": {"compression": "jpeg2000"},
}
# OpenSlide takes these in SVS files.
OF_OPENSLIDE = ("none", "lzw", "lzw, predictor", "deflate", "deflate, predictor")
PYRAMIDS = ("one level", "flagged pages", "sub-resolutions")
WINDOWS = (Window(0, 0, HEIGHT, WIDTH), Window(25, 35, 30, 52), Window(HEIGHT - 1, WIDTH - 1, 1, 1))


def smooth(height, width, phase=0.0):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + phase + k) + np.cos(y / 7 + k) for k in range(3)]
    return np.clip(np.stack(waves, axis=-1) * 55 + 150, 0, 255).astype(np.uint8)


RGB = smooth(HEIGHT, WIDTH)
# Transparent, opaque and in between, also at the far edges.
ALPHA = np.clip(np.mgrid[:HEIGHT, :WIDTH].sum(axis=0) * 2 - 100, 0, 255).astype(np.uint8)


def halved(image):
    return np.ascontiguousarray(image[::2, ::2])


def stored_and_shown(samples, *, half=False):
    """The samples in the file, and the picture over white that they mean."""
    rgb, alpha = (halved(RGB), halved(ALPHA)) if half else (RGB, ALPHA)
    if samples == "rgb":
        return rgb, rgb
    if samples == "not alpha":
        return np.dstack([rgb, alpha]), rgb
    opacity = alpha[..., None] / 255
    if samples == "straight":
        shown = np.floor(rgb * opacity + 255 * (1 - opacity) + 0.5)
        return np.dstack([rgb, alpha]), shown.astype(np.uint8)
    colours = np.floor(rgb * opacity).astype(np.uint8)
    shown = colours + np.floor(255 * (1 - opacity) + 0.5)
    return np.dstack([colours, alpha]), shown.astype(np.uint8)


def write(path, reader, samples, planar, compression, pyramid):
    """Write the image; returns the picture of each level."""
    options = READERS[reader][1] | compression | {"photometric": "rgb"}
    if SAMPLES[samples] is not None:
        options["extrasamples"] = [SAMPLES[samples]]
    if planar:
        options["planarconfig"] = "separate"
    if reader.startswith("ome"):
        axes = "SYX" if planar else "YXS"
        options["metadata"] = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    pictures = []
    with tifffile.TiffWriter(
        path, bigtiff=reader == "big tiff", ome=reader.startswith("ome")
    ) as writer:
        for level in range(1 if pyramid == "one level" else 2):
            stored, shown = stored_and_shown(samples, half=level == 1)
            flags = {"subfiletype": 1} if level else {}
            if level == 0 and pyramid == "sub-resolutions":
                flags["subifds"] = 1
            writer.write(np.moveaxis(stored, -1, 0) if planar else stored, **options, **flags)
            pictures.append(shown)
    return pictures


def layouts():
    """All layouts; the kinds of pyramid take turns."""
    turns = {False: itertools.cycle(PYRAMIDS), True: itertools.cycle(PYRAMIDS)}
    for reader, samples, planar, compression in itertools.product(
        READERS, SAMPLES, (False, True), LOSSLESS
    ):
        if planar and compression in ("webp", "jpeg 2000"):
            continue
        if reader == "svs" and (planar or compression not in OF_OPENSLIDE):
            continue
        pyramid = next(turns[reader == "svs"])
        # OME-XML would describe a flagged page as another image.
        if (reader.startswith("ome"), pyramid) == (True, "flagged pages"):
            pyramid = "sub-resolutions"
        if (reader, pyramid) == ("svs", "sub-resolutions"):
            pyramid = "flagged pages"
        yield reader, samples, planar, compression, pyramid


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("reader", READERS)
def test_every_lossless_layout_has_the_pixels_of_the_computation(tmp_path, reader, samples):
    tried = set()
    for layout in layouts():
        if layout[:2] != (reader, samples):
            continue
        planar, compression, pyramid = layout[2:]
        path = tmp_path / READERS[reader][0]
        pictures = write(path, reader, samples, planar, LOSSLESS[compression], pyramid)
        with open_slide(path) as slide:
            shapes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
            assert list(slide.metadata.level_sizes_px) == shapes, layout
            for window in WINDOWS:
                np.testing.assert_array_equal(
                    slide.read(0, window), pictures[0][window.slices], err_msg=str(layout)
                )
            for level, picture in enumerate(pictures[1:], 1):
                everything = Window(0, 0, *picture.shape[:2])
                np.testing.assert_array_equal(slide.read(level, everything), picture)
            named = "fourth channel" in " ".join(slide.metadata.remarks)
            assert named == (samples == "not alpha"), layout
        tried.add((planar, compression))
    assert len(tried) == (len(OF_OPENSLIDE) if reader == "svs" else 18)


def encode_ycbcr(pixels):
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def encode_rgb(pixels):
    return imagecodecs.jpeg8_encode(pixels, level=95, colorspace="rgb", outcolorspace="rgb")


@pytest.mark.parametrize("reader", ["tiles", "strips", "ome tiles", "svs"])
@pytest.mark.parametrize("header", ["rgb", "ycbcr"])
@pytest.mark.parametrize("encode", [encode_ycbcr, encode_rgb])
def test_jpegs_have_the_colours_that_their_own_markers_state(tmp_path, reader, header, encode):
    """Where header and JPEG agree, libtiff (in Pillow) gives the same pixels.

    Where they do not, libtiff uses the header and gives wrong colours.
    """
    name, options = READERS[reader]
    height, width = (16, 192) if reader == "strips" else (64, 64)
    image = smooth(128, 192)
    parts = (
        encode(np.ascontiguousarray(image[y : y + height, x : x + width]))
        for y in range(0, 128, height)
        for x in range(0, 192, width)
    )
    grid = {"rowsperstrip": 16} if reader == "strips" else {"tile": (64, 64)}
    colours = {"photometric": header, "compressionargs": {"outcolorspace": header}}
    if header == "ycbcr":
        colours["subsampling"] = (1, 1)
    path = tmp_path / name
    tifffile.imwrite(
        path,
        parts,
        shape=image.shape,
        dtype=np.uint8,
        compression="jpeg",
        **{**options, **grid},
        **colours,
    )
    with open_slide(path) as slide:
        pixels = slide.read(0, Window(0, 0, 128, 192))
    assert np.abs(pixels.astype(int) - image).mean() < 1
    if header in encode.__name__.split("_"):
        with PIL.Image.open(path) as reference:
            np.testing.assert_array_equal(pixels, np.asarray(reference.convert("RGB")))


@pytest.mark.parametrize("grid", [{"tile": (32, 48)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize("samples", SAMPLES)
def test_planes_of_jpegs_are_close_to_the_computation(tmp_path, grid, samples):
    stored, shown = stored_and_shown(samples)
    kind = {} if SAMPLES[samples] is None else {"extrasamples": [SAMPLES[samples]]}
    tifffile.imwrite(
        tmp_path / "s.tif",
        np.moveaxis(stored, -1, 0),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 98},
        planarconfig="separate",
        **grid,
        **kind,
    )
    with open_slide(tmp_path / "s.tif") as slide:
        pixels = slide.read(0, Window(0, 0, HEIGHT, WIDTH))
    assert np.abs(pixels.astype(int) - shown).max() <= 6


@pytest.mark.parametrize("grid", [{"tile": (32, 48)}, {"rowsperstrip": 16}, {}])
@pytest.mark.parametrize("compression", ["none", "lzw, predictor", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("scale", [257, 256, 1])
def test_palettes_of_16_and_of_8_bits_have_their_colours(tmp_path, grid, compression, scale):
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    index = np.random.default_rng(1).integers(0, 256, (60, 80), np.uint8)
    options = LOSSLESS[compression] | grid
    tifffile.imwrite(
        tmp_path / "p.tif", index, photometric="palette", colormap=colours * scale, **options
    )
    with open_slide(tmp_path / "p.tif") as slide:
        np.testing.assert_array_equal(
            slide.read(0, Window(5, 7, 50, 60)), np.moveaxis(colours[:, index], 0, -1)[5:55, 7:67]
        )


@pytest.mark.parametrize("samples", ["rgb", "straight"])
@pytest.mark.parametrize("ending", ["png", "webp", "tga"])
def test_images_of_pillow_have_the_pixels_of_the_computation(tmp_path, ending, samples):
    stored, shown = stored_and_shown(samples)
    path = tmp_path / f"s.{ending}"
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    PIL.Image.fromarray(stored).save(path, **options)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, HEIGHT, WIDTH)), shown)


def test_a_png_with_a_transparent_palette_colour_is_white_there(tmp_path):
    image = PIL.Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "s.png", transparency=1)
    with open_slide(tmp_path / "s.png") as slide:
        pixels = slide.read(0, Window(0, 0, 2, 2))
    assert pixels.tolist() == [[[10, 20, 30], [255] * 3], [[255] * 3, [10, 20, 30]]]


@pytest.mark.parametrize("ending", ["tif", "jpg", "png"])
@pytest.mark.parametrize("orientation", [0, 1, 3, 6, 8])
def test_an_orientation_tag_is_named_and_not_applied(tmp_path, ending, orientation):
    path = tmp_path / f"s.{ending}"
    if ending == "tif":
        tag = (274, 3, 1, orientation, True)
        tifffile.imwrite(path, RGB, photometric="rgb", tile=(32, 32), extratags=[tag])
    else:
        exif = PIL.Image.Exif()
        exif[274] = orientation
        PIL.Image.fromarray(RGB).save(path, exif=exif, quality=95)
    with open_slide(path) as slide:
        pixels = slide.read(0, Window(0, 0, HEIGHT, WIDTH)).astype(int)
        assert np.abs(pixels - RGB).mean() < 2
        named = f"orientation tag ({orientation}) is not applied" in " ".join(
            slide.metadata.remarks
        )
        assert named == (orientation > 1)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_frames_of_an_animation_are_several_images(tmp_path, ending):
    frames = [PIL.Image.fromarray(pixels) for pixels in (RGB, 255 - RGB)]
    frames[0].save(tmp_path / f"s.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(SlideError, match="several frames, not one image"):
        open_slide(tmp_path / f"s.{ending}")


@pytest.mark.parametrize("name", ["one level", "flagged pages"])
@pytest.mark.parametrize("samples", ["rgb", "straight", "premultiplied"])
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate"])
def test_openslide_gives_the_same_pixels_within_its_rounding(tmp_path, samples, compression, name):
    """OpenSlide divides by alpha and we multiply again: each rounds."""
    path = tmp_path / "s.svs"
    write(path, "svs", samples, False, LOSSLESS[compression], name)
    with open_slide(path) as slide, closing(OpenSlideBackend(path)) as library:
        for level, (width, height) in enumerate(slide.metadata.level_sizes_px):
            everything = Window(0, 0, height, width)
            difference = slide.read(level, everything).astype(int) - library.read(level, everything)
            assert np.abs(difference).max() <= (0 if samples == "rgb" else 2)


UNSUPPORTED = {
    "float32": ({"photometric": "rgb"}, RGB.astype(np.float32), "float32"),
    "uint16": ({"photometric": "rgb"}, RGB.astype(np.uint16), "uint16"),
    "int8": ({"photometric": "rgb"}, RGB.astype(np.int8), "int8"),
    "grey": ({"photometric": "minisblack"}, RGB[..., 0], "1 channel"),
    "grey and alpha": (
        {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        RGB[..., :2],
        "2 channel",
    ),
    "cmyk": ({"photometric": "separated"}, np.dstack([RGB, ALPHA]), "CMYK"),
    "three grey channels": (
        {"photometric": "minisblack", "planarconfig": "contig"},
        RGB,
        "MINISBLACK",
    ),
    "five channels": (
        {"photometric": "rgb", "extrasamples": ["unassalpha", "unspecified"]},
        np.dstack([RGB, ALPHA, ALPHA]),
        "5 channel",
    ),
    "ycbcr": ({"photometric": "ycbcr", "subsampling": (1, 1)}, RGB, "YCBCR"),
    "lab": ({"photometric": "cielab"}, RGB, "CIELAB"),
}


@pytest.mark.parametrize("reader", ["tiles", "strips", "ome tiles"])
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_every_other_kind_of_pixels_is_refused_by_name(tmp_path, reader, kind):
    options, image, words = UNSUPPORTED[kind]
    name, grid = READERS[reader]
    tifffile.imwrite(tmp_path / name, image, **grid, **options)
    with pytest.raises(SlideError, match=f"not a brightfield RGB image .*{words}"):
        open_slide(tmp_path / name)
