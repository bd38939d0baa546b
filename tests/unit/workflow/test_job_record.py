import os
import time
from pathlib import Path
from typing import Any

import pytest

from workflow.job_record import JobInput, JobRecord, plain_settings, recorded_inputs

OLD_S = 1_500_000_000.0


def record_of(*inputs: JobInput, **settings: Any) -> JobRecord:
    return JobRecord(
        rule="label_slide",
        wildcards={"slide": "a"},
        settings=plain_settings(settings),
        inputs=recorded_inputs(inputs),
    )


@pytest.fixture
def annotation(tmp_path: Path) -> Path:
    path = tmp_path / "a.geojson"
    path.write_text("first")
    return path


def test_the_content_of_a_file_counts_and_not_its_time_or_folder(
    annotation: Path, tmp_path: Path
) -> None:
    first = record_of(JobInput("annotation", str(annotation)))
    os.utime(annotation, (OLD_S, OLD_S))
    assert record_of(JobInput("annotation", str(annotation))).id == first.id
    (tmp_path / "moved").mkdir()
    moved = annotation.rename(tmp_path / "moved" / "a.geojson")
    assert record_of(JobInput("annotation", str(moved))).id == first.id
    moved.write_text("other")
    os.utime(moved, (OLD_S, OLD_S))
    assert record_of(JobInput("annotation", str(moved))).id != first.id


def test_settings_count_as_they_are_read_again(tmp_path: Path) -> None:
    record = record_of(colour=(1, 2), folder=Path("x"), threshold=None)
    record.write(tmp_path / "r.json")
    read = JobRecord.read(tmp_path / "r.json")
    assert read is not None
    assert read.id == record.id == record_of(colour=[1, 2], folder="x", threshold=None).id
    assert record.id != record_of(colour=[1, 3], folder="x", threshold=None).id


@pytest.mark.parametrize("content", ["", "{", '{"rule": 1}', "[]", '{"rule": "a", "x": 1}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    assert JobRecord.read(tmp_path / "r.json") is None
    assert JobRecord.read(tmp_path / "absent.json") is None


def test_a_file_whose_state_is_unchanged_is_not_read_again(
    annotation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replaced file of the same size and time has another state."""
    job_input = JobInput("annotation", str(annotation))
    now = time.time()
    monkeypatch.setattr("workflow.job_record.time.time", lambda: now + 60)
    before = recorded_inputs([job_input])
    assert before[0].file_state is not None
    status = annotation.stat()
    reads = []
    monkeypatch.setattr("workflow.job_record.file_checksum", lambda path: reads.append(path) or "x")
    assert recorded_inputs([job_input], before) == before
    assert reads == []
    time.sleep(0.02)  # the clock of file systems has steps of some milliseconds
    annotation.write_text("other")
    os.utime(annotation, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert recorded_inputs([job_input], before)[0].checksum == "x"


def test_a_file_that_changed_just_now_is_read_again(annotation: Path) -> None:
    """It may change again within one step of the clock of the file system."""
    assert recorded_inputs([JobInput("annotation", str(annotation))])[0].file_state is None


def test_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert recorded_inputs([JobInput("annotation", str(path))])[0].checksum == "no regular file"


def test_a_missing_file_counts_as_unchanged(annotation: Path) -> None:
    """For example a slide of the demo that is made again only if a job reads it."""
    job_input = JobInput("slide", str(annotation))
    before = recorded_inputs([job_input])
    annotation.unlink()
    assert recorded_inputs([job_input], before) == before
    assert recorded_inputs([job_input])[0].checksum == "missing"


def test_of_an_output_of_a_job_its_record_counts(annotation: Path, tmp_path: Path) -> None:
    upstream = record_of(threshold=0.5)
    upstream.write(tmp_path / "up.json")
    job_input = JobInput("glands", str(tmp_path / "a.csv"), str(tmp_path / "up.json"))
    assert recorded_inputs([job_input])[0].checksum == upstream.id
    ignored = job_input._replace(is_compared=False)
    assert recorded_inputs([ignored])[0].checksum == "not compared"


def test_a_file_that_many_jobs_of_a_plan_read_is_read_once(annotation: Path) -> None:
    plan: dict[tuple[bool, str], str] = {}
    files = [JobInput("model", str(annotation))]
    first = recorded_inputs(files, checksums=plan)
    annotation.write_text("other")
    assert recorded_inputs(files, checksums=plan)[0].checksum == first[0].checksum
    assert recorded_inputs(files)[0].checksum != first[0].checksum


@pytest.mark.parametrize(
    ("content", "is_known"), [(b"II*\0", True), (b"\0" * 128 + b"DICM", False)]
)
def test_the_content_says_whether_the_state_of_a_slide_is_that_of_all_its_files(
    tmp_path: Path, content: bytes, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = tmp_path / "slide.without-ending"
    slide.write_bytes(content)
    now = time.time()
    monkeypatch.setattr("workflow.job_record.time.time", lambda: now + 60)
    (recorded,) = recorded_inputs([JobInput("slide", str(slide))])
    assert (recorded.file_state is not None) == is_known
