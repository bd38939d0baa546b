"""`splits`: the lists of a benchmark, all at once."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any, get_args

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_lists import Protocol, Row, folds, split, to_csv
from tiling.raster.atomic_files import write_atomic

_SHARES = (0.2, 0.1)
_SEEDS = (0, 1, 2)
_FOLDS = 5


def run(given: argparse.Namespace) -> None:
    """Write both protocols for both shares and three seeds, patient-wise folds, and what stands in them."""
    dataset = open_dataset(given.data)
    cases = {
        file.name: dataset.case(file.name) for file in dataset.training() if file.mask is not None
    }
    lists: dict[str, list[Row]] = {}
    for protocol in get_args(Protocol):
        for share, seed in product(_SHARES, _SEEDS):
            name = f"{protocol}_{round(100 * share)}_seed{seed}"
            lists[name] = split(cases, protocol=protocol, labelled=share, seed=seed)
    for number, rows in enumerate(folds(cases, count=_FOLDS)):
        lists[f"fold{number + 1}of{_FOLDS}"] = rows
    for name, rows in lists.items():
        write_atomic(given.out / f"{name}.csv", to_csv(rows))
    about = {
        "patients": dataset.shared_patients(),
        "lists": {name: _counts(rows) for name, rows in lists.items()},
    }
    write_atomic(given.out / "lists.json", json.dumps(about, indent=2) + "\n")
    print(f"{len(lists)} lists in {given.out}")


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Images, patients and grades per role."""
    return {
        role: {
            "images": sum(row.role == role for row in rows),
            "patients": len({row.patient for row in rows if row.role == role}),
            **Counter(row.grade or "unknown" for row in rows if row.role == role),
        }
        for role in dict.fromkeys(row.role for row in rows)
    }
