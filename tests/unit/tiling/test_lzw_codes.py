"""Damaged LZW data give an error or wrong pixels, and do not end the process."""

import io
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling.outlines.mask_image import open_mask_image
from tiling.slides.lzw_codes import lzw_decode


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_intact_tiles_are_decoded_to_their_pixels(tmp_path: Path, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (300, 280)).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="lzw", predictor=True, tile=(128, 128))
    with open_mask_image(path) as image:
        np.testing.assert_array_equal(image[...], pixels)


def test_codes_are_decoded_by_hand() -> None:
    """Clear, "A", the entry of "AA" that this code itself makes, end: 9 bits each."""
    codes = "".join(f"{code:09b}" for code in (256, 65, 258, 257)).ljust(40, "0")
    data = int(codes, 2).to_bytes(5)
    assert lzw_decode(data) == lzw_decode(data, out=3) == b"AAA"
    assert lzw_decode(b"") == b""


def test_a_code_that_the_table_does_not_have_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((50, 60), np.uint16), compression="lzw")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    assert data[start : start + 2] == b"\x80\x00", "clear, then the code of a pixel"
    data[start + 1] = 0x64  # code 400: the table has 258 entries
    path.write_bytes(data)
    script = (
        "import sys, pathlib\n"
        "from tiling.outlines.mask_image import open_mask_image\n"
        "from tiling.slides.read_errors import FileReadError, file_read_errors\n"
        "try:\n"
        "    with open_mask_image(pathlib.Path(sys.argv[1])) as image, file_read_errors():\n"
        "        image[...]\n"
        "except FileReadError:\n"
        "    pass\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _old_codes(data: bytes) -> bytes:
    """LZW of TIFF version 4, which is that of GIF with 8 bits a pixel: encoded by Pillow."""
    stream = io.BytesIO()
    image = Image.frombytes("P", (len(data), 1), data)
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(stream, "GIF", optimize=False)
    written = stream.getvalue()
    start = written.index(b",", 13 + 768) + 10  # after header and palette
    assert written[start] == 8, "bits a pixel"
    codes, place = b"", start + 1
    while size := written[place]:
        codes += written[place + 1 : place + 1 + size]
        place += 1 + size
    return codes


@pytest.mark.parametrize("values", [2, 256])
def test_codes_of_tiff_version_4_are_those_of_gif(values: int) -> None:
    data = np.random.default_rng(0).integers(0, values, 20_000, np.uint8).tobytes()
    codes = _old_codes(data)
    assert codes[0] == 0
    assert lzw_decode(codes) == lzw_decode(codes, out=len(data)) == data
    assert lzw_decode(codes, out=100) == data[:100]


def test_an_old_code_that_the_table_does_not_have_does_not_end_the_process() -> None:
    """Clear, code 400 (the table has 258 entries), its entry twice, end; the lowest bit first."""
    codes = "".join(f"{code:09b}" for code in reversed((256, 400, 258, 258, 257)))
    script = (
        "import sys\n"
        "from tiling.slides.lzw_codes import lzw_decode\n"
        "print(len(lzw_decode(bytes.fromhex(sys.argv[1]), out=1000)))\n"
    )
    data = int(codes, 2).to_bytes(6, "little")
    command = [sys.executable, "-c", script, data.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(imagecodecs.LzwError):  # not the code that clears the table
        lzw_decode(b"\x00\x02" + data[2:])
