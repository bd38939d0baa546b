"""The configuration of a run: types, ranges, defaults and meanings of all keys.

The only place of the defaults of slides, tiles, prediction, glands and export; those of network and
training are in `semimoe.settings`. `docs/configuration.md` and `docs/configuration.schema.json` are
made from these types by `python -m workflow.config`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.settings import (
    NO_BOOL,
    Integer,
    NetworkSettings,
    Number,
    PrecisionChoice,
    StrictModel,
    Switch,
    TrainingOptions,
)
from tiling.qupath.class_names import GLAND

# A model predicts slides whose pixel size differs from that of its training by at most this share.
MPP_TOLERANCE = 0.1
# Working resolution and side of a tile if neither a model nor the user gives them.
DEFAULT_MPP_UM, DEFAULT_TILE_PX = 1.0, 256

COMPARABLE = tuple(name for name in METHODS if name != MAIN_METHOD.name)
_COMPARED_BY_DEFAULT = tuple(name for name in COMPARABLE if name == MAIN_METHOD.starts_from)

NullableNumber = Number | None


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
        0.05, ge=0, le=1, description="smallest share of tissue in a tile that is kept"
    )
    max_pen: Number = Field(
        0.5, ge=0, le=1, description="tiles with a larger share of pen are excluded"
    )
    min_focus: Number = Field(
        0,
        ge=0,
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
        "online",
        description="targets are the gates' outputs at each step (Algorithm 1), or fixed by the"
        " pseudo_label step",
    )
    tiles_per_slide: Integer = Field(200, ge=1, description="most unlabelled tiles per slide")
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


class PredictionOptions(StrictModel):
    """How slides are predicted."""

    batch: Integer = Field(16, ge=1, description="tiles per forward pass")
    precision: PrecisionChoice = Field(
        "auto",
        description="bf16: autocast, the gland probability changes by a few 1/255; fp32: equal on"
        " all machines except for rounding; auto: bf16 where the processor or GPU computes it"
        " natively. The maps' attributes and the report record what was used",
    )
    flips: Switch = Field(
        False,
        description="test-time augmentation: maps are means over each tile and its three flips,"
        " four times the work",
    )
    margin_um: Annotated[Number, Field(ge=0, le=1000)] | None = Field(
        None,
        description="glass up to this distance from tissue is predicted too (lumina that open to"
        " it), um, within tiles; elsewhere maps are 0. null: 100 for a model trained with glass at"
        " the edges of its tiles (training.augment: scanners), unless the sheet gives tissue or"
        " roi; otherwise 0",
    )


class GlandOptions(StrictModel):
    """How maps are split into glands; null: the model's own value."""

    threshold: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        None, description="gland probability; null: the model's own, chosen on validation"
    )
    seed_depth_um: NullableNumber = Field(
        None,
        description="distance inside a gland at which its seed begins, um; null: the model's own",
    )
    boundary_level: Annotated[Number, Field(gt=0, le=1.01)] | None = Field(
        None,
        description="boundary probability at which seeds end; above 1: not used; null: the model's"
        " own",
    )
    growth_um: Annotated[Number, Field(ge=0)] | None = Field(
        None, description="largest growth of seeds, um; null: the model's own"
    )
    min_area_um2: Number = Field(500, ge=0, description="smaller objects are removed, um2")


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
    simplify_um: Number = Field(
        0,
        ge=0,
        description="outlines in the GeoJSON may move by this distance to lose corners, um (one"
        " stored pixel removes the pixel steps); glands closer to each other than twice that keep"
        " their exact pixel edges, and measurements are always of the exact outline. 0: exact",
    )
    compress: Switch = Field(
        False,
        description="write glands/{slide}.geojson.gz, about a seventh of the size; QuPath reads it"
        " as well",
    )


class ProposalOptions(StrictModel):
    """Which regions are proposed for annotation."""

    count: Integer = Field(3, ge=0, description="regions proposed per slide")
    size_um: Number = Field(500, gt=0, description="side of a proposed region, um")


class Configuration(StrictModel):
    """The configuration of a run."""

    slides: str = Field(
        "slides.tsv",
        description="the sheet of slides, relative to the working directory (tab- or"
        " comma-separated)",
    )
    results: str = Field(
        "results", min_length=1, description="output folder, relative to the working directory"
    )
    model: str | None = Field(
        None,
        description="folder of a trained model (model.safetensors, model.json): predict only,"
        " nothing is trained",
    )
    start_from: str | None = Field(
        None,
        description="folder of a trained model to fine-tune on the labelled regions, with a tenth"
        " of the learning rate",
    )
    seed: Integer = Field(0, ge=0, description="seed of everything random")
    compare: list[str] = Field(
        list(_COMPARED_BY_DEFAULT),
        json_schema_extra={"uniqueItems": True},
        description=f"methods evaluated beside {MAIN_METHOD.label} on validation and test slides,"
        " from the table in `semimoe/methods/__init__.py`: supervised (the same network on labelled"
        " tiles alone), unet (a plain U-Net on them), ...; `python -m semimoe train --help` lists"
        " all",
    )
    allow_patients: list[str] = Field(
        [], description="patients that may be in both labelled and validation or test rows"
    )
    keep: list[Literal["tiles"]] = Field(
        ["tiles"],
        json_schema_extra={"uniqueItems": True},
        description="what is kept of slides that are only predicted (split predict) after export;"
        " []: their tiles are removed, and made again only when something needs them",
    )
    scratch: str | None = Field(
        None,
        description="folder on a fast local disk (environment variables allowed, $TMPDIR) to which"
        " each slide is copied while it is tiled; null: slides are read where they are",
    )
    max_disk_gb: Annotated[Number, Field(gt=0)] | None = Field(
        None,
        description="a run expected to write more is refused before it starts; null: the free"
        " space of the disk (quotas are not known)",
    )
    tiles: TileOptions = TileOptions()
    network: NetworkSettings = NetworkSettings()
    training: SlideTrainingOptions = SlideTrainingOptions()
    prediction: PredictionOptions = PredictionOptions()
    glands: GlandOptions = GlandOptions()
    export: ExportOptions = ExportOptions()
    proposals: ProposalOptions = ProposalOptions()

    @field_validator("model", "start_from", "scratch", mode="before")
    @classmethod
    def _empty_is_none(cls, folder: object) -> object:
        """`--config model=` is an empty text."""
        return None if folder == "" else folder

    @field_validator("results")
    @classmethod
    def _one_spelling(cls, folder: str) -> str:
        """Shorten "./out" and "out//" to "out": rules and reports name the same files."""
        return str(Path(folder))

    @field_validator("compare")
    @classmethod
    def _are_in_the_table(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in COMPARABLE]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: one of {', '.join(COMPARABLE)} is needed")
        return names

    @field_validator("compare", "keep")
    @classmethod
    def _have_no_repeats(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a name is given twice")
        return names

    @property
    def model_folder(self) -> Path:
        """The model that predicts: a given one, or the one that this run trains."""
        return Path(self.model or f"{self.results}/models/{MAIN_METHOD.name}")

    @property
    def predicting_method(self) -> str:
        """Name of the model that predicts in the tables."""
        return "given model" if self.model else MAIN_METHOD.name

    @property
    def compared_methods(self) -> list[str]:
        """Methods whose scores are shown beside those of the predicting model."""
        return [] if self.model else list(self.compare)

    @property
    def geojson_suffix(self) -> str:
        """End of the names of outline files."""
        return "geojson.gz" if self.export.compress else "geojson"
