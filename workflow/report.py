"""The report of a run: one self-contained page, made from whatever exists, also after a failed run."""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.store.atomic import write_atomic

TEMPLATE = Path(__file__).parent / "templates"
_OVERVIEW_PX = 1600
_LOG_LINES = 6
_SHOWN = 8


@dataclass(frozen=True)
class SlideCard:
    """What the report shows of one slide."""

    slide: str
    facts: dict[str, str]
    picture: str | None
    geojson: str | None
    error: str | None


def write_report(results: Path, slides: list[str], config: dict[str, Any], out: Path) -> None:
    """Write the report of everything that exists under `results`.

    Parameters
    ----------
    results : output folder of the run
    slides : ids of the sheet's slides, in its order
    config : the run's configuration, shown as it was
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from workflow.evaluation import headline

    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    environment.filters["short"] = _short
    cohort = _rows(results / "cohort.csv")
    by_slide = {row["slide"]: row for row in cohort if not row["region"]}
    tested = headline(results / "metrics.csv")
    card = _card(results, config)
    page = environment.get_template("report.html").render(
        slides=[_slide_card(results, slide, by_slide) for slide in slides],
        headline=tested,
        compared="supervised" in {row["method"] for row in tested},
        parameters_from=_parameters_from(config, card),
        metrics=_rows(results / "metrics.csv"),
        cohort=cohort,
        card=card,
        figures=_figures(results),
        failures=_failures(results, slides),
        left_out=card.get("notes", {}).get("left_out", {}) if card else {},
        config=json.dumps(config, indent=1),
        results=str(results),
    )
    write_atomic(out, page)


def headline_text(results: Path) -> str:
    """What a finished run says last: where things are, and the scores on the test slides."""
    from workflow.evaluation import headline

    report, geojson = results / "report.html", sorted((results / "glands").glob("*.geojson*"))
    lines = [f"Report:   {report}"] if report.is_file() else []
    if geojson:
        lines += [
            f"Outlines: {len(geojson)} slide(s), drag them onto the slides in QuPath:",
            *(f"          {path}" for path in geojson[:_SHOWN]),
        ]
        lines += [f"          ... and {len(geojson) - _SHOWN} more"] if len(geojson) > _SHOWN else []
    for row in headline(results / "metrics.csv"):
        name = {"semimoe": "Semi-MoE", "supervised": "supervised-only"}.get(row["method"], row["method"])
        scores = ", ".join(f"{label} {row[key]:.3f}" for label, key in _HEADLINE if row.get(key) is not None)
        lines.append(f"{row['slide']}: {name:16s} {scores}")
    return "\n".join(["", *lines])


def report_after_failure(results: Path, slides: list[str], config: dict[str, Any]) -> str:
    """Report of a run that failed, from what exists; returns what to tell the user."""
    out = results / "report.html"
    write_report(results, slides, config, out)
    # Older than everything: the next run sees that the report is out of date and makes it again.
    os.utime(out, (0, 0))
    failures = _failures(results, slides)
    return "\n".join(["", *(f"FAILED {where}: {why[-1]}" for where, why in failures), f"What exists, and what failed, is in {out}"])


_HEADLINE = (
    ("foreground Dice", "dice"),
    ("object F1", "object_f1"),
    ("object Dice", "object_dice"),
    ("object Hausdorff um", "object_hausdorff_um"),
)


def _rows(path: Path) -> list[dict[str, str]]:
    import csv

    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _parameters_from(config: dict[str, Any], card: dict[str, Any]) -> str:
    given = sorted(key for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um") if config["glands"][key] is not None)
    own = {"validation": "chosen on validation", "default": "defaults (no validation)"}.get(card.get("threshold_from", ""), "unknown")
    return f"set in the configuration: {', '.join(given)}; otherwise {own}" if given else own


def _short(value: str) -> str:
    """A number with four digits, a text as it is.

    >>> _short("0.8588281"), _short("61"), _short("validation")
    ('0.8588', '61', 'validation')
    """
    try:
        return f"{float(value):.4g}" if "." in value else value
    except ValueError:
        return value


def _card(results: Path, config: dict[str, Any]) -> dict[str, Any]:
    path = Path(config["model"] or results / "models" / "semimoe") / "model.json"
    loaded: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return loaded


def _slide_card(results: Path, slide: str, cohort: dict[str, dict[str, str]]) -> SlideCard:
    from tiling.store.arrays import recorded_error

    picture = results / "overviews" / f"{slide}.png"
    geojson = sorted((results / "glands").glob(f"{slide}.geojson*"))
    stores = [results / kind / f"{slide}.zarr" for kind in ("tiles", "labels")]
    errors = [error for store in stores if store.is_dir() and (error := recorded_error(store))]
    facts = {key: value for key, value in cohort.get(slide, {}).items() if key not in ("slide", "region") and value}
    return SlideCard(slide, facts, _embedded(picture), geojson[0].name if geojson else None, errors[0] if errors else None)


def _embedded(path: Path) -> str | None:
    """A PNG as a data URI, as JPEG of bounded size: 300 slides must stay a page that opens."""
    import io

    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        image.thumbnail((_OVERVIEW_PX, _OVERVIEW_PX))
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _failures(results: Path, slides: list[str]) -> list[tuple[str, list[str]]]:
    """The end of every log of this sheet's jobs that ends in an error."""
    found = []
    wanted = {*slides, "all", "supervised", "semimoe"}
    for log in sorted(path for path in (results / "logs").rglob("*.log") if path.stem in wanted):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines and (lines[-1].startswith("ERROR ") or any(line.startswith("Traceback") for line in lines)):
            found.append((str(log.relative_to(results / "logs").with_suffix("")), lines[-_LOG_LINES:]))
    return found


def _figures(results: Path) -> list[tuple[str, str]]:
    """Training curves and gate weights as inline SVG, (caption, markup)."""
    import pandas as pd

    from workflow.curves import gate_figure, training_figure

    histories = {name: results / "models" / name / "history.csv" for name in ("supervised", "semimoe")}
    tables = {name: pd.read_csv(path) for name, path in histories.items() if path.is_file()}
    if not tables:
        return []
    figures = [("Training: losses, validation and pseudo-labels", training_figure(tables))]
    if "semimoe" in tables:
        figures.append(
            (
                "What each gate makes of the three experts (weights over the epochs; 1/3 each means it does not choose)",
                gate_figure(tables["semimoe"]),
            )
        )
    return figures
