"""The report of a run: one self-contained page, made from the results that exist."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tiling.raster.atomic_files import write_atomic
from workflow.config.configuration import NAMES, compared, model_folder
from workflow.reporting.outcome import COMPLETE, RunOutcome
from workflow.reporting.report_tables import (
    CsvRow,
    ReportTable,
    cohort_facts,
    cohort_report,
    metrics_report,
)
from workflow.results import ResultPaths

TEMPLATE = Path(__file__).parents[1] / "templates"
_OVERVIEW_PX = 1600
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class SlideEntry:
    """What the report shows of one slide.

    Attributes
    ----------
    slide : id
    facts : short texts below the picture
    picture : data URI of the overview; None: there is no current one
    geojson : name of the file of outlines; None: there is no current one
    error : why the slide has no outlines; None: it has
    """

    slide: str
    facts: list[str]
    picture: str | None
    geojson: str | None
    error: str | None


class ReportFigure(NamedTuple):
    """A figure: its caption, and its SVG."""

    caption: str
    svg: str


class TableSection(NamedTuple):
    """A table with its title and the csv file that has all columns."""

    title: str
    file: str
    table: ReportTable


def write_report(
    slides: Sequence[str], config: dict[str, Any], page: Path, outcome: RunOutcome = COMPLETE
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    slides : ids of the slides, in the order of the sheet
    config : the configuration of the run; the report shows all of it
    page : HTML file to write
    outcome : what failed, and which results are not current
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from workflow.reporting.pooled_scores import pooled_scores

    paths = ResultPaths(Path(config["results"]))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined
    )
    metrics, cohort = _csv_rows(paths.metrics_table), _csv_rows(paths.cohort_table)
    rows_of_slides = {row["slide"]: row for row in cohort if not row["region"]}
    test_scores = pooled_scores(paths.metrics_table)
    tables = (
        TableSection("Scores", paths.metrics_table.name, metrics_report(metrics)),
        TableSection("Cohort", paths.cohort_table.name, cohort_report(cohort)),
    )
    card = _model_card(config, outcome)
    html = environment.get_template("report.html").render(
        slides=[
            _slide_entry(slide, rows_of_slides.get(slide, {}), config, outcome) for slide in slides
        ],
        test_scores=test_scores,
        scored_methods={row.method for row in test_scores},
        names=NAMES,
        parameters_source=_parameters_source(config, card),
        tables=[section for section in tables if section.table.rows],
        card=card,
        model=config["model"],
        predictions=_predictions(slides, paths, outcome),
        figures=[] if config["model"] else _figures(config, paths, outcome),
        failures=outcome.failures,
        left_out={} if config["model"] else card.get("notes", {}).get("left_out", {}),
        config=json.dumps(config, indent=1),
        results=str(paths.folder),
    )
    write_atomic(page, html)


def current_outlines(slide: str, config: dict[str, Any], outcome: RunOutcome) -> Path | None:
    """The GeoJSON of a slide; None if this run did not write it."""
    paths = ResultPaths(Path(config["results"]))
    path = paths.outlines(slide, compressed=config["export"]["compress"])
    return path if outcome.is_current(path) else None


def _csv_rows(path: Path) -> list[CsvRow]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _model_card(config: dict[str, Any], outcome: RunOutcome) -> dict[str, Any]:
    """The card of the model that predicts; empty if this run should have trained it and did not."""
    from semimoe.model_card import CARD, load_card

    folder = model_folder(config)
    return load_card(folder).to_dict() if outcome.is_current(folder / CARD) else {}


def _parameters_source(config: dict[str, Any], card: dict[str, Any]) -> str:
    """Where threshold and split parameters come from."""
    configured = sorted(
        key
        for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um")
        if config["glands"][key] is not None
    )
    source: str = card.get("threshold_from", "unknown")
    descriptions = {
        "validation": "chosen on validation",
        "default": "default values (no validation)",
    }
    of_model = descriptions.get(source, source)
    if not configured:
        return of_model
    return f"set in the configuration: {', '.join(configured)}; otherwise {of_model}"


def _predictions(slides: Sequence[str], paths: ResultPaths, outcome: RunOutcome) -> list[str]:
    """How the maps were predicted; if slides differ, a line for each way, with its slides."""
    slides_of: dict[str, list[str]] = {}
    for slide in slides:
        if outcome.is_current(paths.maps(slide)):
            slides_of.setdefault(_prediction_of(paths.maps(slide)), []).append(slide)
    if len(slides_of) == 1:
        return list(slides_of)
    return [f"{way}: {', '.join(same)}" for way, same in slides_of.items()]


def _prediction_of(maps: Path) -> str:
    from tiling.stores.layout import MapStore

    store = MapStore.read(maps)
    parameters, most_at_once = store.parameters, store.most_at_once
    text = f"{parameters.get('precision', 'fp32')}, batches of {parameters.get('batch', '?')} tiles"
    if parameters.get("flips"):
        text += ", mean over the image and its three flips"
    if most_at_once:
        text += f", {most_at_once} tiles at a time after memory ran out"
    return text


def _slide_entry(
    slide: str, cohort_row: CsvRow, config: dict[str, Any], outcome: RunOutcome
) -> SlideEntry:
    overview = ResultPaths(Path(config["results"])).overview(slide)
    outlines = current_outlines(slide, config, outcome)
    return SlideEntry(
        slide=slide,
        facts=cohort_facts(cohort_row),
        picture=_data_uri(overview) if outcome.is_current(overview) else None,
        geojson=outlines.name if outlines else None,
        error=outcome.without_outlines.get(slide),
    )


def _data_uri(picture: Path) -> str:
    """A PNG as a data URI, as a JPEG of limited size: browsers must open a page of 300 slides."""
    from PIL import Image

    with Image.open(picture) as image:
        image.thumbnail((_OVERVIEW_PX, _OVERVIEW_PX))
        jpeg = io.BytesIO()
        image.convert("RGB").save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()


def _figures(config: dict[str, Any], paths: ResultPaths, outcome: RunOutcome) -> list[ReportFigure]:
    """Training curves and gate weights."""
    import pandas as pd

    from workflow.reporting.curves import gate_figure, training_figure

    methods = dict.fromkeys(("supervised", *compared(config), "semimoe"))
    files = {method: paths.model(method) / "history.csv" for method in methods}
    histories = {
        method: pd.read_csv(path) for method, path in files.items() if outcome.is_current(path)
    }
    if not histories:
        return []
    caption = "Training: losses, validation Dice, and pseudo-labels over the epochs"
    figures = [ReportFigure(caption, training_figure(histories))]
    if "semimoe" in histories:
        caption = (
            "Mean weight of each expert in each gate over the epochs "
            "(dashed line: 1/3, all experts have the same weight)"
        )
        figures.append(ReportFigure(caption, gate_figure(histories["semimoe"])))
    return figures
