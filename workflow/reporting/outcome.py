"""The planned jobs of a run, those that failed, and the results that are not current."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workflow.result_paths import ResultPaths, store_of
from workflow.sheet import Sheet

_LOG_LINES = 6
_MAX_CLOCK_DIFFERENCE_S = 60.0  # the clock of a file server may show an earlier time
# Lines that name the cause of a failure: the end of a traceback, a fatal error of the interpreter
# or of a library, and messages of the kernel and of batch systems.
_CAUSES = (
    re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b(?::|$)"),
    re.compile(r"^Fatal Python error: "),
    re.compile(r"terminate called|Segmentation fault|Bus error|Aborted|Illegal instruction"),
    re.compile(r"out of memory|oom[-_ ]kill|No space left on device", re.IGNORECASE),
    re.compile(r"(?:slurmstepd|srun|sbatch): error|CANCELLED|DUE TO TIME LIMIT"),
)
_FULL_DISK_BYTES = 2**20
_NOT_STARTED = "the run ended before this result was made"


@dataclass(frozen=True)
class PlannedJob:
    """A job of Snakemake's plan.

    Attributes
    ----------
    rule : name of its rule
    subject : the slide or the model that it is for, or "all"
    log : its log file
    inputs, outputs : files, relative to the working directory, as the rules name them; beside the
        job record of a store, the store
    """

    rule: str
    subject: str
    log: Path
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FailedJob:
    """A job that started and did not finish.

    Attributes
    ----------
    rule, subject, log : see `PlannedJob`
    log_lines : the last lines of its log
    """

    rule: str
    subject: str
    log_lines: tuple[str, ...]
    log: Path

    @property
    def reason(self) -> str:
        """The last line of the log, without the word ERROR."""
        return self.log_lines[-1].removeprefix("ERROR ")


@dataclass(frozen=True)
class RunOutcome:
    """What failed in a run, and which results are missing; files of earlier runs do not count.

    Attributes
    ----------
    failures : jobs that started and did not finish
    without_outlines, without_scores, without_summary : slides without current outlines, scores or
        slide summary, with the reason
    outdated : files that this run should have written and did not; if one exists, it belongs to an
        earlier run
    """

    failures: tuple[FailedJob, ...] = ()
    without_outlines: Mapping[str, str] = field(default_factory=dict)
    without_scores: Mapping[str, str] = field(default_factory=dict)
    without_summary: Mapping[str, str] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()

    def is_current(self, path: Path) -> bool:
        """Whether a file exists and is a result of this run."""
        return path.exists() and str(path) not in self.outdated


COMPLETE = RunOutcome()


class SnakemakeRule(Protocol):
    """The part of a rule of Snakemake that is used here."""

    name: str


class SnakemakeJob(Protocol):
    """The part of a job of Snakemake that is used here."""

    rule: SnakemakeRule
    wildcards: Mapping[str, str]
    log: list[str]
    input: Iterable[str]
    output: Iterable[str]


class SnakemakeDag(Protocol):
    """The part of Snakemake's graph of jobs that is used here."""

    def needrun_jobs(self, exclude_finished: bool = True) -> Iterable[SnakemakeJob]:
        """Jobs of the plan."""


def planned_jobs(dag: SnakemakeDag, *, with_finished: bool) -> tuple[PlannedJob, ...]:
    """The jobs of Snakemake's plan: all, or those that have not finished."""
    return tuple(map(_planned_job, dag.needrun_jobs(exclude_finished=not with_finished)))


def run_outcome(
    sheet: Sheet, paths: ResultPaths, unfinished: Iterable[PlannedJob], *, started_s: float
) -> RunOutcome:
    """The failed jobs of a run that failed, and the results that it did not write.

    Parameters
    ----------
    unfinished : all jobs that have not finished, see `planned_jobs`
    started_s : when the run started, seconds since 1970; older logs belong to other runs
    """
    jobs = tuple(unfinished)
    outdated = frozenset(path for job in jobs for path in job.outputs)
    failed_jobs = {
        job: FailedJob(job.rule, job.subject, _last_lines(job.log), job.log)
        for job in jobs
        if _has_started(job, outdated, since_s=started_s - _MAX_CLOCK_DIFFERENCE_S)
    }
    job_of_output = {path: job for job in jobs for path in job.outputs}

    def reasons(slides: Iterable[str], path_of: Callable[[str], Path]) -> dict[str, str]:
        """Why the slides without a current file have none."""
        return {
            slide: _reason(slide, str(path), job_of_output, failed_jobs)
            for slide, path in ((slide, path_of(slide)) for slide in slides)
            if str(path) in outdated or not path.exists()
        }

    return RunOutcome(
        tuple(failed_jobs.values()),
        without_outlines=reasons(sheet.ids(), paths.gland_table),
        without_scores=reasons(sheet.evaluated(), paths.metrics),
        without_summary=reasons(sheet.ids(), paths.slide_summary),
        outdated=outdated,
    )


def _planned_job(job: SnakemakeJob) -> PlannedJob:
    log = Path(str(job.log[0])) if job.log else None
    outputs = {str(path) for path in job.output}
    return PlannedJob(
        rule=job.rule.name,
        subject=job.wildcards.get("slide") or (log.stem if log else "all"),
        log=log or Path("none"),
        inputs=frozenset(map(str, job.input)),
        outputs=frozenset(outputs | {str(store_of(path)) for path in outputs}),
    )


def _has_started(job: PlannedJob, outdated: frozenset[str], *, since_s: float) -> bool:
    """Whether a job ran in this run: its inputs were complete, and its log is new."""
    if job.inputs & outdated or not job.log.is_file():
        return False
    return job.log.stat().st_mtime >= since_s


def _reason(
    slide: str,
    path: str,
    job_of_output: Mapping[str, PlannedJob],
    failed_jobs: Mapping[PlannedJob, FailedJob],
) -> str:
    """Why a file of a slide is missing: the error of a failed job that it depends on.

    Parameters
    ----------
    job_of_output : for each file that was not written, the job that writes it
    """
    unvisited, visited = [path], set()
    while unvisited:
        job = job_of_output.get(unvisited.pop())
        if job is None or job in visited:
            continue
        visited.add(job)
        failed = failed_jobs.get(job)
        if failed:
            same_slide = failed.subject == slide
            where = "" if same_slide else f"{failed.rule}/{failed.subject}: "
            return where + failed.reason
        unvisited += sorted(job.inputs)
    return _NOT_STARTED


def _last_lines(log: Path) -> tuple[str, ...]:
    """The last lines of a log, the last one with the cause of the failure.

    A job that was killed wrote no cause. Other lines may follow the cause, for example those of the
    batch system.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    last = lines[-_LOG_LINES:]
    if last and last[-1].startswith("ERROR "):
        return tuple(last)
    cause = _cause(lines)
    if cause is None:
        cause = (
            "the job ended without a message (it was killed, memory ran out, or the run was "
            f"interrupted); see {log}"
        )
        if shutil.disk_usage(log.parent).free < _FULL_DISK_BYTES:
            cause = f"the disk is full: {log} could not be written; free space and run again"
    return (*last[-_LOG_LINES + 1 :], f"ERROR {cause}")


def _cause(lines: list[str]) -> str | None:
    """The cause of a failure from a log that does not end with it; None if it names none."""
    for line in reversed(lines):
        if line.startswith("ERROR "):
            return line.removeprefix("ERROR ")
        is_remark = line.startswith(("INFO ", "WARNING ", "REMARK "))
        if not is_remark and any(pattern.search(line) for pattern in _CAUSES):
            return line.strip()
    return None
