"""The report of a run: one self-contained page, made from whatever exists, also after a failed run."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.raster.atomic_files import write_atomic
from workflow.config.configuration import NAMES, compared, geojson_ending, model_folder
from workflow.reporting.outcome import (
    COMPLETE,
    Job,
    Outcome,
    outcome,
    preview_failures,
    record_failure,
    tables_after_failure,
)
from workflow.reporting.report_tables import cohort_table, in_words, score_table
from workflow.sheet import Sheet

TEMPLATE = Path(__file__).parents[1] / "templates"
_OVERVIEW_PX = 1600
_SHOWN = 8


@dataclass(frozen=True)
class SlideCard:
    """What the report shows of one slide."""

    slide: str
    facts: list[str]
    picture: str | None
    geojson: str | None
    error: str | None


def write_report(
    slides: list[str], config: dict[str, Any], out: Path, found: Outcome = COMPLETE
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    slides : ids of the sheet's slides, in its order
    config : the run's configuration, shown as it was
    found : what failed, and which slides have no current results
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from workflow.stages.scores import headline

    results = Path(config["results"])
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined
    )
    cohort = _rows(results / "cohort.csv")
    by_slide = {row["slide"]: row for row in cohort if not row["region"]}
    tested = headline(results / "metrics.csv")
    tables = (
        ("Scores", "metrics.csv", score_table(_rows(results / "metrics.csv"))),
        ("Cohort", "cohort.csv", cohort_table(cohort)),
    )
    card = _card(config, found)
    page = environment.get_template("report.html").render(
        slides=[_slide_card(slide, by_slide, config, found) for slide in slides],
        headline=tested,
        compared={row["method"] for row in tested},
        names=NAMES,
        parameters_from=_parameters_from(config, card),
        tables=[(title, name, table) for title, name, table in tables if table.rows],
        card=card,
        model=config["model"],
        predicted=_predicted(slides, config, found),
        figures=[] if config["model"] else _figures(results, config, found),
        failures=found.failures,
        left_out={} if config["model"] else card.get("notes", {}).get("left_out", {}),
        config=json.dumps(config, indent=1),
        results=str(results),
    )
    write_atomic(out, page)


def headline_text(slides: list[str], config: dict[str, Any], found: Outcome = COMPLETE) -> str:
    """What a run says last: where things are, and the scores on the test slides."""
    from workflow.stages.scores import headline

    results = Path(config["results"])
    report, geojson = (
        results / "report.html",
        [path for slide in slides if (path := _outlines(slide, config, found))],
    )
    lines = [f"Report:   {report}"] if report.is_file() else []
    if geojson:
        lines += [
            f"Outlines: {len(geojson)} slide(s), drag them onto the slides in QuPath:",
            *(f"          {path}" for path in geojson[:_SHOWN]),
        ]
        lines += (
            [f"          ... and {len(geojson) - _SHOWN} more"] if len(geojson) > _SHOWN else []
        )
    for row in headline(results / "metrics.csv"):
        name = NAMES.get(row["method"], row["method"])
        scores = ", ".join(
            f"{label} {row[key]:.3f}" for label, key in _HEADLINE if row.get(key) is not None
        )
        said = f"no scores: {row['error']}" if row.get("error") else scores
        lines.append(f"{row['slide']}: {name:16s} {said}")
    return "\n".join(["", *lines])


def after_preview(slides: list[str], config: dict[str, Any]) -> tuple[str, bool]:
    """What to tell after a preview, and whether all slides can be used; when not, the next call makes the preview again and tells again."""
    results = Path(config["results"])
    page, failed = f"Preview:  {results / 'preview.html'}", preview_failures(slides, results)
    if not failed:
        return f"\n{page}", True
    record_failure(results, failed, ("preview.html", "preview.png"))
    told = f"{len(failed)} of {len(slides)} slide(s) cannot be used; mend them, or give them the split `skip` in the sheet:"
    return "\n".join(["", page, told, *failed]), False


def report_after_failure(
    sheet: Sheet, config: dict[str, Any], jobs: tuple[Job, ...], *, since: float
) -> str:
    """Tables and report of a run that failed, from what is current; returns what to tell the user.

    Parameters
    ----------
    jobs : those that were not done, see `workflow.reporting.outcome.planned`
    since : when the run started, seconds since 1970
    """
    found = outcome(sheet, config, jobs, since=since)
    told = [
        f"FAILED {failure.step}/{failure.subject}: {failure.reason} (log: {failure.log})"
        for failure in found.failures
    ]
    out = Path(config["results"]) / "report.html"
    if not any(job.step == "report" for job in jobs):  # the user asked for something else
        return "\n".join(["", *told])
    try:
        try:
            tables_after_failure(sheet, config, found)
            write_report(sheet.ids(), config, out, found)
        finally:
            record_failure(
                Path(config["results"]), told, ("metrics.csv", "cohort.csv", "report.html")
            )
    except Exception as error:  # a full disk, a damaged file: what failed must be told all the same
        return "\n".join(
            ["", *told, f"No report could be made of it: {type(error).__name__}: {error}"]
        )
    return "\n".join(
        [
            headline_text(sheet.ids(), config, found),
            "",
            *told,
            f"What exists, and what failed, is in {out}",
        ]
    )


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
    given = sorted(
        key
        for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um")
        if config["glands"][key] is not None
    )
    source = card.get("threshold_from", "unknown")
    own = {"validation": "chosen on validation", "default": "defaults (no validation)"}.get(
        source, source
    )
    return f"set in the configuration: {', '.join(given)}; otherwise {own}" if given else own


def _card(config: dict[str, Any], found: Outcome) -> dict[str, Any]:
    from semimoe.model_card import CARD, load_card

    folder = model_folder(config)
    return load_card(folder).to_dict() if found.current(folder / CARD) else {}


def _predicted(slides: list[str], config: dict[str, Any], found: Outcome) -> list[str]:
    """How the maps were predicted, one line per way, with its slides where there are several."""
    from tiling.stores.layout import MapStore

    ways: dict[str, list[str]] = {}
    for slide in slides:
        path = Path(config["results"]) / "maps" / f"{slide}.zarr"
        if not found.current(path):
            continue
        attributes = MapStore.read(path)
        given, most = attributes.parameters, attributes.most_at_once
        way = f"{given.get('precision', 'fp32')}, batches of {given.get('batch', '?')} tiles"
        way += ", mean over four flips" if given.get("flips") else ""
        way += f", {most} at a time since memory ran out" if most else ""
        ways.setdefault(way, []).append(slide)
    return (
        list(ways)
        if len(ways) == 1
        else [f"{way}: {', '.join(chosen)}" for way, chosen in ways.items()]
    )


def _slide_card(
    slide: str, cohort: dict[str, dict[str, str]], config: dict[str, Any], found: Outcome
) -> SlideCard:
    geojson = _outlines(slide, config, found)
    picture = Path(config["results"]) / "overviews" / f"{slide}.png"
    facts = in_words(cohort.get(slide, {}))
    shown = _embedded(picture) if found.current(picture) else None
    return SlideCard(slide, facts, shown, geojson.name if geojson else None, found.lost.get(slide))


def _outlines(slide: str, config: dict[str, Any], found: Outcome) -> Path | None:
    path = Path(config["results"]) / "glands" / f"{slide}.{geojson_ending(config)}"
    return path if found.current(path) else None


def _embedded(path: Path) -> str:
    """A PNG as a data URI, as JPEG of bounded size: 300 slides must stay a page that opens."""
    import io

    from PIL import Image

    with Image.open(path) as image:
        image.thumbnail((_OVERVIEW_PX, _OVERVIEW_PX))
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _figures(results: Path, config: dict[str, Any], found: Outcome) -> list[tuple[str, str]]:
    """Training curves and gate weights as inline SVG, (caption, markup)."""
    import pandas as pd

    from workflow.reporting.curves import gate_figure, training_figure

    methods = dict.fromkeys(("supervised", *compared(config), "semimoe"))
    histories = {name: results / "models" / name / "history.csv" for name in methods}
    tables = {name: pd.read_csv(path) for name, path in histories.items() if found.current(path)}
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
