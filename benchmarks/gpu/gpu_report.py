"""Figures of a GPU run: written after each one, so that a run that is stopped keeps them."""

import csv
import threading
import time
import zipfile
from pathlib import Path

# Logs of the cells of a table are texts.
_PACKED = (".csv", ".md", ".log", ".json", ".txt")


class GpuReport:
    """Rows of figures in `figures.csv`, and at the end a table and one small archive.

    Parameters
    ----------
    out : folder of the figures
    minutes : no new figure is begun after this time
    """

    def __init__(self, out: Path, *, minutes: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._deadline_s = out, time.monotonic() + 60 * minutes
        self._rows: list[dict[str, str]] = []
        self._lock = threading.Lock()  # some scripts measure in threads

    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._deadline_s - time.monotonic()

    def add(self, row: dict[str, object]) -> None:
        """Print a row and write all rows. All rows have the same columns."""
        with self._lock:
            self._rows.append({name: str(value) for name, value in row.items()})
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            with (self._out / "figures.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(self._rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(self._rows)

    def finish(self) -> None:
        """Print the table, and pack all text files of the folder."""
        if self._rows:
            columns = list(self._rows[0])
            lines = [columns, ["---"] * len(columns), *(list(row.values()) for row in self._rows)]
            table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
            (self._out / "table.md").write_text(table)
            print(table)
        with zipfile.ZipFile(self._out / "figures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self._out.rglob("*")):
                if path.suffix in _PACKED and path.is_file():
                    archive.write(path, path.relative_to(self._out))
