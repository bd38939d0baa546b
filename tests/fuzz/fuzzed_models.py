"""Model cards, safetensors files, lists of images, grades and results with changed content."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from changed_inputs import changed_bytes, changed_json, changed_json_text
from fuzzed_parser import FuzzedParser

from semimoe.datasets.image_dataset import read_grades
from semimoe.datasets.image_lists import COLUMNS, read_image_list
from semimoe.evaluation.results import read_evaluation
from semimoe.model_card import CARD, load_card, parse_card
from semimoe.model_errors import DataError, ModelError
from semimoe.tensor_files import load_tensors, save_tensors
from semimoe.training.checkpoints import is_resumable

_CARD: dict[str, Any] = {
    "method": "semimoe",
    "network": {"width": 8, "encoder": "unet", "experts": "separate"},
    "mpp_um": 1.0,
    "tile_px": 64,
    "threshold": 0.5,
    "split": {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0},
    "sdf_um": 20.0,
    "sdf_scale": "um",
    "normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "weights_sha256": "0" * 64,
    "validation": {"dice": 0.5, "threshold": 0.5},
    "images": {"labelled": ["a"], "unlabelled": [], "validation": ["b"]},
}
_RESULT: dict[str, Any] = {
    "protocol": "as-published",
    "mpp_um": 0.5,
    "threshold": {"value": 0.5, "chosen_on": "test images"},
    "size": "256 x 256",
    "pooled": {"dice": 0.9, "jaccard": 0.8},
    "warnings": [],
    "dice_by_threshold": {"0.5": 0.8},
}
_CELLS = (
    "image", "role", "patient", "grade", "labelled", "unlabelled", "validation", ",", ",", "\n",
    "\r", '"', "a.png", "b.png", "\0", "\ufeff", "benign", "malignant", "name", " ", "1",
    "x" * 200_000, ";", "\u2028",
)  # fmt: skip
_HEADER_BYTES = 400


def _prepare_card(folder: Path) -> Callable[[random.Random], None]:
    def input_from(rng: random.Random) -> None:
        if rng.random() < 0.6:
            parse_card(changed_json(_CARD, rng), source="card")
        else:
            text = changed_json_text(_CARD, rng)
            (folder / CARD).write_text(text, encoding="utf-8", errors="surrogateescape")
            load_card(folder)

    parse_card(copy.deepcopy(_CARD), source="the example")
    return input_from


def _prepare_tensors(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "x.safetensors"
    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.int64)}
    save_tensors(path, tensors, {"epoch": 3, "checksum": "c"})
    valid = path.read_bytes()

    def input_from(rng: random.Random) -> None:
        path.write_bytes(changed_bytes(valid, rng, first=_HEADER_BYTES))
        if rng.random() < 0.3:
            is_resumable(path, "c")
        else:
            load_tensors(path)

    return input_from


def _csv(rng: random.Random, header: str) -> bytes:
    text = (header + "\n") * (rng.random() < 0.8)
    text += "".join(rng.choice(_CELLS) for _ in range(rng.randint(0, 30)))
    return changed_bytes(text.encode(), rng) if rng.random() < 0.5 else text.encode()


def _table(
    header: str, read: Callable[[Path], object]
) -> Callable[[Path], Callable[[random.Random], None]]:
    def prepare(folder: Path) -> Callable[[random.Random], None]:
        path = folder / "t.csv"

        def input_from(rng: random.Random) -> None:
            path.write_bytes(_csv(rng, header))
            read(path)

        return input_from

    return prepare


def _prepare_results(folder: Path) -> Callable[[random.Random], None]:
    del folder  # no file

    def input_from(rng: random.Random) -> None:
        read_evaluation(changed_json_text(_RESULT, rng))

    return input_from


PARSERS = [
    FuzzedParser("card", "model cards", _prepare_card, (ModelError,), 60_000),
    FuzzedParser("safetensors", "weights and checkpoints", _prepare_tensors, (ModelError,)),
    FuzzedParser(
        "image-list", "lists of images (semimoe)", _table(",".join(COLUMNS), read_image_list),
        (DataError,),
    ),
    FuzzedParser(
        "grades", "`Grade.csv` of GlaS", _table("name, patient, grade", read_grades), (DataError,)
    ),
    FuzzedParser("results", "results of `semimoe evaluate`", _prepare_results, (DataError,)),
]  # fmt: skip
