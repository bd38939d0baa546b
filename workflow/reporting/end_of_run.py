"""The last lines of a run for the user, and the report of a run that failed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tiling.messages import counted
from workflow.config.configuration import Configuration
from workflow.config.start_model import compared_models
from workflow.reporting.failure_record import record_failure_of_run, remove_table_records
from workflow.reporting.outcome import COMPLETE, PlannedJob, RunOutcome, run_outcome
from workflow.reporting.report import current_outlines, write_report
from workflow.reporting.report_tables import method_label
from workflow.result_paths import ResultPaths
from workflow.sheet import Sheet
from workflow.sheet_annotations import needs_outlines

_MAX_LISTED = 8
_SCORES = (
    ("foreground Dice", "dice"),
    ("object F1", "object_f1"),
    ("object Dice", "object_dice"),
    ("object Hausdorff um", "object_hausdorff_um"),
)


def run_text(
    slides: Sequence[str], configuration: Configuration, outcome: RunOutcome = COMPLETE
) -> str:
    """Where the results of a run are, and the scores of its test slides."""
    paths = ResultPaths(Path(configuration.results))
    lines = [f"Report:   {paths.report}"] if paths.report.is_file() else []
    lines += _outline_lines(slides, configuration, outcome)
    return "\n".join(["", *lines, *_score_lines(paths)])


def preview_text(sheet: Sheet, configuration: Configuration) -> tuple[str, bool]:
    """Where the preview is and what cannot be used, and whether everything can be used.

    If some slides or annotations cannot be used, the next run makes the preview again and reports
    them again.
    """
    paths = ResultPaths(Path(configuration.results))
    lines = ["", f"Preview:  {paths.preview_page}"]
    slides, annotations, warnings = _preview_failures(sheet, configuration, paths)
    if slides:
        lines += [
            f"{len(slides)} of {counted(len(sheet.rows), 'slide')} cannot be used; "
            "repair them, or give them the split `skip` in the sheet:",
            *slides,
        ]
    if annotations:
        lines += [
            f"{counted(len(annotations), 'annotation')} cannot be used; correct them, or set "
            "`annotations.unusable` to leave_out:",
            *annotations,
        ]
    lines += [f"WARNING {warning}" for warning in warnings]
    failures = [*slides, *annotations]
    if failures:
        remove_table_records(paths)
        record_failure_of_run(paths, failures)
    return "\n".join(lines), not failures


def report_after_failure(
    sheet: Sheet,
    configuration: Configuration,
    unfinished: Sequence[PlannedJob],
    *,
    started_s: float,
) -> str:
    """Write preview, tables and report of a run that failed, from its current results.

    Pages that the run did not plan, or had already written, stay as they are.

    Parameters
    ----------
    unfinished : jobs that have not finished, see `workflow.reporting.outcome.planned_jobs`
    started_s : when the run started, seconds since 1970

    Returns
    -------
    str
        What failed and where the pages are, for the user.
    """
    paths = ResultPaths(Path(configuration.results))
    outcome = run_outcome(sheet, paths, unfinished, started_s=started_s)
    failures = [
        f"FAILED {failure.rule}/{failure.subject}: {failure.reason} (log: {failure.log})"
        for failure in outcome.failures
    ]
    pages = {job.rule for job in unfinished} & {"preview", "report"}
    if not pages:  # the user asked for other files
        return "\n".join(["", *failures])
    results: list[str] = []
    locations: list[str] = []

    def write_notes() -> None:
        remove_table_records(paths)
        record_failure_of_run(paths, failures)

    def write_preview() -> None:
        preview_after_failure(sheet, paths, outcome)
        relation = ", which names slides that failed" if outcome.without_summary else ""
        locations.append(f"The preview{relation}: {paths.preview_page}")

    def write_tables_and_report() -> None:
        tables_after_failure(sheet, configuration, outcome)
        write_report(sheet.ids(), configuration, paths.report, outcome)
        results.append(run_text(sheet.ids(), configuration, outcome) + "\n")
        locations.append(f"The report with all current results and all failures: {paths.report}")

    writers = {"preview": write_preview, "report": write_tables_and_report}
    for write in (write_notes, *(writers[page] for page in sorted(pages))):
        try:
            write()
        except Exception as error:  # for example a full disk; the failures must be printed anyway
            locations.append(f"Not all pages could be written: {type(error).__name__}: {error}")
    return "\n".join([*(results or [""]), *failures, *locations])


def preview_after_failure(sheet: Sheet, paths: ResultPaths, outcome: RunOutcome) -> None:
    """Write the preview of the slides that have current summaries, without expected times.

    The other slides are listed with the reason. The preview of an earlier run does not stay.
    """
    from tiling.pictures.contact_sheet import write_contact_sheet

    for page in (paths.preview_page, paths.preview_picture):
        page.unlink(missing_ok=True)
    slides = [slide for slide in sheet.ids() if slide not in outcome.without_summary]
    write_contact_sheet(
        [paths.slide_summary(slide) for slide in slides],
        paths.preview_picture,
        paths.preview_page,
        tiles_per_s=None,
        failed=outcome.without_summary,
    )


def tables_after_failure(sheet: Sheet, configuration: Configuration, outcome: RunOutcome) -> None:
    """Write `metrics.csv` and `cohort.csv` of the slides that have current results.

    The other slides have rows with the reason.
    """
    from workflow.stages.summarise import MissingResults, SummaryInputs, summarise

    paths = ResultPaths(Path(configuration.results))
    metrics = [paths.metrics(slide) for slide in sheet.evaluated()]
    for name in compared_models(configuration):
        of_method = paths.compared(name)
        metrics += [of_method.metrics(slide) for slide in sheet.annotated("validation", "test")]
    slides = [slide for slide in sheet.ids() if slide not in outcome.without_outlines]
    summarise(
        SummaryInputs(
            metrics=[path for path in metrics if outcome.is_current(path)],
            gland_tables=[paths.gland_table(slide) for slide in slides],
            slide_summaries=[paths.slide_summary(slide) for slide in slides],
        ),
        sheet.repeated_columns(),
        metrics_table=paths.metrics_table,
        cohort_table=paths.cohort_table,
        main_method=configuration.predicting_method,
        missing=MissingResults(outcome.without_outlines, outcome.without_scores),
    )


def _outline_lines(
    slides: Sequence[str], configuration: Configuration, outcome: RunOutcome
) -> list[str]:
    files = [path for slide in slides if (path := current_outlines(slide, configuration, outcome))]
    if not files:
        return []
    lines = [f"Outlines: {counted(len(files), 'slide')}, drag the files onto the slides in QuPath:"]
    lines += [f"          {path}" for path in files[:_MAX_LISTED]]
    if len(files) > _MAX_LISTED:
        lines.append(f"          ... and {len(files) - _MAX_LISTED} more")
    return lines


def _score_lines(paths: ResultPaths) -> list[str]:
    """The scores of the test slides, a line for each slide and method."""
    from workflow.reporting.pooled_scores import pooled_scores

    lines = []
    for row in pooled_scores(paths.metrics_table):
        values = ((label, getattr(row, key)) for label, key in _SCORES)
        texts = [f"{label} {value:.3f}" for label, value in values if value is not None]
        scores = f"no scores: {row.error}" if row.error else ", ".join(texts)
        lines.append(f"{row.slide}: {method_label(row.method):16s} {scores}")
    return lines


class _PreviewFailures(NamedTuple):
    """What the preview shows in red, a line each.

    Attributes
    ----------
    slides : slides that cannot be used
    annotations : annotations that cannot be used and stop a run
    warnings : annotations that cannot be used and stop no run
    """

    slides: list[str]
    annotations: list[str]
    warnings: list[str]


def _preview_failures(
    sheet: Sheet, configuration: Configuration, paths: ResultPaths
) -> _PreviewFailures:
    from tiling.pictures.slide_summary import read_slide_summary

    failures = _PreviewFailures([], [], [])
    for row in sheet.rows:
        summary = read_slide_summary(paths.slide_summary(row.slide), with_picture=False)
        if summary.error is not None:
            failures.slides.append(f"{row.slide}: {summary.error}")
        annotation = summary.annotation
        if annotation is not None and annotation.error is not None:
            line = f"{row.slide}: {annotation.file}: {annotation.error}"
            stops = needs_outlines(row, configuration)
            (failures.annotations if stops else failures.warnings).append(line)
    return failures
