"""`splits`: all lists of images of a benchmark, with their roles."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import product

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_lists import (
    ListedImage,
    draw_image_list,
    image_list_csv,
    patient_folds,
)
from semimoe.model_errors import SettingsError
from semimoe.setting_values import PROTOCOLS
from tiling.raster.atomic_files import write_atomic

_SHARES = (0.2, 0.1)
_SEEDS = (0, 1, 2)
_FOLDS = 5


def run(arguments: argparse.Namespace) -> None:
    """Write the lists of both protocols with two shares and three seeds, and those of the folds.

    `lists.json` holds the numbers of images, patients and grades of each list.
    """
    dataset = open_dataset(arguments.data)
    records = {
        file.name: dataset.grade_record(file.name)
        for file in dataset.training_images()
        if file.mask is not None
    }
    lists: dict[str, list[ListedImage]] = {}
    for protocol in PROTOCOLS:
        for share, seed in product(_SHARES, _SEEDS):
            lists[f"{protocol}_{round(100 * share)}_seed{seed}"] = draw_image_list(
                records, protocol=protocol, labelled=share, seed=seed
            )
    for number, rows in enumerate(patient_folds(records, count=_FOLDS), start=1):
        lists[f"fold{number}of{_FOLDS}"] = rows
    summary = {
        "patients": dataset.shared_patients().to_json_dict(),
        "lists": {name: _counts_by_role(rows) for name, rows in lists.items()},
    }
    texts = {arguments.out / f"{name}.csv": image_list_csv(rows) for name, rows in lists.items()}
    texts[arguments.out / "lists.json"] = json.dumps(summary, indent=2) + "\n"
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise SettingsError(
                f"--out {arguments.out}: {path} differs from the list that would be written;"
                " give another folder, or delete this file"
            )
    for path, text in texts.items():
        write_atomic(path, text)
    print(f"{len(lists)} lists in {arguments.out}")


def _counts_by_role(rows: Sequence[ListedImage]) -> dict[str, dict[str, int]]:
    """Role -> number of images, of patients, and of images of each grade."""
    by_role: dict[str, list[ListedImage]] = {}
    for row in rows:
        by_role.setdefault(row.role, []).append(row)
    counts = {}
    for role, images in by_role.items():
        counts[role] = {
            "images": len(images),
            "patients": len({row.patient for row in images}),
            **Counter(row.grade or "unknown" for row in images),
        }
    return counts
