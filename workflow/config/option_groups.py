"""The groups of the configuration that are not those of network and training.

Bounds are wide: they refuse typing errors, which would need days, or more memory than there is.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from semimoe.setting_types import NO_BOOL, Integer, Number, StrictModel, Switch
from semimoe.setting_values import (
    LARGEST_AREA_UM2,
    LARGEST_DISTANCE_UM,
    MIN_HOLE_UM2,
    MOST_TILES_AT_ONCE,
)
from semimoe.settings import PREDICTION_BATCH, PrecisionChoice, Runtime, TrainingOptions
from tiling.qupath.class_names import GLAND
from tiling.raster.split_parameters import SplitRule

_DistanceUm = Annotated[Number, Field(ge=0, le=LARGEST_DISTANCE_UM)]


class TileOptions(StrictModel):
    """How slides are tiled."""

    mpp_um: Annotated[Number, Field(ge=0.05, le=20)] | None = Field(
        None,
        description="working resolution, um per pixel; null: that of `model` or `start_from`, 1.0"
        " without one",
    )
    tile_px: Annotated[int, Field(ge=64, le=2048, multiple_of=16), NO_BOOL] | None = Field(
        None,
        description="side of a tile, stored pixels; null: that of `model` or `start_from`, 256"
        " without one",
    )
    overlap_px: Integer = Field(
        64,
        ge=0,
        le=1024,
        multiple_of=2,
        description="overlap of neighbouring tiles in prediction, stored pixels; less than tile_px",
    )
    tissue_mpp_um: Number = Field(
        8.0, ge=1, le=64, description="resolution at which tissue is detected, um per pixel"
    )
    icc: Literal["keep", "apply"] = Field(
        "keep",
        description="apply: convert pixels from the slide's embedded colour profile to sRGB; keep:"
        " as they are in the file",
    )
    min_tissue: Number = Field(
        0.05,
        ge=0,
        le=1,
        description="smallest share of tissue in a tile that is kept; 0: all tiles, also on glass",
    )
    max_pen: Number = Field(
        0.5, ge=0, le=1, description="tiles with a larger share of pen are excluded"
    )
    min_focus: Number = Field(
        0,
        ge=0,
        le=1e6,
        description="tiles less sharp than this are excluded (column focus of the tile table;"
        " compare within one resolution); 0 keeps all",
    )
    max_failed: Number = Field(
        0,
        ge=0,
        le=1,
        description="share of a slide's blocks that may be unreadable: tiles over them are"
        " excluded and counted; 0: the slide fails",
    )


class SlideTrainingOptions(TrainingOptions):
    """How networks are trained on slides."""

    pseudo_labels: Literal["online", "stored"] = Field(
        "stored",
        description="stored: targets are the outputs of the finished supervised model, made once by"
        " the rule pseudo_label; online: the gates' outputs at each step (Algorithm 1), which gain"
        " nothing on GlaS",
    )
    tiles_per_slide: Integer = Field(
        200, ge=1, le=1_000_000, description="most unlabelled tiles per slide"
    )
    min_confidence: Number = Field(
        0.7,
        ge=0,
        le=1,
        description="unlabelled tiles with a lower mean probability of the predicted class are not"
        " used for training",
    )
    validation_share: Number = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of regions held out when the sheet has no validation row",
    )

    @model_validator(mode="after")
    def _labels_of_each_step_are_not_stored(self) -> Self:
        if self.pseudo != "gates" and self.pseudo_labels == "stored":
            raise ValueError(f"pseudo: {self.pseudo} needs pseudo_labels: online")
        return self


class PredictionOptions(StrictModel):
    """How slides are predicted."""

    batch: Integer = Field(
        PREDICTION_BATCH, ge=1, le=MOST_TILES_AT_ONCE, description="tiles per forward pass"
    )
    precision: PrecisionChoice = Field(
        "auto",
        description="bf16: autocast, maps change by about 1/255 (at single pixels by 74); fp32:"
        " equal on all machines except for rounding; auto: bf16 where the processor or GPU computes"
        " it natively. The maps' attributes and the report record what was used",
    )
    runtime: Runtime = Field(
        "torch",
        description="library that computes the network on a CPU (on a GPU always torch). openvino"
        " is about twice as fast in fp32, with maps that differ by less than 1/255, and computes in"
        " fp32 with precision: auto; it needs the package openvino (docs/hpc.md)",
    )
    flips: Switch | Literal["auto"] = Field(
        "auto",
        description="test-time augmentation: maps are means over each tile and its three flips,"
        " four times the work; auto: on a GPU, if the model has a threshold for such means"
        " (training.choose_with_flips, release --flips). The maps' attributes and the report record"
        " what was used",
    )
    margin_um: _DistanceUm | None = Field(
        None,
        description="glass up to this distance from tissue is predicted too (lumina that open to"
        " it), um, within tiles; elsewhere maps are 0. null: 100 for a model trained with glass at"
        " the edges of its tiles (training.augment: scanners or deform), unless the sheet gives"
        " tissue or roi; otherwise 0",
    )


class GlandOptions(StrictModel):
    """How maps are split into glands; null: the model's own value."""

    threshold: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        None, description="gland probability; null: the model's own, chosen on validation"
    )
    rule: SplitRule | None = Field(
        None,
        description="how touching glands are separated; depth: seeds are deeper than seed_depth_um"
        " and grow by growth_um; prominence: seeds are maxima of the distance that rise by"
        " prominence_um above the highest saddle to a higher one, and a watershed gives each seed"
        " its pixels; null: the model's own",
    )
    prominence_um: Annotated[Number, Field(gt=0, le=LARGEST_DISTANCE_UM)] | None = Field(
        None, description="rule prominence: least rise of a seed, um; null: the model's own"
    )
    seed_threshold: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None,
        description="rule prominence: gland probability that a seed reaches; components of the mask"
        " without any seed are removed; null: the model's own",
    )
    boundary_weight_um: _DistanceUm | None = Field(
        None,
        description="rule prominence: how much a boundary probability of 1 lowers the distance, um;"
        " null: the model's own",
    )
    seed_depth_um: (
        Annotated[Number, Field(ge=-LARGEST_DISTANCE_UM, le=LARGEST_DISTANCE_UM)] | None
    ) = Field(
        None,
        description="rule depth: distance inside a gland at which its seed begins, um; null: the"
        " model's own",
    )
    boundary_level: Annotated[Number, Field(gt=0, le=1.01)] | None = Field(
        None,
        description="rule depth: boundary probability at which seeds end; above 1: not used; null:"
        " the model's own",
    )
    growth_um: _DistanceUm | None = Field(
        None, description="rule depth: largest growth of seeds, um; null: the model's own"
    )
    min_area_um2: Number = Field(
        500, ge=0, le=LARGEST_AREA_UM2, description="smaller objects are removed, um2"
    )
    min_hole_um2: Number = Field(
        MIN_HOLE_UM2,
        ge=0,
        le=LARGEST_AREA_UM2,
        description="smaller holes in glands are filled, um2; a hole that contains or touches"
        " another gland, or reaches the border of the slide, stays. 0: none is filled",
    )


