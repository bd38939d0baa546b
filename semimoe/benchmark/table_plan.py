"""Which cells a table has, and the images of each."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semimoe.benchmark.table_cells import (
    TableCell,
    TableRequest,
    check_settings_file,
    different_rows,
)
from semimoe.benchmark.table_rows import TableRow, chosen_rows
from semimoe.datasets.image_checksums import training_files_checksum
from semimoe.datasets.image_dataset import ImageDataset, open_dataset
from semimoe.datasets.image_lists import (
    ListedImage,
    draw_training_list,
    image_list_csv,
    images_with_role,
)
from semimoe.methods import METHODS
from semimoe.model_errors import MissingPackageError, SettingsError
from tiling.raster.atomic_files import write_atomic

log = logging.getLogger(__name__)

_TEST_PARTS = ("testA", "test", "valid")


@dataclass(frozen=True)
class TableSelection:
    """What a user chooses of a table.

    Attributes
    ----------
    methods, variants : names, see `chosen_rows`
    labelled : shares of the images
    """

    methods: Sequence[str]
    variants: Sequence[str]
    labelled: Sequence[float]
    seeds: Sequence[int]


def planned_cells(request: TableRequest, selection: TableSelection) -> list[TableCell]:
    """All cells, finished or not: all rows of a list before the next list.

    So the rows of an interrupted table can be compared.

    Raises
    ------
    SettingsError
        Options do not fit each other, or a cell was begun with other settings.
    DataError, MissingPackageError
        The data or a package is missing.
    """
    for share in selection.labelled:
        if not 0 < share <= 1:
            raise SettingsError(f"labelled {share}: a share in (0, 1] is needed")
    dataset = open_dataset(request.data)
    rows = chosen_rows(selection.methods, selection.variants)
    rows = different_rows(request, _installed_rows(rows, selection.methods))
    lists = itertools.product(dict.fromkeys(selection.labelled), dict.fromkeys(selection.seeds))
    cells = [TableCell(request, row, share, seed) for share, seed in lists for row in rows]
    for cell in cells:
        if cell.settings_file.exists():
            listed = drawn_list(cell, dataset)
            check_settings_file(cell, _images_by_role(listed), _checksums(cell, dataset, listed))
    return cells


def scored_parts(data: Path, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Parts of a data set that are scored: those asked for, or testA, test or valid.

    Raises
    ------
    SettingsError
        There is no folder of a part, or it is that of the training images.
    """
    if asked and "train" in asked:
        raise SettingsError("part train: its images are for training, so it is no test part")
    parts = open_dataset(data).parts
    folders = [part for part in parts if (data / part).is_dir()]
    chosen = asked or [part for part in _TEST_PARTS if part in folders][:1]
    missing = [part for part in chosen if part not in folders]
    if missing or not chosen:
        wanted = ", ".join(missing) or "a test part (testA, test or valid)"
        raise SettingsError(
            f"{data}: no folder {wanted}; docs/glas.md has the layout, and other folders can be"
            " named (--parts, in a workflow benchmark.parts)"
        )
    return tuple(dict.fromkeys(chosen))


def prepare_cell(cell: TableCell) -> None:
    """Write its list of images and its settings before it is begun.

    Raises
    ------
    SettingsError
        It was begun with other settings.
    """
    dataset = open_dataset(cell.request.data)
    rows = drawn_list(cell, dataset)
    images, checksums = _images_by_role(rows), _checksums(cell, dataset, rows)
    check_settings_file(cell, images, checksums)
    write_atomic(cell.request.list_file(cell.labelled, cell.seed), image_list_csv(rows))
    if not cell.settings_file.exists():
        write_atomic(cell.settings_file, cell.settings_text(images, checksums))


def drawn_list(cell: TableCell, dataset: ImageDataset) -> list[ListedImage]:
    """The list of images of a cell, the same for all rows."""
    return draw_training_list(
        dataset, protocol=cell.request.protocol, labelled=cell.labelled, seed=cell.seed
    )


def _images_by_role(rows: Sequence[ListedImage]) -> dict[str, list[str]]:
    return {role: images_with_role(rows, role) for role in ("labelled", "unlabelled", "validation")}


def _checksums(
    cell: TableCell, dataset: ImageDataset, rows: Sequence[ListedImage]
) -> dict[str, str]:
    """Checksums of the images and masks that a cell is trained on, and of its test parts."""
    files = {file.name: file for file in dataset.training_images()}
    roles = _images_by_role(rows)
    outlined = [files[name] for role in ("labelled", "validation") for name in roles[role]]
    checksums = {
        "training": training_files_checksum(
            outlined, [files[name] for name in roles["unlabelled"]], unlabelled_masks=False
        )
    }
    for part in cell.request.parts:
        checksums[part] = training_files_checksum(dataset.parts[part], [], unlabelled_masks=True)
    return checksums


def _installed_rows(rows: Sequence[TableRow], asked: Sequence[str]) -> list[TableRow]:
    """Rows without those of `all` whose packages are missing, which are named in the log.

    Raises
    ------
    MissingPackageError
        A method that was asked for by its name needs a package that is not installed.
    """
    installed = []
    for row in rows:
        problem = METHODS[row.method].package_problem()
        if problem is None:
            installed.append(row)
        elif row.name in asked:
            raise MissingPackageError(problem)
        else:
            log.warning("left out: %s", problem)
    return installed
