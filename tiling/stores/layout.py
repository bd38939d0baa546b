"""What each kind of store contains: arrays, tables and attributes, one class per kind.

The attributes are JSON in the order of the fields here, see `tiling.stores.attributes`. Fields with
a default may be missing in stores of older versions. Arrays are (y, x) or (c, y, x) on the grid of
`geometry`. A slide that cannot be used has a `tiling.stores.attributes.FailedStore` instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tiling.raster.geometry import Geometry, Window
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.attributes import StoreAttributes


@dataclass(frozen=True, kw_only=True)
class TileCounts:
    """How many tiles and chunks a tile store has.

    Attributes
    ----------
    tiles, tiles_left_out : rows of the table; those with status 1
    chunks_read, chunks_background, chunks_failed : chunks of level 0 that were read, that no tile
        needs, and that could not be read
    """

    tiles: int
    tiles_left_out: int
    chunks_read: int
    chunks_background: int
    chunks_failed: int


@dataclass(frozen=True, kw_only=True)
class TileStore(StoreAttributes):
    """`tiles/{slide}.zarr`: the pixels of a slide, an OME-Zarr 0.5 image.

    Arrays `0`, `1`, ... are the levels of the pyramid: uint8 (3, y, x), fill 255; chunks that no
    tile needs are not stored. `tissue` and `pen` are masks (0 or 1) on a coarse grid.
    Columns: `origin_yx_px` (N, 2), first stored pixel of a tile; `origin_xy_level0` (N, 2), that
    in level-0 pixels; `tissue` and `pen` (N,), shares of the tile's area; `focus` (N,), see
    `tiling.tiles.focus`; `status` (N,), 0 used, 1 left out (pen, focus or unreadable pixels).

    Attributes
    ----------
    fingerprint : checksum of the slide file's content (a part of it)
    source, source_bytes : name and size of the slide file
    reader, reader_version : library that read it
    mpp_origin : where the pixel size came from
    colour_profile : name of the embedded profile, None without one
    tissue_mpp_um, tissue_stride_px : pixel of the coarse grid, in um and in stored pixels
    tissue_um2 : area of tissue
    tile_px, overlap_px : side of a tile and overlap of neighbours, stored pixels
    parameters : all values that the bytes depend on, as JSON
    version : version of the code's results
    """

    LEVEL_DTYPE: ClassVar[str] = "uint8"
    ARRAYS: ClassVar[Mapping[str, str]] = {"tissue": "uint8", "pen": "uint8"}
    TABLE: ClassVar[str] = "tiles"
    COLUMNS: ClassVar[Mapping[str, str]] = {
        "origin_yx_px": "int64",
        "origin_xy_level0": "float64",
        "tissue": "float32",
        "focus": "float32",
        "pen": "float32",
        "status": "uint8",
    }

    geometry: Geometry
    fingerprint: str = ""
    source: str = ""
    source_bytes: int | None = None
    reader: str = ""
    reader_version: str = ""
    mpp_origin: str
    colour_profile: str | None = None
    tissue_mpp_um: float
    tissue_stride_px: int
    tissue_um2: float
    tile_px: int
    overlap_px: int
    slide: str
    counts: TileCounts | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    version: int | None = None

    @property
    def tissue_was_drawn(self) -> bool:
        """Whether a person gave the tissue, or the part of the slide that is used."""
        return "tissue" in self.parameters or "roi" in self.parameters


@dataclass(frozen=True)
class StoredRegion:
    """An annotated region: its name, and its bounding window in stored pixels."""

    name: str
    window: Window


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What a label store contains.

    Attributes
    ----------
    annotated_px, gland_px : annotated stored pixels, and those of them inside a gland
    glands, glands_outside : glands with an annotated pixel, and all others
    """

    annotated_px: int
    gland_px: int
    glands: int
    glands_outside: int


