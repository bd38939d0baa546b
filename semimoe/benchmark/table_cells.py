"""Cells of the table: one model, trained with one list of images, and its scores.

Each cell has a folder with the settings it was begun with, the model, the scores and the logs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semimoe.benchmark.table_recipes import TABLE_RECIPES, TableRecipe
from semimoe.benchmark.table_rows import TABLE_ROWS, TableRow
from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_card import CARD
from semimoe.model_errors import SettingsError
from semimoe.presets import preset
from semimoe.setting_overrides import overridden
from semimoe.setting_values import SplitProtocol
from semimoe.settings import Device, NetworkSettings, TrainingSettings

CELLS = "cells"  # folder of the cells, beside the tables
_SETTINGS_FILE = "settings.json"
_SHOWN_DIFFERENCES = 4


@dataclass(frozen=True)
class TableRequest:
    """What all cells of a table have in common.

    Attributes
    ----------
    data : folder of GlaS, CRAG or own images
    out : folder of the cells and tables
    recipe : see `semimoe.benchmark.table_recipes`
    settings : `GROUP.KEY=VALUE`, of all rows
    parts : test parts of the data that are scored
    image_mpp_um : pixel size of the images, um; None: that of GlaS
    flips : test-time augmentation
    device, threads : of each cell
    """

    data: Path
    out: Path
    protocol: SplitProtocol
    recipe: str
    parts: tuple[str, ...]
    settings: tuple[str, ...] = ()
    image_mpp_um: float | None = None
    flips: bool = False
    device: Device = "cpu"
    threads: int = 1

    def list_file(self, labelled: float, seed: int) -> Path:
        """The list of images of all rows with one share and seed."""
        return self.out / "lists" / f"{self.protocol}_{percent_text(labelled)}_seed{seed}.csv"


@dataclass(frozen=True)
class TableCell:
    """One row with one share of labelled images and one seed."""

    request: TableRequest
    row: TableRow
    labelled: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.row.name}-{percent_text(self.labelled)}-seed{self.seed}"

    @property
    def text(self) -> str:
        """Row, share and seed, for messages."""
        return f"{self.row.name}, {percent_text(self.labelled)} %, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of everything that is made for it."""
        return self.request.out / CELLS / self.name

    @property
    def being_made(self) -> Path:
        """Path whose lock is held by the process that makes the cell."""
        return self.folder / "cell"

    @property
    def model(self) -> Path:
        """Folder of its model."""
        return self.folder / "model"

    @property
    def teacher(self) -> "TableCell | None":
        """The cell whose model makes its pseudo-labels."""
        name = self.row.teacher
        if name is None:
            return None
        return TableCell(self.request, TABLE_ROWS[name], self.labelled, self.seed)

    @property
    def is_trained(self) -> bool:
        """Whether its model is finished."""
        return (self.model / CARD).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether its model is finished and scored."""
        files = [self.cost_file, *(self.scores_file(part) for part in self.request.parts)]
        return self.is_trained and all(file.is_file() for file in files)

    def scores_file(self, part: str) -> Path:
        """Result of `evaluate --json` on a test part."""
        protocol = self.request.protocol
        flips = "-flips" if self.request.flips else ""
        return self.folder / f"scores-{part}-{protocol}{flips}.json"

    @property
    def cost_file(self) -> Path:
        """Costs of its training and of predictions, see `semimoe.benchmark.cell_cost`."""
        return self.folder / "cost.json"

    def train_words(self) -> list[str]:
        """The command line of its training, without the name of the program."""
        request, recipe = self.request, _recipe(self.request)
        words = ["train", f"--data={request.data}", f"--method={self.row.method}"]
        words += [f"--split={request.list_file(self.labelled, self.seed)}", f"--seed={self.seed}"]
        words += [f"--preset={recipe.preset}", *_mpp_words(request)]
        if recipe.work_mpp_um is not None:
            words.append(f"--work-mpp={recipe.work_mpp_um}")
        words += [f"--set={text}" for text in self._assignments()]
        if (teacher := self.teacher) is not None:
            words.append(f"--pseudo-from={teacher.model}")
        return [*words, f"--out={self.model}", *_device_words(request)]

    def evaluate_words(self, part: str) -> list[str]:
        """The command line that scores its model on a test part."""
        request = self.request
        words = ["evaluate", f"--truth={request.data / part}", f"--model={self.model}"]
        words += [f"--protocol={request.protocol}", "--json", "--precision=fp32"]
        words += [*_mpp_words(request), f"--flips={'on' if request.flips else 'off'}"]
        return [*words, *_device_words(request)]

    def settings(self) -> tuple[NetworkSettings, TrainingSettings]:
        """Settings of its training.

        Raises
        ------
        SettingsError
            They do not exist, or do not fit each other.
        """
        return overridden(*preset(_recipe(self.request).preset), self._assignments())

    def described(self, images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What its model depends on, as plain values; settings without effect on it are left out.

        Parameters
        ----------
        images : names of the images by role
        """
        network, training = self.settings()
        method = METHODS[self.row.method]
        recipe = _recipe(self.request)
        return {
            "method": self.row.method,
            "network": network.model_dump(mode="json", exclude=set(method.ignored_network)),
            "training": training.model_dump(mode="json", exclude=set(method.ignored_training)),
            "teacher": self.row.teacher,
            "seed": self.seed,
            "image_mpp_um": self.request.image_mpp_um,
            "work_mpp_um": recipe.work_mpp_um,
            "square": recipe.work_mpp_um is None,
            "images": {role: list(names) for role, names in images.items()},
        }

    def settings_text(
        self, images: Mapping[str, Sequence[str]], checksums: Mapping[str, str]
    ) -> str:
        """Content of the file of its settings.

        Parameters
        ----------
        checksums : of the files of the training images and of the test parts
        """
        values = self.described(images) | {"checksums": dict(checksums)}
        return json.dumps(values, indent=2) + "\n"

    @property
    def settings_file(self) -> Path:
        """File of the settings that it was begun with."""
        return self.folder / _SETTINGS_FILE

    def _assignments(self) -> tuple[str, ...]:
        weight = METHODS[self.row.method].published_weight
        return (
            *_recipe(self.request).settings,
            *(weight.assignments if weight else ()),
            *self.request.settings,
            *self.row.settings,
        )


