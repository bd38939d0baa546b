"""Which outputs must be made again: the records on disk compared with what a run would write.

Snakemake keeps settings only in its working directory, and compares inputs by their times.
Here the record of every job of a plan is computed from settings and files. A job whose record
on disk differs must run again. Nothing is written: a dry run plans the same jobs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from workflow.job_record import (
    JobInput,
    JobRecord,
    plain_settings,
    recorded_inputs,
    store_checksum,
)
from workflow.recorded_job import settings_of
from workflow.result_paths import store_of_record

_RECORD = "record"  # name of the output of a rule
_MAX_SHOWN = 60  # characters of a value in a message


class RecordingRule(Protocol):
    """The part of a rule of Snakemake that is used here; jobs have named files and parameters."""

    name: str
    output: Any

    def is_producer(self, requested_output: str) -> bool:
        """Whether the rule makes a file."""

    def get_wildcards(self, requested_output: str) -> dict[str, str]:
        """The wildcards of the job that makes a file."""

    def expand_input(self, wildcards: Mapping[str, str]) -> tuple[Any, ...]:
        """The input files of a job come first."""

    def expand_output(self, wildcards: Mapping[str, str]) -> tuple[Any, ...]:
        """The output files of a job come first."""

    def expand_params(self, *arguments: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """From wildcards, input, output and job; the parameters of a job come first."""


class RecordingWorkflow(Protocol):
    """The part of Snakemake's workflow that is used here."""

    rules: Iterable[RecordingRule]


class OutdatedJob(NamedTuple):
    """A job whose outputs exist and are not those of this run.

    Attributes
    ----------
    outputs : its files
    reasons : what differs; empty if only a job that it depends on differs
    """

    outputs: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass
class PlannedRecords:
    """The records that a run would write, computed from rules, settings and files.

    Attributes
    ----------
    workflow : Snakemake's workflow; its rules are read when the first record is computed
    present_only : names of inputs that count by their presence, not by their content
    ignored : names of inputs that never count
    """

    workflow: RecordingWorkflow
    present_only: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    _inputs: dict[str, list[JobInput]] = field(default_factory=dict)
    _records: dict[str, JobRecord] = field(default_factory=dict)
    _checksums: dict[tuple[bool, str], str] = field(default_factory=dict)
    _records_on_disk: dict[Path, JobRecord | None] = field(default_factory=dict)
    _rules: tuple[RecordingRule, ...] = ()
    _is_expanding: bool = False

    def made_from(self, record: str) -> list[list[Any]]:
        """The inputs of the job that writes a record, as plain lists for its script."""
        return [list(job_input) for job_input in self._inputs_of(record)]

    def outdated_job(self, rule_name: str, wildcards: Mapping[str, str]) -> OutdatedJob | None:
        """The job, if its outputs are not those of this run; None if they are, or are missing."""
        if self._is_expanding:  # Snakemake calls this while inputs are computed
            return None
        rule = next(rule for rule in self._recording_rules() if rule.name == rule_name)
        outputs = rule.expand_output(dict(wildcards))[0]
        files = tuple(str(path) for path in outputs)
        path = Path(str(outputs.record))
        recorded = self._record_on_disk(path)
        if recorded is None:
            is_unfinished = any(Path(file).exists() for file in files)
            return OutdatedJob(files, ("was not finished",)) if is_unfinished else None
        store = store_of_record(path)
        if store is not None and store_checksum(store) != recorded.store:
            return OutdatedJob(files, (f"{store} is not the store that was written",))
        planned = self._planned(str(path))
        if planned.id == recorded.id:
            return None
        return OutdatedJob(files, tuple(_differences(recorded, planned)))

    def _planned(self, record: str) -> JobRecord:
        """The record that a job of this run would write, without its store."""
        if record not in self._records:
            rule, wildcards = self._job_of(record)
            recorded = self._record_on_disk(Path(record))
            self._records[record] = JobRecord(
                rule=rule.name,
                wildcards=wildcards,
                settings=self._settings(rule, wildcards),
                inputs=recorded_inputs(
                    self._inputs_of(record),
                    recorded.inputs if recorded else (),
                    lambda upstream: self._planned(upstream).id,
                    self._checksums,
                ),
            )
        return self._records[record]

    def _record_on_disk(self, path: Path) -> JobRecord | None:
        """The record as it was when it was first needed."""
        if path not in self._records_on_disk:
            self._records_on_disk[path] = JobRecord.read(path)
        return self._records_on_disk[path]

    def _inputs_of(self, record: str) -> list[JobInput]:
        if record not in self._inputs:
            rule, wildcards = self._job_of(record)
            self._inputs[record] = [
                JobInput(name, path, self._record_of(path), name not in self.present_only)
                for name, path in _named_files(self._expanded_input(rule, wildcards))
                if name not in self.ignored
            ]
        return self._inputs[record]

    def _expanded_input(self, rule: RecordingRule, wildcards: Mapping[str, str]) -> Any:  # noqa: ANN401
        self._is_expanding = True
        try:
            return rule.expand_input(wildcards)[0]
        finally:
            self._is_expanding = False

    def _settings(self, rule: RecordingRule, wildcards: Mapping[str, str]) -> dict[str, Any]:
        files = self._expanded_input(rule, wildcards)
        output = rule.expand_output(wildcards)[0]
        return plain_settings(settings_of(rule.expand_params(wildcards, files, output, None)[0]))

    def _record_of(self, path: str) -> str | None:
        """The record of the job that makes a file; None for a file of the user."""
        for rule in self._recording_rules():
            if rule.is_producer(path):
                return str(rule.expand_output(rule.get_wildcards(path))[0].record)
        return None

    def _job_of(self, record: str) -> tuple[RecordingRule, dict[str, str]]:
        rule = next(rule for rule in self._recording_rules() if rule.is_producer(record))
        return rule, dict(rule.get_wildcards(record))

    def _recording_rules(self) -> tuple[RecordingRule, ...]:
        if not self._rules:
            self._rules = tuple(
                rule for rule in self.workflow.rules if _RECORD in dict(rule.output.items())
            )
        return self._rules


def _named_files(files: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  # of Snakemake
    """Each input file with its name."""
    for name, value in files.items():
        for path in [value] if isinstance(value, str) else value:
            yield name, str(path)


def _differences(recorded: JobRecord, planned: JobRecord) -> Iterator[str]:
    """Settings and files of the user that differ, one text for each."""
    yield from _differing_settings("", recorded.settings, planned.settings)
    before = {(one.name, one.file): one for one in recorded.inputs}
    now = {(one.name, one.file): one for one in planned.inputs}
    for name, file in [key for key in now if key not in before]:
        yield f"{name} {file} is new"
    for name, file in [key for key in before if key not in now]:
        yield f"{name} {file} is no longer used"
    for key, one in now.items():
        if key in before and not one.is_of_job and before[key].checksum != one.checksum:
            yield f"{one.name} {one.file} has other content"


def _differing_settings(group: str, before: Any, now: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            name = f"{group}.{key}" if group else str(key)
            yield from _differing_settings(name, before.get(key), now.get(key))
    elif before != now:
        yield f"{group}: {str(before)[:_MAX_SHOWN]} -> {str(now)[:_MAX_SHOWN]}"
