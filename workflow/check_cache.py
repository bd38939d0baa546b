"""Results of checks of files, kept between calls. They only save time: nothing depends on them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from tiling.raster.atomic_files import write_atomic
from workflow.file_state import FileState

_Result = TypeVar("_Result")


class CheckCache(Generic[_Result]):
    """Results by key, each valid as long as the file that was checked does not change.

    Parameters
    ----------
    path : JSON file; a missing or damaged one is an empty cache
    version : of the checks; the results of other versions are ignored
    from_json : makes a result of plain values; raises TypeError or KeyError if they are those of
        another version of this program
    """

    def __init__(
        self, path: Path, version: int, from_json: Callable[[Mapping[str, Any]], _Result]
    ) -> None:
        self._path, self._version, self._from_json = path, version, from_json
        self._results = _entries(path, version)
        self._changed = False

    def get(self, key: str, state: FileState | None) -> _Result | None:
        """The result for a file in that state; None if it is not known."""
        entry = self._results.get(key)
        if entry is None or state is None or entry["state"] != list(state):
            return None
        try:
            return self._from_json(entry["check"])
        except (TypeError, KeyError):
            return None

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
