"""Results of several runs as one table per protocol and test part: mean and standard deviation over seeds, never two of either together."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

_HONEST = {
    "dice": ("pooled", "dice"),
    "jaccard": ("pooled", "jaccard"),
    "dice, mean of images": ("mean", "dice"),
    "dice at 256": ("at_256", "pooled", "dice"),
    "object F1": ("pooled", "object_f1"),
    "object Dice": ("pooled", "object_dice"),
    "object Hausdorff px": ("pooled", "object_hausdorff_px"),
    "object Hausdorff um": ("pooled", "object_hausdorff_um"),
}
_AS_PUBLISHED = {
    "dice": ("pooled", "dice"),
    "jaccard": ("pooled", "jaccard"),
    "threshold": ("threshold", "value"),
}
_TITLES = {
    "honest": "Protocol honest: checkpoint, threshold and split parameters from validation, test images touched once, every object counted",
    "as-published": "Protocol as-published: 256 x 256, gate output, pooled pixels, threshold chosen on the test images; "
    "for comparison with the paper's Table 1 only",
    "masks as given": "Masks as given: nothing is known about how they were chosen",
}

# How results predict that do not say so.
_PLAIN = {"precision": "fp32", "flips": False}
# Supervised-only with the same network, and a plain network.
_BESIDE = ("supervised", "unet")


class _Run(NamedTuple):
    """What makes two results cells of the same row."""

    method: str
    labelled: str
    unlabelled: str
    labels_used: str
    settings: str  # of network, training and resolution


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One table per protocol and folder of truth; rows are methods and numbers of labels, with mean and standard deviation over seeds.

    Parameters
    ----------
    results : name of a file -> what `evaluate --json` printed
    """
    parts = []
    for protocol, truth in dict.fromkeys(map(_of, results.values())):
        chosen = {
            name: result for name, result in results.items() if _of(result) == (protocol, truth)
        }
        title = _TITLES.get(protocol, f"Protocol {protocol}") + (
            f"; images of {truth}" if truth else ""
        )
        parts.append("\n".join([title, _table(chosen, protocol), *_remarks(chosen)]))
    return "\n\n".join(parts)


def _of(result: Mapping[str, Any]) -> tuple[str, str]:
    """Protocol and folder of truth: what the results of one table share."""
    return result["protocol"], result.get("truth", "")


def text_table(
    rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str], *, corner: str = "image"
) -> str:
    """Aligned text; None is `missing`, an absent figure is empty."""

    def cell(value: object) -> str:
        return (
            "missing"
            if value is None
            else f"{value:.4f}"
            if isinstance(value, float)
            else str(value)
        )

    lines = [[corner, *columns]] + [
        [name, *(cell(row[key]) if key in row else "" for key in columns)]
        for name, row in rows.items()
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _table(results: Mapping[str, Mapping[str, Any]], protocol: str) -> str:
    figures = _AS_PUBLISHED if protocol == "as-published" else _HONEST
    groups: dict[_Run, list[Mapping[str, Any]]] = {}
    for name, result in results.items():
        groups.setdefault(_run(name, result), []).append(result)
    several = {
        run.method
        for run in groups
        if len({other.settings for other in groups if other.method == run.method}) > 1
    }
    rows: dict[str, dict[str, str]] = {}
    for run, members in groups.items():
        name = f"{run.method} ({run.settings})" if run.method in several else run.method
        seeds = ", ".join(
            str(seed)
            for seed in sorted(member.get("model", {}).get("seed", 0) for member in members)
        )
        row = {
            "labelled": run.labelled,
            "unlabelled": run.unlabelled,
            "labels used": run.labels_used,
            "seeds": seeds,
        }
        cells = {
            title: _spread([_dig(member, path) for member in members])
            for title, path in figures.items()
        }
        rows[f"{name}{' ' * len(rows)}"] = {**row, **cells}  # rows of one method may share a name
    columns = ["labelled", "unlabelled", "labels used", "seeds", *figures]
    return text_table(rows, columns, corner="method")


def _run(name: str, result: Mapping[str, Any]) -> _Run:
    model = result.get("model")
    if model is None:
        return _Run(name, "", "", "", "")
    labelled, unlabelled, used = (
        "" if model[key] is None else str(model[key])
        for key in ("labelled", "unlabelled", "labels_used")
    )
    settings = hashlib.sha256(json.dumps(_settings(result), sort_keys=True).encode()).hexdigest()[
        :6
    ]
    return _Run(model["method"], labelled, unlabelled, used, settings)


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model, and of its prediction, by dotted name."""
    model = result["model"]
    groups = {group: model[group] or {} for group in ("network", "training", "resolution")}
    named = {
        f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()
    }
    how = _PLAIN | result.get("prediction", {})
    named |= {f"prediction.{key}": value for key, value in how.items()}
    return {
        **named,
        "fine_tuned": model.get("fine_tuned", False),
        "pseudo_labels": model.get("pseudo_labels", ""),
    }


def _remarks(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    remarks = []
    by_settings = {
        _run(name, result)[::4]: _settings(result)
        for name, result in results.items()
        if "model" in result
    }
    for (method, mark), settings in by_settings.items():
        others = [other for (name, _), other in by_settings.items() if name == method]
        apart = [
            f"{key} {value}"
            for key, value in settings.items()
            if any(other.get(key) != value for other in others)
        ]
        if apart:
            remarks.append(f"{method} ({mark}): {', '.join(apart)}")
    methods = {method for method, _ in by_settings}
    absent = [name for name in _BESIDE if name not in methods]
    if methods and absent:
        remarks.append(
            f"no row of {' and '.join(absent)} beside: a gain counts over what the same labels give alone"
        )
    remarks.append("labels used = labelled + validation images")
    if any(result.get("model", {}).get("fine_tuned") for result in results.values()):
        remarks.append("fine-tuned: labels of the model started from are not among those used")
    remarks += dict.fromkeys(
        result["patients"]["note"] for result in results.values() if "patients" in result
    )
    repeated = [
        name for name, result in results.items() if list(results.values()).count(result) > 1
    ]
    return remarks + (
        [f"the same result is given twice: {', '.join(repeated)}"] if repeated else []
    )


def _dig(result: Mapping[str, Any], path: Sequence[str]) -> Any:  # noqa: ANN401  # JSON
    value: Any = result
    for key in path:
        value = value[key]
    return value


def _spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation (of a sample); missing as soon as one is."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "missing"
    mean = f"{np.mean(known):.4f}"
    return f"{mean} ± {np.std(known, ddof=1):.4f}" if len(known) > 1 else mean
