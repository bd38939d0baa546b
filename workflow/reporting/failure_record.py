"""What is left of a run that failed: `last_failure.txt`, and no job records of tables and pages."""

from collections.abc import Iterable
from datetime import UTC, datetime

from tiling.raster.atomic_files import write_atomic
from workflow.result_paths import ResultPaths

_TABLES_AND_PAGES = ("summarise", "report", "preview")


def remove_table_records(paths: ResultPaths) -> None:
    """Remove the job records of tables and pages: the next run writes these again.

    To be called before a failed run writes its own tables and pages.
    """
    for rule in _TABLES_AND_PAGES:
        paths.record(rule).unlink(missing_ok=True)


def record_failure_of_run(paths: ResultPaths, lines: Iterable[str]) -> None:
    """Write what failed to `last_failure.txt`, for the reader."""
    write_atomic(paths.last_failure, "\n".join([datetime.now(UTC).isoformat(), *lines, ""]))
