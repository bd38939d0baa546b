"""Results of several models as tables: one for each protocol and folder of test images.

A row is a method with its settings and number of labels; its values are the mean and the standard
deviation over seeds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import JsonValue

from semimoe.evaluation.results import (
    EvaluatedModel,
    GlandEvaluation,
    PredictionMode,
    PublishedEvaluation,
    Settings,
)

Result = GlandEvaluation | PublishedEvaluation
Cell = str | int | float | None

_TITLES = {
    "honest": "Protocol honest: checkpoint, threshold and split parameters from validation, "
    "test images touched once, every object counted",
    "as-published": "Protocol as-published: 256 x 256, gate output, pooled pixels, "
    "threshold chosen on the test images; for comparison with the paper's Table 1 only",
    "masks as given": "Masks as given: nothing is known about how they were chosen",
}
# The same network trained with labelled images only, and a network without experts.
_BASELINES = ("supervised", "unet")


class _TableKey(NamedTuple):
    """Results with the same key are in the same table."""

    protocol: str
    truth: str


class _RowKey(NamedTuple):
    """Results with the same key are seeds of the same row."""

    method: str
    labelled: str
    unlabelled: str
    labels_used: str
    settings_checksum: str


def result_tables(results: Mapping[str, Result]) -> str:
    """One table per protocol and folder of test images, as text with remarks below each.

    Parameters
    ----------
    results : name of the file of a result -> its content
    """
    tables: dict[_TableKey, dict[str, Result]] = {}
    for name, result in results.items():
        tables.setdefault(_TableKey(result.protocol, result.truth), {})[name] = result
    parts = []
    for (protocol, truth), chosen in tables.items():
        title = _TITLES.get(protocol, f"Protocol {protocol}")
        if truth:
            title += f"; images of {truth}"
        parts.append("\n".join([title, _table(chosen), *_remarks(chosen)]))
    return "\n\n".join(parts)


def text_table(
    rows: Mapping[str, Mapping[str, Cell]], columns: Sequence[str], *, corner: str = "image"
) -> str:
    """Aligned text; None is `missing`, a column that a row does not have is empty."""
    lines = [[corner, *columns]]
    for name, row in rows.items():
        lines.append([name, *(_cell_text(row[key]) if key in row else "" for key in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell_text(value: Cell) -> str:
    if value is None:
        return "missing"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(results: Mapping[str, Result]) -> str:
    groups: dict[_RowKey, list[Result]] = {}
    for name, result in results.items():
        groups.setdefault(_row_key(name, result), []).append(result)
    rows: dict[str, dict[str, Cell]] = {}
    columns: list[str] = []
    for key, group in groups.items():
        settings = {other.settings_checksum for other in groups if other.method == key.method}
        name = f"{key.method} ({key.settings_checksum})" if len(settings) > 1 else key.method
        seeds = sorted(result.model.seed or 0 if result.model else 0 for result in group)
        row: dict[str, Cell] = {
            "labelled": key.labelled,
            "unlabelled": key.unlabelled,
            "labels used": key.labels_used,
            "seeds": ", ".join(map(str, seeds)),
        }
        values = [_table_values(result) for result in group]
        row |= {title: _mean_and_deviation([one[title] for one in values]) for title in values[0]}
        columns = list(row)
        # Rows may have the same name; spaces make the key unique.
        rows[name + " " * len(rows)] = row
    return text_table(rows, columns, corner="method")


def _table_values(result: Result) -> dict[str, float | None]:
    """Columns of a table with the values of one result."""
    if isinstance(result, PublishedEvaluation):
        return {
            "dice": result.pooled.dice,
            "jaccard": result.pooled.jaccard,
            "threshold": result.threshold.value,
        }
    return {
        "dice": result.pooled.dice,
        "jaccard": result.pooled.jaccard,
        "dice, mean of images": result.mean.dice,
        "dice at 256": result.at_256.pooled.dice,
        "object F1": result.pooled.object_f1,
        "object Dice": result.pooled.object_dice,
        "object Hausdorff px": result.pooled.object_hausdorff_px,
        "object Hausdorff um": result.pooled.object_hausdorff_um,
    }


def _mean_and_deviation(values: Sequence[float | None]) -> str:
    """Mean and standard deviation (of a sample); `missing` if a value is None."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "missing"
    mean = f"{np.mean(numbers):.4f}"
    return f"{mean} ± {np.std(numbers, ddof=1):.4f}" if len(numbers) > 1 else mean


def _row_key(name: str, result: Result) -> _RowKey:
    model = result.model
    if model is None:  # masks: a row of its own
        return _RowKey(name, "", "", "", "")
    labelled, unlabelled, labels_used = (
        "" if count is None else str(count)
        for count in (model.labelled, model.unlabelled, model.labels_used)
    )
    values = _settings(model, result.prediction)
    # 20 and 20.0 are the same setting.
    equal = {
        key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in values.items()
    }
    settings = json.dumps(equal, sort_keys=True)
    checksum = hashlib.sha256(settings.encode()).hexdigest()[:6]
    return _RowKey(model.method, labelled, unlabelled, labels_used, checksum)


def _settings(model: EvaluatedModel, prediction: PredictionMode | None) -> Settings:
    """Settings of a model and of its prediction, by dotted name."""
    groups: dict[str, Settings | None] = {
        "network": model.network,
        "training": model.training,
        "resolution": model.resolution,
        "prediction": dict((prediction or PredictionMode()).model_dump()),
    }
    settings: dict[str, JsonValue] = {}
    for group, values in groups.items():
        settings |= {f"{group}.{key}": value for key, value in (values or {}).items()}
    return {
        **settings,
        "fine_tuned": model.fine_tuned,
        "pseudo_labels": model.pseudo_labels,
    }


def _remarks(results: Mapping[str, Result]) -> list[str]:
    remarks = _setting_remarks(results)
    methods = {result.model.method for result in results.values() if result.model}
    missing = [name for name in _BASELINES if name not in methods]
    if methods and missing:
        remarks.append(
            f"no row of {' and '.join(missing)}: a gain is only shown by a comparison with "
            "models that are trained on the same labels alone"
        )
    remarks.append("labels used = labelled + validation images")
    if any(result.model and result.model.fine_tuned for result in results.values()):
        remarks.append("fine-tuned: labels of the model started from are not among those used")
    notes = [result.patients.note for result in results.values() if result.patients]
    remarks += dict.fromkeys(notes)
    all_results = list(results.values())
    repeated = [name for name, result in results.items() if all_results.count(result) > 1]
    if repeated:
        remarks.append(f"the same result is given twice: {', '.join(repeated)}")
    return remarks


def _setting_remarks(results: Mapping[str, Result]) -> list[str]:
    """For each method with several settings: what each of them has that another has not."""
    by_method: dict[str, dict[str, Settings]] = {}
    order: list[tuple[str, str]] = []
    for name, result in results.items():
        if result.model is None:
            continue
        key = _row_key(name, result)
        variants = by_method.setdefault(key.method, {})
        if key.settings_checksum not in variants:
            order.append((key.method, key.settings_checksum))
        variants[key.settings_checksum] = _settings(result.model, result.prediction)
    remarks = []
    for method, checksum in order:
        settings = by_method[method][checksum]
        others = list(by_method[method].values())
        different = [
            f"{key} {value}"
            for key, value in settings.items()
            if any(other.get(key) != value for other in others)
        ]
        if different:
            remarks.append(f"{method} ({checksum}): {', '.join(different)}")
    return remarks
