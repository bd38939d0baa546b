"""The configuration of a run: types, ranges, defaults and meanings of all keys.

The groups of tiles, prediction, glands, export and proposals, with their defaults, are in
`workflow.config.option_groups`; those of network and training are in `semimoe.settings`.
`docs/configuration.md` and `docs/configuration.schema.json` are made from these types by
`python -m workflow.config`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.setting_types import Integer, Number, StrictModel
from semimoe.setting_values import MOST_SEED
from semimoe.settings import NetworkSettings
from workflow.config.benchmark_options import BenchmarkOptions
from workflow.config.option_groups import (
    AnnotationOptions,
    ExportOptions,
    GlandOptions,
    PredictionOptions,
    ProposalOptions,
    SlideTrainingOptions,
    TileOptions,
)
from workflow.user_paths import problem_of_path, with_home

# A model predicts slides whose pixel size differs from that of its training by at most this share.
MPP_TOLERANCE = 0.1
# Working resolution and side of a tile if neither a model nor the user gives them.
DEFAULT_MPP_UM, DEFAULT_TILE_PX = 1.0, 256

COMPARABLE = tuple(name for name in METHODS if name != MAIN_METHOD.name)
_COMPARED_BY_DEFAULT = tuple(name for name in COMPARABLE if name == MAIN_METHOD.starts_from)


class Configuration(StrictModel):
    """The configuration of a run."""

    slides: str = Field(
        "",
        description="the sheet of slides, relative to the working directory (separated by tabs,"
        " commas or semicolons); every run of slides needs one",
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
    seed: Integer = Field(0, ge=0, le=MOST_SEED, description="seed of everything random")
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
        " []: their tiles are removed, and made again only when something needs them; a preview"
        " removes them too, so give [] only to the run",
    )
    scratch: str | None = Field(
        None,
        description="folder on a fast local disk (environment variables allowed, $TMPDIR) to which"
        " each slide is copied while it is tiled; null: slides are read where they are",
    )
    max_disk_gb: Annotated[Number, Field(gt=0, le=1e9)] | None = Field(
        None,
        description="a run expected to write more is refused before it starts; null: the free"
        " space of the disk (quotas are not known)",
    )
    tiles: TileOptions = TileOptions()
    network: NetworkSettings = NetworkSettings()
    training: SlideTrainingOptions = SlideTrainingOptions()
    prediction: PredictionOptions = PredictionOptions()
    glands: GlandOptions = GlandOptions()
    annotations: AnnotationOptions = AnnotationOptions()
    export: ExportOptions = ExportOptions()
    proposals: ProposalOptions = ProposalOptions()
    benchmark: BenchmarkOptions = BenchmarkOptions()

    @field_validator("model", "start_from", "scratch", mode="before")
    @classmethod
    def _empty_is_none(cls, folder: object) -> object:
        """`--config model=` is an empty text."""
        return None if folder == "" else folder

    @field_validator("slides", mode="before")
    @classmethod
    def _none_is_empty(cls, sheet: object) -> object:
        """`--config slides=` is null."""
        return "" if sheet is None else sheet

    @field_validator("slides", "results", "model", "start_from", "scratch", mode="before")
    @classmethod
    def _is_text(cls, path: object) -> object:
        """Snakemake reads `results=2024` as a number."""
        if isinstance(path, bool | int | float):
            raise ValueError("it is a number, not a path; write ./ before it")  # noqa: TRY004  # for pydantic
        return path

    @field_validator("slides", "results", "model", "start_from")
    @classmethod
    def _can_be_a_path(cls, path: str | None) -> str | None:
        if path is None or not path:
            return path
        path = with_home(path)
        if problem := problem_of_path(path):
            raise ValueError(f"it {problem}")
        return path

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
