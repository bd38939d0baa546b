"""A slide file together with what the sheet says about it."""

from dataclasses import dataclass
from pathlib import Path

from tiling.tissue.mask_files import NO_MASKS, MaskFiles


@dataclass(frozen=True)
class SlideSource:
    """A slide file and what the sheet says about it.

    Attributes
    ----------
    slide : id of the slide
    path : slide file
    mpp : um per level-0 pixel, which replaces that of the file; None: that of the file
    masks : files that replace or restrict the tissue
    """

    slide: str
    path: Path
    mpp: float | None = None
    masks: MaskFiles = NO_MASKS
