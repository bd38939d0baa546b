"""Waiting for what a child process writes."""

import subprocess
import time
from pathlib import Path
from typing import Any


def wait_for_file(
    process: subprocess.Popen[Any], folder: Path, pattern: str, *, most_s: float
) -> None:
    """Wait until a file of this pattern is in the folder, while the process runs."""
    deadline = time.monotonic() + most_s
    while not list(folder.glob(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
