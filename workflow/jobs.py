"""What every job of the run shares: its log, and errors that a user can act on."""

import logging
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def job(log: str) -> Iterator[None]:
    """Run a job with stderr and logging in its log file, which is named outside: `--quiet rules` shows no start of a job.

    Every error ends the log with one line that begins with ERROR. One with a message for the user (ValueError, StoreError, OSError) ends
    the job with that message; anything else is a defect of ours, or of the machine, and leaves its traceback above that line.
    """
    from tiling.slide_errors import StoreError

    # Threads that wait for work must not spin: on a shared node they take the processor from the job beside.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", buffering=1, encoding="utf-8") as handle:
        outside = sys.stderr
        print(f"{path.parent.name} {path.stem}: started, see {path}", file=outside)
        sys.stderr = handle
        logging.basicConfig(
            stream=handle, level=logging.INFO, format="%(levelname)s %(message)s", force=True
        )
        logging.captureWarnings(True)
        try:
            yield
        except (ValueError, StoreError, OSError) as error:
            logging.debug("where", exc_info=True)
            print(f"ERROR {_one_line(error)}", file=handle)
            print(f"{path.parent.name} {path.stem}: {error}", file=outside)
            sys.exit(1)
        except BaseException as error:
            traceback.print_exc(file=handle)
            print(f"ERROR {type(error).__name__}: {_one_line(error)}", file=handle)
            raise
        finally:
            sys.stderr = outside


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def scratch_folder(config: dict[str, Any]) -> Path | None:
    """The scratch disk of the machine this job runs on; from the configuration and not a parameter, for no byte depends on it.

    Raises
    ------
    ValueError
        It names an environment variable that is not set here.
    """
    if not config.get("scratch"):
        return None
    folder = os.path.expandvars(config["scratch"])
    if "$" in folder:
        raise ValueError(
            f"config scratch: {config['scratch']} is not set on {platform.node()}; name a folder, or set it to null"
        )
    return Path(folder)
