"""What a run came to when something failed: which slides have current results, and tables of those that do."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tiling.raster.atomic_files import write_atomic
from workflow.config.configuration import compared, method
from workflow.sheet import Sheet

_LOG_LINES = 6
_CLOCK_SLACK_S = 60.0  # a file server's clock may run behind that of the machine that plans
_CLOCK_STEP_S = 2.0  # some file systems count modification times in steps of two seconds
_NOT_REACHED = "not reached"
LAST_FAILURE = "last_failure.txt"


@dataclass(frozen=True)
class Job:
    """A job that should have run: it failed, was stopped, or was not reached.

    Attributes
    ----------
    step, subject : name of its rule, and the slide (or model) it was for
    log : where it writes what it does
    inputs, outputs : files, relative to the working directory as the rules name them
    """

    step: str
    subject: str
    log: Path
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Failure:
    """A job that began and did not end well.

    Attributes
    ----------
    step, subject : see `Job`
    lines : the end of its log
    log : that file
    """

    step: str
    subject: str
    lines: tuple[str, ...]
    log: Path

    @property
    def reason(self) -> str:
        """The last line of the log, without the word ERROR."""
        return self.lines[-1].removeprefix("ERROR ")


@dataclass(frozen=True)
class Outcome:
    """What failed, and which files the run did not come to make: what lies there in their place is of an earlier run.

    Attributes
    ----------
    failures : jobs that began and did not end well
    lost, unscored : slides without current outlines, or scores -> the reason
    stale : files that should have been made
    """

    failures: tuple[Failure, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()

    def current(self, path: Path) -> bool:
        """Whether the file is there and of this run."""
        return path.exists() and str(path) not in self.stale


COMPLETE = Outcome()


def planned(dag: Any, *, done: bool) -> tuple[Job, ...]:  # noqa: ANN401  # Snakemake's own, without types
    """The jobs of Snakemake's plan: all, or without those already done (then: what failed, and everything behind it)."""
    return tuple(
        Job(
            step=job.rule.name,
            subject=job.wildcards.get("slide")
            or (Path(str(job.log[0])).stem if job.log else "all"),
            log=Path(str(job.log[0])) if job.log else Path("none"),
            inputs=frozenset(str(path) for path in job.input),
            outputs=frozenset(str(path) for path in job.output),
        )
        for job in dag.needrun_jobs(exclude_finished=not done)
    )


def outcome(sheet: Sheet, config: dict[str, Any], jobs: Iterable[Job], *, since: float) -> Outcome:
    """What a failed run came to.

    Parameters
    ----------
    jobs : all that were not done, see `planned`
    since : when the run started, seconds since 1970: a log that is older is of another run
    """
    jobs = tuple(jobs)
    results = Path(config["results"])
    stale = frozenset(path for job in jobs for path in job.outputs)
    began = [
        job
        for job in jobs
        if not job.inputs & stale
        and job.log.is_file()
        and job.log.stat().st_mtime >= since - _CLOCK_SLACK_S
    ]
    failures = tuple(Failure(job.step, job.subject, _end_of(job.log), job.log) for job in began)
    found = Outcome(failures, stale=stale)
    makers = {path: job for job in jobs for path in job.outputs}
    causes = {job: failure for job, failure in zip(began, failures, strict=True)}

    def why(slide: str, path: Path) -> str:
        """The first cause found going back from a file that was not made."""
        waiting, seen = [str(path)], set()
        while waiting:
            job = makers.get(waiting.pop())
            if job is None or job in seen:
                continue
            seen.add(job)
            if job in causes:
                failure = causes[job]
                return (
                    failure.reason
                    if failure.subject == slide
                    else f"{failure.step}/{failure.subject}: {failure.reason}"
                )
            waiting += sorted(job.inputs)
        return _NOT_REACHED

    outlines = {slide: results / "glands" / f"{slide}.csv" for slide in sheet.ids()}
    scores = {slide: results / "metrics" / f"{slide}.csv" for slide in sheet.evaluated()}
    lost, unscored = (
        {slide: why(slide, path) for slide, path in files.items() if not found.current(path)}
        for files in (outlines, scores)
    )
    return Outcome(failures, lost, unscored, stale)


def tables_after_failure(sheet: Sheet, config: dict[str, Any], found: Outcome) -> None:
    """`metrics.csv` and `cohort.csv` of the slides that have results; the others are rows that say why they have none."""
    from workflow.stages.scores import summarise

    results = Path(config["results"])
    scores = [results / "metrics" / f"{slide}.csv" for slide in sheet.evaluated()]
    scores += [
        results / "compare" / name / "metrics" / f"{slide}.csv"
        for name in compared(config)
        for slide in sheet.annotated("validation", "test")
    ]
    done = [slide for slide in sheet.ids() if slide not in found.lost]
    summarise(
        [str(path) for path in scores if found.current(path)],
        [str(results / "glands" / f"{slide}.csv") for slide in done],
        [str(results / "previews" / f"{slide}.json") for slide in done],
        sheet.passed_through(),
        results / "metrics.csv",
        results / "cohort.csv",
        method=method(config),
        lost=found.lost,
        unscored=found.unscored,
    )


def record_failure(results: Path, told: Iterable[str], left: Iterable[str]) -> None:
    """Write down what failed, newer than what the run left: the next run, which has the record among its inputs, makes that anew.

    Parameters
    ----------
    told : lines for the reader
    left : files in `results` that must be made anew
    """
    record = results / LAST_FAILURE
    # With the time in it no two records are the same: Snakemake takes a newer file of known content for the old one.
    write_atomic(record, "\n".join([datetime.now(UTC).isoformat(), *told, ""]))
    before = record.stat().st_mtime - _CLOCK_STEP_S
    for path in (results / name for name in left):
        if path.exists():
            os.utime(path, (before, before))


def preview_failures(slides: Iterable[str], results: Path) -> list[str]:
    """What is wrong with the slides that the preview shows as failed, a line each."""
    cards = (
        (slide, json.loads((results / "previews" / f"{slide}.json").read_text(encoding="utf-8")))
        for slide in slides
    )
    return [f"{slide}: {card['error']}" for slide, card in cards if card["error"] is not None]


def _end_of(log: Path) -> tuple[str, ...]:
    """The last lines of a log; a job that was killed did not write why."""
    lines = [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    if lines and lines[-1].startswith("ERROR "):
        return tuple(lines[-_LOG_LINES:])
    return (
        *lines[-_LOG_LINES + 1 :],
        f"ERROR stopped without a message (killed, out of memory, or the run was interrupted); see {log}",
    )
