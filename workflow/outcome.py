"""What a run came to when something failed: which slides have current results, and tables of those that do."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.configuration import compared, method, model_folder
from workflow.sheet import Sheet

_LOG_LINES = 6
_CLOCK_SLACK_S = 60.0  # a file server's clock may run behind that of the machine that plans
_TO_OUTLINES = ("tile_slide", "predict_slide", "stitch_slide", "export_slide")
_TO_A_MODEL = ("train_supervised", "pseudo_label", "train")
_TO_SCORES = ("label_slide", "evaluate_slide")
_NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes
    ----------
    step : name of its rule
    subject : slide, or what else the job was for
    lines : the end of its log
    """

    step: str
    subject: str
    lines: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The last line of the log, without the word ERROR."""
        return self.lines[-1].removeprefix("ERROR ")


@dataclass(frozen=True)
class Outcome:
    """What failed, and which slides have no outlines (`lost`) or no scores (`unscored`) of this configuration: slide -> reason."""

    failures: tuple[Failure, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)


COMPLETE = Outcome()


def outcome(sheet: Sheet, config: dict[str, Any], *, since: float) -> Outcome:
    """What a failed run came to.

    A slide has current outlines when nothing on the way to them failed and each step's output is at least as new as what it was
    made from: files of an earlier run, left where a step before them failed, are not results.

    Parameters
    ----------
    since : when the run started, seconds since 1970; older logs are of other runs
    """
    results, slides = Path(config["results"]), sheet.ids()
    failures = tuple(_failures(results / "logs", {*slides, "all", "supervised", "semimoe"}, since - _CLOCK_SLACK_S))
    why = {(failure.step, failure.subject): failure.reason for failure in failures}
    no_model = next((f"no model: {failure.reason}" for failure in failures if failure.step in _TO_A_MODEL), "")
    lost = {}
    for slide in slides:
        tiles, maps, glands = (results / kind / f"{slide}.zarr" for kind in ("tiles", "maps", "glands"))
        table = results / "glands" / f"{slide}.csv"
        current = _in_order(tiles, maps, glands, table) and _in_order(model_folder(config) / "model.safetensors", maps)
        failed = next((why[step, slide] for step in _TO_OUTLINES if (step, slide) in why), no_model)
        if failed or not current:
            lost[slide] = failed or _NOT_REACHED
    unscored = {}
    for slide in sheet.evaluated():
        labels, glands = (results / kind / f"{slide}.zarr" for kind in ("labels", "glands"))
        table = results / "metrics" / f"{slide}.csv"
        failed = lost.get(slide) or next((why[step, slide] for step in _TO_SCORES if (step, slide) in why), "")
        if failed or not (_in_order(labels, table) and _in_order(glands, table)):
            unscored[slide] = failed or _NOT_REACHED
    return Outcome(failures, lost, unscored)


def tables_after_failure(sheet: Sheet, config: dict[str, Any], found: Outcome) -> None:
    """`metrics.csv` and `cohort.csv` of the slides that have results; the others are rows that say why they have none."""
    from workflow.evaluation import summarise

    results = Path(config["results"])
    scores = [results / "metrics" / f"{slide}.csv" for slide in sheet.evaluated() if slide not in found.unscored]
    for name in compared(config):
        scores += [
            scored
            for slide in sheet.annotated("validation", "test")
            if slide not in found.unscored and (scored := _compared(results, name, slide)) is not None
        ]
    done = [slide for slide in sheet.ids() if slide not in found.lost]
    tables = (results / "metrics.csv", results / "cohort.csv")
    summarise(
        [str(path) for path in scores],
        [str(results / "glands" / f"{slide}.csv") for slide in done],
        [str(results / "tiles" / f"{slide}.zarr") for slide in done],
        sheet.passed_through(),
        *tables,
        method=method(config),
        lost=found.lost,
        unscored=found.unscored,
    )
    for table in tables:
        out_of_date(table)


def out_of_date(path: Path) -> None:
    """Make a file older than everything: the next run sees that it must be made again."""
    os.utime(path, (0, 0))


def _compared(results: Path, name: str, slide: str) -> Path | None:
    """Scores of a method that stands beside, when they are of its present model."""
    maps, glands = (results / "compare" / name / kind / f"{slide}.zarr" for kind in ("maps", "glands"))
    scores = results / "compare" / name / "metrics" / f"{slide}.csv"
    return scores if _in_order(results / "models" / name / "model.safetensors", maps, glands, scores) else None


def _in_order(*paths: Path) -> bool:
    """All there, each at least as new as the one before."""
    times = [time for path in paths if (time := _changed(path)) is not None]
    return len(times) == len(paths) and times == sorted(times)


def _changed(path: Path) -> float | None:
    # Snakemake dates a folder by a file in it: writing into the folder later changes the folder's own time.
    stamp = path / ".snakemake_timestamp"
    dated = stamp if stamp.is_file() else path
    return dated.stat().st_mtime if dated.exists() else None


def _failures(logs: Path, subjects: set[str], since: float) -> Iterator[Failure]:
    """The end of every log that ends in an error; `logs/{step}/{subject}.log`, or with a method between."""
    for log in sorted(path for path in logs.rglob("*.log") if path.stem in subjects):
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        failed = bool(lines) and (lines[-1].startswith("ERROR ") or any(line.startswith("Traceback") for line in lines))
        if failed and log.stat().st_mtime >= since:
            yield Failure(log.relative_to(logs).parts[0], log.stem, tuple(lines[-_LOG_LINES:]))
