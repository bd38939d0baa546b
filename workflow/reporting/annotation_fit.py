"""Whether annotations fit the sizes of their slides: checked at the start of a run."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.file_check import FileCheck, fit_problem
from workflow.config.configuration import Configuration
from workflow.reporting.outcome import PlannedJob
from workflow.sheet import Sheet, SheetRow
from workflow.sheet_annotations import needs_outlines
from workflow.sheet_probes import probe_rows

_LABEL_RULE = "label_slide"
_THREADS = 8


def misfits(
    sheet: Sheet,
    configuration: Configuration,
    jobs: Iterable[PlannedJob],
    checks: Mapping[str, FileCheck],
) -> tuple[list[str], list[str]]:
    """Annotations to read that are not of a slide of the size of theirs.

    Parameters
    ----------
    sheet, configuration : of the run
    jobs : planned jobs
    checks : of the annotation files that existed when the run was planned, by slide

    Returns
    -------
    list of str, list of str
        Problems that stop the run, and warnings. Slides that cannot be opened yet are left out.
    """
    labelled = {job.subject for job in jobs if job.rule == _LABEL_RULE}
    rows = [row for row in sheet.rows if row.slide in labelled and row.slide in checks]
    mpp_um = configuration.tiles.mpp_um or 0.0  # a configuration that was read has a resolution
    probes = probe_rows(rows, mpp_um)

    def problem_of(row: SheetRow) -> str | None:
        geometry = probes[row.slide].geometry if row.slide in probes else None
        if geometry is None or row.annotation is None:
            return None
        export = configuration.export
        rules = ReadingRules(row.annotated, export.origin, export.gland_class)
        annotation = AnnotationFile(Path(row.annotation), rules)
        return fit_problem(annotation, checks[row.slide], geometry)

    problems: list[str] = []
    warnings: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for row, problem in zip(rows, pool.map(problem_of, rows), strict=True):
            # Problems of the file alone were reported before the run started.
            if problem and not checks[row.slide].problem:
                line = f"slide {row.slide}, column annotation: {row.annotation}: {problem}"
                (problems if needs_outlines(row, configuration) else warnings).append(line)
    return problems, warnings