class AnnotationOptions(StrictModel):
    """How annotations are checked."""

    unusable: Literal["stop", "leave_out"] = Field(
        "stop",
        description="an annotation of a labelled, validation or test slide that cannot be used (no"
        " region, no gland, outlines on glass, ...); stop: the run stops, before slides are tiled"
        " if the file alone shows it; leave_out: the run goes on without the outlines of this"
        " slide, its end lists the slide, and its status is 1",
    )


class ExportOptions(StrictModel):
    """How outlines are written."""

    origin: Literal["bounds", "slide"] = Field(
        "bounds",
        description="origin of all GeoJSON coordinates: the viewer's crop (openslide.bounds-*, what"
        " QuPath shows), or the whole slide",
    )
    object_type: Literal["detection", "annotation"] = Field(
        "detection", description="QuPath object type of the glands; detections are faster"
    )
    gland_class: str = Field(
        GLAND, min_length=1, description="class name of glands, read and written"
    )
    color: list[Annotated[int, Field(ge=0, le=255), NO_BOOL]] = Field(
        [200, 0, 0], min_length=3, max_length=3, description="colour of the class, RGB"
    )
    label_mask: Switch = Field(
        False,
        description="also write glands/{slide}.ome.tiff: the labels as a pyramidal OME-TIFF at the"
        " working resolution",
    )
    smooth_um: Number = Field(
        0.5,
        ge=0,
        le=LARGEST_DISTANCE_UM,
        description="outlines in the GeoJSON may move by this distance to lose the steps of pixels,"
        " um; never by half a stored pixel, so that they cover the same pixels. Areas stay within"
        " 1 %, neighbours keep one common border, and measurements are always of the exact outline."
        " 0: exact pixel edges, as in the label image",
    )
    simplify_um: Number = Field(
        0,
        ge=0,
        le=LARGEST_DISTANCE_UM,
        description="outlines in the GeoJSON may move by this distance to lose corners, um; glands"
        " closer to each other than twice that are only smoothed. 0: no outline is simplified",
    )
    compress: Switch = Field(
        False,
        description="write glands/{slide}.geojson.gz, about a seventh of the size; QuPath reads it"
        " as well",
    )


class ProposalOptions(StrictModel):
    """Which regions are proposed for annotation."""

    count: Integer = Field(3, ge=0, le=1000, description="regions proposed per slide")
    size_um: Number = Field(500, gt=0, le=100_000, description="side of a proposed region, um")
