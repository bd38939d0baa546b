"""The record of a run that failed, which makes the next run write its tables and pages again."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tiling.raster.atomic_files import write_atomic
from workflow.result_paths import ResultPaths

# Some file systems store modification times in steps of two seconds.
_CLOCK_STEP_S = 2.0


def record_failure_of_run(
    paths: ResultPaths, lines: Iterable[str], incomplete: Iterable[Path]
) -> None:
    """Write what failed to `last_failure.txt`.

    The record is an input of the rules that write tables and pages. It is made newer than the
    incomplete files, so that the next run writes them again.

    Parameters
    ----------
    lines : what failed, for the reader
    incomplete : tables and pages that the failed run wrote
    """
    record = paths.last_failure
    # The time makes every record different: Snakemake ignores a newer file of the same content.
    write_atomic(record, "\n".join([datetime.now(UTC).isoformat(), *lines, ""]))
    earlier_s = record.stat().st_mtime - _CLOCK_STEP_S
    for path in incomplete:
        if path.exists():
            os.utime(path, (earlier_s, earlier_s))
