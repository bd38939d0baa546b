"""A slide file together with what the sheet says about it."""

from dataclasses import dataclass
from pathlib import Path

from tiling.raster.geometry import CoordinateFrame
from tiling.tissue.slide_tissue import file_hash


@dataclass(frozen=True)
class SlideSource:
    """A slide file and what the sheet says about it.

    Attributes
    ----------
    slide : id of the slide
    path : slide file
    mpp : um per level-0 pixel, which replaces that of the file; None: that of the file
    tissue, roi : GeoJSON of polygons (x, y in level-0 pixels), or a mask image of the whole slide;
        `tissue` replaces the tissue that is found, `roi` restricts it
    origin : frame of the GeoJSON's coordinates: the viewer's crop (as in QuPath), or the whole slide
    """

    slide: str
    path: Path
    mpp: float | None = None
    tissue: Path | None = None
    roi: Path | None = None
    origin: CoordinateFrame = "bounds"

    def mask_checksums(self) -> dict[str, str]:
        """Checksums of the files `tissue` and `roi`, where they are given.

        Raises
        ------
        SlideError
            A file cannot be read.
        """
        files = {"tissue": self.tissue, "roi": self.roi}
        return {name: file_hash(path) for name, path in files.items() if path is not None}
