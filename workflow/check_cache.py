"""Results of checks of files, kept between calls. They only save time: nothing depends on them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiling.raster.atomic_files import write_atomic
from workflow.file_state import FileState


class CheckCache:
    """Results by key, each valid as long as the file that was checked does not change.

    Parameters
    ----------
    path : JSON file; a missing or damaged one is an empty cache
    version : of the checks; the results of other versions are ignored
    """

    def __init__(self, path: Path, version: int) -> None:
        self._path, self._version = path, version
        self._results = _entries(path, version)
        self._changed = False

    def get(self, key: str, state: FileState | None) -> dict[str, Any] | None:
        """The result for a file in that state."""
        entry = self._results.get(key)
        if entry is None or state is None or entry["state"] != list(state):
            return None
        result: dict[str, Any] = entry["check"]
        return result

    def put(self, key: str, state: FileState | None, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        self._results[key] = {
            "state": None if state is None else list(state),
            "check": dict(result),
        }
        self._changed = True

    def save(self) -> None:
        """Write the file; it may be impossible, for example on a full disk."""
        if not self._changed:
            return
        content = {"version": self._version, "entries": self._results}
        try:
            write_atomic(self._path, json.dumps(content))
        except OSError:
            return


def _entries(path: Path, version: int) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = dict(content["entries"]) if content["version"] == version else {}
        for entry in entries.values():
            entry["state"]  # a KeyError if it is missing
            dict(entry["check"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return entries
