"""Whatever ends a job, its log says so in one line."""

from pathlib import Path

import pytest

from tiling.slide_errors import SlideError
from workflow.jobs import job, scratch_folder


def test_a_job_names_its_log_when_it_starts_and_its_error_when_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), job(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: cut")
    assert capsys.readouterr().err.splitlines() == [
        f"step a: started, see {tmp_path / 'step' / 'a.log'}",
        "step a: a.svs: cut",
    ]


def test_an_error_for_the_user_is_the_last_line_and_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), job(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: first\n  second")
    assert (tmp_path / "step" / "a.log").read_text() == "ERROR a.svs: first second\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        RuntimeError("CUDA out of memory"),
        KeyboardInterrupt(),
        ZeroDivisionError("x"),
    ],
)
def test_any_other_error_leaves_its_traceback_and_a_last_line(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), job(str(tmp_path / "a.log")):
        raise error
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith(f"ERROR {type(error).__name__}")


def test_the_scratch_folder_is_that_of_the_machine_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_DISK", str(tmp_path))
    assert scratch_folder({"scratch": "$LOCAL_DISK/slides"}) == tmp_path / "slides"
    assert scratch_folder({"scratch": None}) is None
    monkeypatch.delenv("LOCAL_DISK")
    with pytest.raises(ValueError, match=r"\$LOCAL_DISK/slides is not set"):
        scratch_folder({"scratch": "$LOCAL_DISK/slides"})
