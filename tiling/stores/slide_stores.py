"""The stores of one slide, for functions that read several of them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SlideStores:
    """Paths of the stores of one slide.

    Attributes
    ----------
    tiles, maps, glands : its pixels, predicted maps and gland labels
    labels : its annotation; None without one
    """

    tiles: Path
    maps: Path
    glands: Path
    labels: Path | None = None
