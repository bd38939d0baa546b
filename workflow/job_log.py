"""The log of a job, and errors that a user can act on."""

import faulthandler
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from workflow.job_progress import progress_lines


@contextmanager
def job_log(log: str) -> Iterator[None]:
    """Run a job that writes stderr and logging messages to its log file.

    The start of the job, with the name of the log, goes to the terminal: with `--quiet rules`
    Snakemake does not print it. A long job prints its progress there, a line per minute.

    Every error ends the log with one line that begins with ERROR. An error with a message for the
    user (ValueError, StoreError, OSError) ends the job with that message. Any other error is a
    defect of the program or of the machine; its traceback stands above that line.

    Parameters
    ----------
    log : path of the log, in a folder with the name of the rule
    """
    from tiling.slide_errors import FailedSlideError, StoreError

    # Threads that wait must not use a processor: other jobs run on the same machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = Path(log)
    job = f"{path.parent.name} {path.stem}"
    log_file, terminal = _open_log(path, job), sys.stderr
    print(f"{job}: started, see {path}", file=terminal)
    sys.stderr = log_file
    logging.basicConfig(
        stream=log_file, level=logging.INFO, format="%(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    _log_messages_of_tifffile()
    # A library that aborts the process leaves its place in the log.
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(log_file)
    try:
        with progress_lines(terminal, job, log):
            yield
    except (ValueError, StoreError, OSError) as error:
        # First to the terminal: on a full disk the log cannot be written.
        # The reason why a slide cannot be used was printed before, and is at the end of the run.
        is_known = isinstance(error, FailedSlideError)
        print(f"{job}: {'the slide cannot be used' if is_known else error}", file=terminal)
        logging.debug("traceback", exc_info=True)
        _end_log(log_file, f"ERROR {_one_line(error)}\n", job, terminal)
        sys.exit(1)
    except BaseException as error:
        text = f"{traceback.format_exc()}ERROR {type(error).__name__}: {_one_line(error)}\n"
        _end_log(log_file, text, job, terminal)
        raise
    finally:
        sys.stderr = terminal
        faulthandler.disable()
        if was_enabled and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        with suppress(OSError):
            log_file.close()


def _open_log(path: Path, job: str) -> TextIO:
    """The open log of a job; a job whose log cannot be written does not start."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", buffering=1, encoding="utf-8")
    except OSError as error:
        print(
            f"{job}: its log cannot be written ({error}); free space on this disk, or make the"
            " folder writable, then run again",
            file=sys.stderr,
        )
        sys.exit(1)


def _end_log(log_file: TextIO, text: str, job: str, terminal: TextIO) -> None:
    try:
        log_file.write(text)
        log_file.flush()
    except OSError as error:
        print(f"{job}: the log cannot be written ({error})", file=terminal)


def _log_messages_of_tifffile() -> None:
    """Write messages of tifffile about a damaged file to the log, not as causes of a failure."""

    def as_remark(record: logging.LogRecord) -> bool:
        record.levelname = "REMARK"
        return True

    tifffile_log = logging.getLogger("tifffile")
    tifffile_log.addFilter(as_remark)
    tifffile_log.propagate = True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
