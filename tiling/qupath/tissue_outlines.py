"""The tissue of a tile store as GeoJSON, so that a person can correct it in QuPath."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from tiling.objects.trace import trace_mask
from tiling.qupath.class_names import TISSUE
from tiling.qupath.geojson_writer import OutlineStyle, geojson_file, object_id, to_viewer_px
from tiling.raster.geometry import CoordinateFrame
from tiling.stores.arrays import open_array, open_store
from tiling.stores.layout import TileStore

_STYLE = OutlineStyle(TISSUE, colour=(0, 150, 150), object_type="annotation")


def tissue_to_geojson(store: Path, out: Path, *, origin: CoordinateFrame) -> int:
    """Write the tissue of a tile store as annotations; returns the number of areas.

    `tiling.tissue.slide_tissue.mask_from_file` reads exactly the same mask back.

    Parameters
    ----------
    store : tile store
    out : GeoJSON, level-0 pixels; an area at the far edge of the slide may reach over that edge by
        less than one pixel of the tissue mask
    origin : what the coordinates are relative to
    """
    attributes = TileStore.read(store)
    geometry, stride = attributes.geometry, attributes.tissue_stride_px
    tissue_geometry = replace(
        geometry,
        downsample_x=geometry.downsample_x * stride,
        downsample_y=geometry.downsample_y * stride,
    )
    place = to_viewer_px(tissue_geometry, origin)
    areas, count = ndimage.label(np.asarray(open_array(open_store(store), "tissue")[...]))
    with geojson_file(out, geometry, origin) as writer:
        for number, (rows, columns) in enumerate(ndimage.find_objects(areas), start=1):
            shape = trace_mask(areas[rows, columns] == number, y=rows.start, x=columns.start)
            writer.write(place(shape), object_id(f"{attributes.slide}/tissue", number), _STYLE)
    return int(count)
