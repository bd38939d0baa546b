"""A small slide with outlined regions, and settings of a short training."""

import json
from pathlib import Path

import numpy as np
import tifffile

from workflow.sheet import SheetRow

SMALL = {
    "tiles": {"mpp_um": 1.0, "tile_px": 64, "overlap_px": 16},
    "network": {"encoder": "unet", "experts": "separate", "width": 4},
    "training": {"epochs": 6, "warm_start_epochs": 2, "batch": 4, "augment": "flips"},
    "compare": [],
}


def box(name: str, x: int, y: int, width: int, height: int) -> dict:
    ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def write_labelled_slide(folder: Path) -> SheetRow:
    """A slide of 1 um with two regions that are far apart."""
    pixels = np.full((700, 900, 3), 235, np.uint8)
    pixels[100:600, 60:840] = (180, 110, 160)
    slide, annotation = folder / "a.tiff", folder / "a.geojson"
    options = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb"}
    tifffile.imwrite(slide, pixels, resolution=(10000, 10000), resolutionunit=3, **options)
    features = [
        *(box("Region*", 100, 200, 150, 90), box("Gland", 120, 220, 30, 30)),
        *(box("Region*", 600, 300, 70, 200), box("Gland", 610, 320, 30, 30)),
    ]
    annotation.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return SheetRow("a", str(slide), "labelled", str(annotation))
