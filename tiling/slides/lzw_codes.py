"""LZW of TIFFs, decoded without reading memory that was never written.

The decoder of imagecodecs 2026.3.6 takes a code that its table does not contain yet for a pointer:
a damaged file ends the process. Here all entries of the table are set before the data begin, by
codes in front of them. A damaged stream then gives an error or wrong pixels.
"""

from functools import cache
from typing import Literal, NamedTuple

import imagecodecs

_CLEAR, _FIRST_ENTRY, _LAST_ENTRY = 256, 258, 4094
_MIN_BITS = 9
# The table grows by one entry for each code after the first. At these sizes, codes become longer
# by one bit: in version 4 of TIFF, and as in GIF, one entry later.
_LONGER_CODES = (511, 1023, 2047)
_imagecodecs_decode = imagecodecs.lzw_decode


def install_lzw_decoder() -> None:
    """Let tifffile decode with `lzw_decode`; it looks for a decoder when it first needs one."""
    imagecodecs.lzw_decode = lzw_decode  # type: ignore[assignment]  # tifffile needs no more


class _Prefix(NamedTuple):
    """Codes that set all entries of the table, whole bytes; and how many bytes they decode to."""

    codes: bytes
    decoded_bytes: int


def lzw_decode(data: bytes, /, *, out: int | None = None) -> bytes:
    """Decode one strip or tile; the parameters are those of imagecodecs that tifffile uses.

    Parameters
    ----------
    data : codes; the highest bit first, or the lowest one as in version 4 of TIFF and before
    out : largest number of decoded bytes; None: not limited

    Raises
    ------
    imagecodecs.LzwError
        The codes are damaged.
    """
    if len(data) < 2 or not imagecodecs.lzw_check(data):
        return bytes(_imagecodecs_decode(data, out=out))  # empty, or an error
    prefix = _prefix(is_old=data[0] == 0)
    limit = None if out is None else prefix.decoded_bytes + out
    return bytes(_imagecodecs_decode(prefix.codes + data, out=limit))[prefix.decoded_bytes :]


@cache
def _prefix(*, is_old: bool) -> _Prefix:
    """The prefix for codes with the highest bit first, or (old) the lowest one."""
    codes = [(_CLEAR, _MIN_BITS)]
    for entry in range(_FIRST_ENTRY - 1, _LAST_ENTRY):
        codes.append((0, _MIN_BITS + sum(entry >= size + is_old for size in _LONGER_CODES)))
    codes.append((_CLEAR, codes[-1][1]))
    while sum(bits for _, bits in codes) % 8:
        codes.append((_CLEAR, _MIN_BITS))
    texts = [f"{code:0{bits}b}" for code, bits in codes]
    text = "".join(reversed(texts) if is_old else texts)
    order: Literal["little", "big"] = "little" if is_old else "big"
    number_of_codes = sum(code == 0 for code, _ in codes)
    return _Prefix(int(text, 2).to_bytes(len(text) // 8, order), number_of_codes)
