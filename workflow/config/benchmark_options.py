"""The group `benchmark` of the configuration: a table of methods on a folder of images."""

from typing import Annotated

from pydantic import Field, field_validator

from semimoe.benchmark.table_recipes import TABLE_RECIPES
from semimoe.benchmark.table_rows import ALL
from semimoe.setting_types import NO_BOOL, Integer, Number, StrictModel, Switch
from semimoe.setting_values import LARGEST_MPP_UM, MOST_SEED, SplitProtocol

_Share = Annotated[Number, Field(gt=0, le=1)]
_Seed = Annotated[int, Field(ge=0, le=MOST_SEED), NO_BOOL]


class BenchmarkOptions(StrictModel):
    """Options of `snakemake benchmark`, as those of `python -m semimoe table`."""

    data: str | None = Field(
        None,
        description="folder of GlaS, CRAG or own images, for the rule `benchmark` alone; without"
        " `slides`, no other rule can run",
    )
    methods: list[str] = Field(
        [ALL], description="rows of the table: names of methods, or `all` that are installed"
    )
    variants: list[str] = Field(
        [], description="rows of Semi-MoE with other settings, see `python -m semimoe table --help`"
    )
    labelled: list[_Share] = Field(
        [0.1, 0.2], description="shares of all images whose masks are used"
    )
    seeds: list[_Seed] = Field(
        [0, 1, 2], description="seeds of the lists of images and of the trainings"
    )
    protocol: SplitProtocol = Field(
        "honest", description="how images are divided and how test scores are made"
    )
    recipe: str = Field(
        "quick",
        description=f"what all rows have in common: {', '.join(TABLE_RECIPES)}; quick suits a CPU,"
        " default a GPU",
    )
    settings: list[str] = Field(
        [], description="other settings of all rows: network.KEY=VALUE, training.KEY=VALUE"
    )
    parts: list[str] | None = Field(
        None,
        description="test parts that are scored; null: the first of testA, test, valid that is"
        " there",
    )
    mpp_um: Annotated[Number, Field(gt=0, le=LARGEST_MPP_UM)] | None = Field(
        None, description="pixel size of the images, um; null: that of GlaS, 0.62005"
    )
    flips: Switch = Field(False, description="scores of means over an image and its three flips")
    threads: Integer = Field(1, ge=1, le=1024, description="threads of each cell")

    @field_validator("recipe")
    @classmethod
    def _is_in_the_table(cls, name: str) -> str:
        if name not in TABLE_RECIPES:
            raise ValueError(f"must be one of {', '.join(TABLE_RECIPES)}")
        return name

    @field_validator("data", mode="before")
    @classmethod
    def _empty_is_none(cls, folder: object) -> object:
        return None if folder == "" else folder