@dataclass(frozen=True, kw_only=True)
class LabelStore(StoreAttributes):
    """`labels/{slide}.zarr`: an annotation on the grid of the tiles.

    `labels` is 0 in the background and 1..N in glands; `weight` is 1 where the slide is annotated
    and not ignored; `region` is 0 outside the regions and k in the k-th region of the annotation.

    Attributes
    ----------
    parameters : all values that the bytes depend on, as JSON
    version : version of the code's results
    regions : regions with at least one pixel
    messages : what a person should know about the annotation
    """

    ARRAYS: ClassVar[Mapping[str, str]] = {"labels": "int32", "weight": "uint8", "region": "uint16"}

    slide: str
    parameters: dict[str, Any] = field(default_factory=dict)
    version: int | None = None
    geometry: Geometry
    regions: list[StoredRegion]
    messages: list[str] = field(default_factory=list)
    counts: LabelCounts | None = None


@dataclass(frozen=True, kw_only=True)
class PseudoLabelStore(StoreAttributes):
    """`pseudo_labels/{slide}.zarr`: what the first model predicts on tiles of an unlabelled slide.

    `pseudo` (N, 3, H, W) is mask 0/1, quantised sdf, boundary 0/1.
    Columns: `window_px` (N, 4) y, x, height, width; `chosen` (N,) 1 = trained on; `confidence` and
    `agreement` (N,) means over tissue; `gate_weights` (N, 3, 3) tasks and experts.

    Attributes
    ----------
    parameters : values of the configuration that the bytes depend on, as JSON
    model : card of the model
    version : version of the code's results
    """

    ARRAYS: ClassVar[Mapping[str, str]] = {"pseudo": "uint8"}
    TABLE: ClassVar[str] = "tiles"
    COLUMNS: ClassVar[Mapping[str, str]] = {
        "window_px": "int64",
        "chosen": "uint8",
        "confidence": "float32",
        "agreement": "float32",
        "gate_weights": "float32",
    }

    slide: str
    parameters: dict[str, Any]
    model: dict[str, Any]
    version: int | None = None
    geometry: Geometry


@dataclass(frozen=True, kw_only=True)
class MapStore(StoreAttributes):
    """`maps/{slide}.zarr`: the quantised maps of a slide (see `tiling.raster.quantise`), fill 0.

    Attributes
    ----------
    tiles : number of tiles that were predicted
    most_at_once : tiles that fitted into memory at once after it ran out; None: it did not run out
    parameters : settings of the prediction as they were used, as JSON
    model : card of the model (threshold, split, sdf_um, ...)
    version : version of the code's results
    """

    ARRAYS: ClassVar[Mapping[str, str]] = {
        "gland": "uint8",
        "sdf": "uint8",
        "boundary": "uint8",
        "disagreement": "uint8",
    }

    slide: str
    geometry: Geometry
    tiles: int | None = None
    most_at_once: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any]
    version: int | None = None


@dataclass(frozen=True, kw_only=True)
class GlandStore(StoreAttributes):
    """`glands/{slide}.zarr`: one label per gland.

    `labels` is 0 in the background and 1..N in glands.
    Columns (row i belongs to label i + 1): `first_px` (N,) y * width + x of the first pixel in
    raster order; `window_px` (N, 4) y, x, height, width; `area_px` (N,); `touches_border` (N,)
    0 or 1.

    Attributes
    ----------
    parameters : always empty
    split : parameters of the split rule
    version : version of the code's results
    """

    ARRAYS: ClassVar[Mapping[str, str]] = {"labels": "int32"}
    TABLE: ClassVar[str] = "objects"
    COLUMNS: ClassVar[Mapping[str, str]] = {
        "first_px": "int64",
        "window_px": "int64",
        "area_px": "int64",
        "touches_border": "uint8",
    }

    slide: str
    parameters: dict[str, Any] = field(default_factory=dict)
    split: SplitParameters
    version: int | None = None
    geometry: Geometry
