"""However a job ends, its log gives the reason in one line."""

import io
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiling.raster.progress import count_progress
from tiling.slide_errors import FailedSlideError, SlideError
from workflow.job_log import job_log
from workflow.job_progress import progress_lines


def test_a_job_prints_its_log_at_the_start_and_its_error_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), job_log(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: truncated")
    assert capsys.readouterr().err.splitlines() == [
        f"step a: started, see {tmp_path / 'step' / 'a.log'}",
        "step a: a.svs: truncated",
    ]


def test_the_reason_of_a_slide_that_failed_before_is_not_printed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "step" / "a.log"
    with pytest.raises(SystemExit), job_log(str(log)):
        raise FailedSlideError("a.svs: truncated")
    assert capsys.readouterr().err.splitlines()[-1] == "step a: the slide cannot be used"
    assert log.read_text() == "ERROR a.svs: truncated\n"


def test_an_error_for_the_user_is_the_last_line_and_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), job_log(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: first\n  second")
    assert (tmp_path / "step" / "a.log").read_text() == "ERROR a.svs: first second\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("not enough memory"),
        RuntimeError("CUDA out of memory"),
        KeyboardInterrupt(),
        ZeroDivisionError("x"),
    ],
)
def test_any_other_error_leaves_its_traceback_and_a_last_line(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), job_log(str(tmp_path / "a.log")):
        raise error
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith(f"ERROR {type(error).__name__}")


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_long_job_prints_what_is_done_and_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    terminal = io.StringIO()
    with progress_lines(terminal, "train a", "a.log", interval_s=0.05):
        time.sleep(0.12)
        with count_progress("epochs", 2), count_progress("steps", 40, done=10) as progress:
            progress.advance(10)
            time.sleep(0.12)
    lines = terminal.getvalue().splitlines()
    if ci:
        assert lines == []
        return
    assert lines[0] == "train a: running for 1 s, see a.log"
    assert lines[-1] == "train a: 20 of 40 steps (50 %), about 1 s left"
    time.sleep(0.1)
    assert terminal.getvalue().splitlines() == lines


def test_remarks_of_tifffile_are_in_the_log_and_not_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("propagate", False), ("filters", [])):
        monkeypatch.setattr(logging.getLogger("tifffile"), name, value)
    code = (
        "import logging, tiling.slides.truncation\n"
        "logging.basicConfig()\n"
        "logging.getLogger('tifffile').error('raw remark')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "raw remark" not in capfd.readouterr().err
    with job_log(str(tmp_path / "step" / "a.log")):
        logging.getLogger("tifffile").error("raw remark")
    assert (tmp_path / "step" / "a.log").read_text() == "REMARK raw remark\n"


def test_a_job_that_a_library_aborts_leaves_the_reason_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "step" / "a.log"
    code = (
        f"import os\nfrom workflow.job_log import job_log\nwith job_log({str(log)!r}): os.abort()"
    )
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert "Fatal Python error: Aborted" in log.read_text()


def test_on_a_full_disk_the_error_is_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "a.log").symlink_to("/dev/full")
    with pytest.raises(SystemExit), job_log(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: truncated")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "step a: a.svs: truncated"
    assert lines[2].startswith("step a: the log cannot be written ([Errno 28]")


def test_a_job_whose_log_cannot_be_written_says_so_and_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "step").touch()  # a file where the folder should be
    started = False
    with pytest.raises(SystemExit), job_log(str(tmp_path / "step" / "a.log")):
        started = True
    assert not started
    assert "step a: its log cannot be written" in capsys.readouterr().err
