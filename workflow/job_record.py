"""Job records: what the outputs of a job were made from.

A job writes its record last. The outputs count as finished only while the record exists and is
equal to that which the next run would write. Records name files without their folders, so that
they are the same from every working directory and after a folder of results was moved.
"""

import hashlib
import json
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tiling.raster.atomic_files import file_checksum, write_atomic
from tiling.slides.metadata import slide_checksum
from tiling.slides.slide_files import has_one_file
from workflow.file_state import FileState, file_state

# Name of the input that is a slide: see `slide_checksum`; other files are compared by content.
_SLIDE = "slide"
# File systems store times in steps: a file that changed just now may change again at the same time.
_CLOCK_STEP_S = 2.0
_MISSING = "missing"
_NOT_COMPARED = "not compared"
_ROOT_METADATA = "zarr.json"


class JobInput(NamedTuple):
    """One input file of a job.

    Attributes
    ----------
    name : name of the input in the rule
    path : the file
    record : job record of the file, if a job of the workflow makes it; None: a file of the user
    is_compared : False: only its presence counts
    """

    name: str
    path: str
    record: str | None = None
    is_compared: bool = True


class RecordedInput(BaseModel):
    """One input file in a job record.

    Attributes
    ----------
    name : name of the input in the rule
    file : name of the file
    checksum : of its content; of a slide, see `slide_checksum`; of the output of another job, the
        id of that job's record
    is_of_job : the file is an output of another job
    file_state : see `FileState`; None: read the file
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    file: str
    checksum: str
    is_of_job: bool = False
    file_state: tuple[int, int, int, int] | None = None


class JobRecord(BaseModel):
    """What the outputs of one job were made from.

    Attributes
    ----------
    rule, wildcards : the job
    settings : parameters of the rule, with its code version
    inputs : input files
    store : checksum of the root metadata of the store that the job wrote; None without a store
    """

    model_config = ConfigDict(extra="forbid")

    rule: str
    wildcards: dict[str, str]
    settings: dict[str, Any]
    inputs: tuple[RecordedInput, ...]
    store: str | None = None

    @property
    def id(self) -> str:
        """Checksum of all that determines the outputs."""
        values = self.model_dump(exclude={"store": True, "inputs": {"__all__": {"file_state"}}})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record at `path`; None if there is none, or if it is damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_atomic(path, self.model_dump_json(indent=1) + "\n")


def plain_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings as they are read again from JSON."""
    values: dict[str, Any] = json.loads(json.dumps(settings, sort_keys=True, default=str))
    return values


def id_on_disk(record: str) -> str:
    """The id of the record of a finished job."""
    recorded = JobRecord.read(Path(record))
    return recorded.id if recorded else _MISSING


def recorded_inputs(
    inputs: Iterable[JobInput],
    earlier: Iterable[RecordedInput] = (),
    id_of: Callable[[str], str] = id_on_disk,
    checksums: dict[tuple[bool, str], str] | None = None,
) -> tuple[RecordedInput, ...]:
    """The inputs of a job with their checksums now.

    Parameters
    ----------
    earlier : the same inputs at an earlier time: files whose state is unchanged are not read again,
        and missing files count as unchanged
    id_of : the id of a job record, from its path
    checksums : of files that were read before, by (is it a slide, path); it is extended. A file
        that many jobs of a plan read is then read once
    """
    checksums = {} if checksums is None else checksums
    earlier_of = {(one.name, one.file): one for one in earlier}
    recorded = []
    for name, text, record, is_compared in inputs:
        path = Path(text)
        if not is_compared:
            recorded.append(RecordedInput(name=name, file=path.name, checksum=_NOT_COMPARED))
        elif record is None:
            recorded.append(_user_file(name, path, earlier_of.get((name, path.name)), checksums))
        else:
            recorded.append(
                RecordedInput(name=name, file=path.name, checksum=id_of(record), is_of_job=True)
            )
    return tuple(recorded)


def store_checksum(store: Path) -> str | None:
    """Checksum of the root metadata of a store; None if they do not exist."""
    try:
        return file_checksum(store / _ROOT_METADATA)
    except OSError:
        return None


def _user_file(
    name: str, path: Path, before: RecordedInput | None, checksums: dict[tuple[bool, str], str]
) -> RecordedInput:
    key = (name == _SLIDE, str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return RecordedInput(name=name, file=path.name, checksum="no regular file")
        state = _state_of(name, path)
        if before is not None and state is not None and state == before.file_state:
            return before
        if key not in checksums:
            checksums[key] = slide_checksum(path) if name == _SLIDE else file_checksum(path)
        checksum = checksums[key]
    except FileNotFoundError:
        return before or RecordedInput(name=name, file=path.name, checksum=_MISSING)
    except OSError as error:
        checksum = f"unreadable: {type(error).__name__}"
        state = None
    return RecordedInput(name=name, file=path.name, checksum=checksum, file_state=state)


def _state_of(name: str, path: Path) -> FileState | None:
    """State of a file that changes with its content; None if it cannot be relied on."""
    state = file_state(path)
    if state is None or time.time() - state.changed_ns * 1e-9 < _CLOCK_STEP_S:
        return None
    # The state of one file says nothing about the other files of a slide.
    if name == _SLIDE and not has_one_file(path):
        return None
    return state
