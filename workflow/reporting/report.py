"""The report of a run: one self-contained page, made from the results that exist."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_card import CARD, ModelCard, load_card
from semimoe.split_choice import SplitChoice
from tiling.messages import counted
from tiling.raster.atomic_files import write_atomic
from tiling.raster.earlier_results import reading_result
from workflow.config.configuration import Configuration
from workflow.reporting.outcome import COMPLETE, RunOutcome
from workflow.reporting.report_tables import (
    CsvRow,
    ReportTable,
    cohort_facts,
    cohort_report,
    method_label,
    metrics_report,
)
from workflow.reporting.slide_provenance import slide_provenance
from workflow.result_paths import ResultPaths

TEMPLATE = Path(__file__).parents[1] / "templates"
# Width and height of a picture: captions can be read in it, and a page of 300 slides opens.
_OVERVIEW_PX = (1700, 4000)
_JPEG_QUALITY = 80


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
    slides: Sequence[str], configuration: Configuration, page: Path, outcome: RunOutcome = COMPLETE
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    slides : ids of the slides, in the order of the sheet
    configuration : of the run; the report shows all of it
    page : HTML file to write
    outcome : what failed, and which results are not current
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from workflow.reporting.pooled_scores import pooled_scores

    paths = ResultPaths(Path(configuration.results))
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
    card = _model_card(configuration, outcome)
    html = environment.get_template("report.html").render(
        slides=[
            _slide_entry(slide, rows_of_slides.get(slide, {}), configuration, outcome)
            for slide in slides
        ],
        test_scores=test_scores,
        method_label=method_label,
        scored_methods=[
            METHODS[name]
            for name in dict.fromkeys(row.method for row in test_scores)
            if name in METHODS
        ],
        parameters_source=_parameters_source(configuration, card),
        tables=[section for section in tables if section.table.rows],
        card=card,
        model=configuration.model,
        model_name=_model_name(configuration, card),
        method_name=method_label(card.method) if card else "",
        start_from=configuration.start_from,
        provenance=slide_provenance(slides, paths, outcome),
        figures=[] if configuration.model else _figures(configuration, paths, outcome),
        failures=outcome.failures,
        left_out={} if configuration.model or card is None else card.notes.left_out or {},
        config=json.dumps(configuration.to_dict(), indent=1),
        results=str(paths.folder),
        counted=counted,
    )
    write_atomic(page, html)


def current_outlines(slide: str, configuration: Configuration, outcome: RunOutcome) -> Path | None:
    """The GeoJSON of a slide; None if this run did not write it."""
    paths = ResultPaths(Path(configuration.results))
    path = paths.outlines(slide, compressed=configuration.export.compress)
    return path if outcome.is_current(path) else None


def _csv_rows(path: Path) -> list[CsvRow]:
    if not path.is_file():
        return []
    with reading_result(path), path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _model_card(configuration: Configuration, outcome: RunOutcome) -> ModelCard | None:
    """The card of the model that predicts; None if this run should have trained it and did not."""
    folder = configuration.model_folder
    return load_card(folder) if outcome.is_current(folder / CARD) else None


def _model_name(configuration: Configuration, card: ModelCard | None) -> str:
    """Name of the model that predicts: that of its card, and its folder."""
    folder = str(configuration.model_folder)
    return f"{card.name} ({folder})" if card and card.name else folder


def _parameters_source(configuration: Configuration, card: ModelCard | None) -> str:
    """Where threshold and split parameters come from."""
    configured = sorted(
        key
        for key in ("threshold", *SplitChoice.model_fields)
        if getattr(configuration.glands, key) is not None
    )
    source = "unknown" if card is None else card.threshold_from
    descriptions = {
        "validation": "chosen on validation",
        "default": "default values (no validation)",
        "start model": "those of the start model (no validation)",
    }
    of_model = descriptions.get(source, source)
    if not configured:
        return of_model
    return f"set in the configuration: {', '.join(configured)}; otherwise {of_model}"


def _slide_entry(
    slide: str, cohort_row: CsvRow, configuration: Configuration, outcome: RunOutcome
) -> SlideEntry:
    overview = ResultPaths(Path(configuration.results)).overview(slide)
    outlines = current_outlines(slide, configuration, outcome)
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
        image.thumbnail(_OVERVIEW_PX)
        jpeg = io.BytesIO()
        image.convert("RGB").save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()


def _figures(
    configuration: Configuration, paths: ResultPaths, outcome: RunOutcome
) -> list[ReportFigure]:
    """Training curves and gate weights."""
    import pandas as pd

    from workflow.reporting.curves import gate_figure, training_figure

    methods = [MAIN_METHOD.starts_from, *configuration.compared_methods, MAIN_METHOD.name]
    histories = {}
    for method in dict.fromkeys(name for name in methods if name is not None):
        if outcome.is_current(paths.history(method)):
            path = paths.history(method)
            with reading_result(path):
                histories[method] = pd.read_csv(path).astype({"epoch": float})
    if not histories:
        return []
    caption = (
        "Training: losses, validation Dice, and pseudo-labels over the epochs. The loss of a "
        "method that uses unlabelled tiles contains theirs: do not compare losses of methods."
    )
    figures = [ReportFigure(caption, training_figure(histories))]
    if MAIN_METHOD.has_gates and MAIN_METHOD.name in histories:
        caption = (
            "Mean weight of each expert in each gate over the epochs "
            "(dashed line: 1/3, all experts have the same weight)"
        )
        figures.append(ReportFigure(caption, gate_figure(histories[MAIN_METHOD.name])))
    return figures
