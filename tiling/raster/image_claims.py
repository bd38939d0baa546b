"""Sizes that the header of an image claims, checked before memory is used for its pixels."""

# Deflate shortens at most 1032 times, and a byte holds at most 8 pixels. LZW (GIF), the codes of
# JPEG and the runs of BMP are below that.
_MAX_PX_PER_BYTE = 8 * 1032
# TIFF is not among them: some of its compressions have no such limit.
_BOUNDED_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF")


def claim_problem(image_format: str | None, width: int, height: int, file_bytes: int) -> str | None:
    """Why a file cannot hold as many pixels as its header claims; None: it can.

    Parameters
    ----------
    image_format : as Pillow names it; None: not known
    width, height : px, from the header
    file_bytes : size of the whole file

    >>> claim_problem("PNG", 20_000, 20_000, 200)
    'its header claims 20000 x 20000 px, too many for a file of 200 bytes'
    >>> claim_problem("PNG", 1_000, 1_000, 200) is None
    True
    """
    if image_format not in _BOUNDED_FORMATS or width * height <= _MAX_PX_PER_BYTE * file_bytes:
        return None
    return f"its header claims {width} x {height} px, too many for a file of {file_bytes} bytes"
