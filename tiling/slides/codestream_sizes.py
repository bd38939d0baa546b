"""The image size that a compressed tile claims, from its first bytes, before it is decoded."""

import struct

_JPEG_START = b"\xff\xd8"
# Frame headers: all SOF markers, without DHT (C4), JPG (C8) and DAC (CC).
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN_MARKERS = (0xD9, 0xDA)
_J2K_START = b"\xff\x4f\xff\x51"


def claimed_size_px(data: bytes) -> tuple[int, int] | None:
    """The (width, height) that a JPEG or a JPEG 2000 codestream claims.

    Parameters
    ----------
    data : the tile, or its first bytes

    Returns
    -------
    tuple or None
        None for other formats, and where the frame header is not in these bytes.

    >>> claimed_size_px(bytes.fromhex("ffd8ffe00004abcdffc000110801000200030122"))
    (512, 256)
    """
    if data.startswith(_JPEG_START):
        return _jpeg_size(data)
    start = data.find(_J2K_START, 0, 4096)  # in a JP2 file, a few boxes come before
    if start < 0 or len(data) < start + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    return right - left, bottom - top


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _SCAN_MARKERS:
            return None
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