def different_rows(request: TableRequest, rows: Sequence[TableRow]) -> list[TableRow]:
    """Rows without variants that are the same as the method, or as an earlier variant.

    Which of two opposite variants is the method itself depends on the recipe.
    """
    different: list[TableRow] = []
    known: list[dict[str, Any]] = []
    if any(row.group for row in rows):
        known.append(TableCell(request, TABLE_ROWS[MAIN_METHOD.name], 1.0, 0).described({}))
    for row in rows:
        described = TableCell(request, row, 1.0, 0).described({})
        if not row.group or described not in known:
            different.append(row)
            known.append(described)
    return different


def check_settings_file(
    cell: TableCell, images: Mapping[str, Sequence[str]], checksums: Mapping[str, str]
) -> None:
    """Check that a cell that was begun has the same settings and data.

    A setting that did not exist then had its default.

    Raises
    ------
    SettingsError
        It has others, or a file of the images changed.
    """
    try:
        old = json.loads(cell.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise SettingsError(
            f"{cell.settings_file}: damaged ({error}); remove the folder {cell.folder}"
        ) from error
    differences = _differences(old, json.loads(cell.settings_text(images, checksums)))
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        texts = ", ".join(differences[:_SHOWN_DIFFERENCES]) + (f" and {more} more" * (more > 0))
        raise SettingsError(
            f"{cell.folder} was begun with other settings or data ({texts}); choose another output"
            " folder, or remove this one"
        )


def percent_text(share: float) -> str:
    """A share in per cent.

    >>> percent_text(0.2), percent_text(0.125)
    ('20', '12.5')
    """
    return f"{100 * share:g}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    defaults = {"network": NetworkSettings().to_dict(), "training": TrainingSettings().to_dict()}
    texts = []
    for key, value in new.items():
        before = old.get(key)
        if key == "checksums":
            texts += [
                f"files of {name} images changed"
                for name, checksum in value.items()
                if isinstance(before, dict) and before.get(name, checksum) != checksum
            ]
        elif key in defaults and isinstance(before, dict):
            pairs = {name: (before.get(name, defaults[key][name]), value[name]) for name in value}
            texts += [
                f"{key}.{name} {one}, now {other}"
                for name, (one, other) in pairs.items()
                if one != other
            ]
        elif before != value:
            texts.append(key if key == "images" else f"{key} {before}, now {value}")
    return texts


def _recipe(request: TableRequest) -> TableRecipe:
    return TABLE_RECIPES[request.recipe]


def _mpp_words(request: TableRequest) -> list[str]:
    return [] if request.image_mpp_um is None else [f"--mpp={request.image_mpp_um}"]


def _device_words(request: TableRequest) -> list[str]:
    return [f"--device={request.device}", f"--threads={request.threads}"]
