"""What every job of the run shares: its log, and errors that a user can act on."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def job(log: str) -> Iterator[None]:
    """Run a job with stderr and logging in its log file.

    An error with a message for the user (ValueError, StoreError, OSError) ends the job with that message as the log's last line;
    anything else is a defect of ours and keeps its traceback.
    """
    from tiling.errors import StoreError

    # Threads that wait for work must not spin: on a shared node they take the processor from the job beside.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", buffering=1, encoding="utf-8") as handle:
        outside = sys.stderr
        sys.stderr = handle
        logging.basicConfig(stream=handle, level=logging.INFO, format="%(levelname)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            yield
        except (ValueError, StoreError, OSError) as error:
            logging.debug("where", exc_info=True)
            print(f"ERROR {error}", file=handle)
            print(f"{path.parent.name} {path.stem}: {error}", file=outside)
            sys.exit(1)
        finally:
            sys.stderr = outside
