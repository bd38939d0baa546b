"""The pixel size of a slide: which of the stated values is used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# The finest scanners have 0.065 um (a 100x objective). A 20x slide whose size was divided by ten
# has 0.045 to 0.055 um.
MPP_RANGE_UM = (0.06, 20.0)
SHEET = "sheet"


@dataclass(frozen=True)
class PixelSize:
    """Size of a level-0 pixel in um."""

    mpp_x: float
    mpp_y: float

    @property
    def plausible(self) -> bool:
        """Whether both values lie in the range of light microscopes."""
        low, high = MPP_RANGE_UM
        return low <= self.mpp_x <= high and low <= self.mpp_y <= high

    def __str__(self) -> str:
        if math.isclose(self.mpp_x, self.mpp_y, rel_tol=1e-3):
            return f"{self.mpp_x:.6g}"
        return f"{self.mpp_x:.6g} x {self.mpp_y:.6g}"


class PixelSizeChoice(NamedTuple):
    """The pixel size that is used.

    Attributes
    ----------
    size : None when no place states one; may be implausible
    place : the place that states it, "" when none does
    looked_at : each place with its value, for messages
    """

    size: PixelSize | None
    place: str
    looked_at: tuple[str, ...]


def choose_pixel_size(stated: Mapping[str, PixelSize | None]) -> PixelSizeChoice:
    """Choose the first plausible pixel size, or the first one when none is plausible.

    Parameters
    ----------
    stated : place -> the pixel size stated there, in the order of trust. The value of the sheet is
        taken even if it is implausible: the value of the file would hide the mistake

    >>> choice = choose_pixel_size({"sheet": None, "tags": PixelSize(0.5, 0.5)})
    >>> choice.size, choice.place
    (PixelSize(mpp_x=0.5, mpp_y=0.5), 'tags')
    >>> choice.looked_at
    ('sheet: none', 'tags: 0.5')
    """
    looked_at = tuple(
        f"{place}: {'none' if size is None else size}" for place, size in stated.items()
    )
    candidates = {place: size for place, size in stated.items() if size is not None}
    if not candidates:
        return PixelSizeChoice(None, "", looked_at)
    place = next(iter(candidates))
    if place != SHEET:
        plausible = (name for name, size in candidates.items() if size.plausible)
        place = next(plausible, place)
    return PixelSizeChoice(candidates[place], place, looked_at)
