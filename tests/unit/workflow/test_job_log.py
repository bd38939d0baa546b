"""However a job ends, its log gives the reason in one line."""

from pathlib import Path

import pytest

from tiling.slide_errors import SlideError
from workflow.job_log import job_log


def test_a_job_prints_its_log_at_the_start_and_its_error_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), job_log(str(tmp_path / "step" / "a.log")):
        raise SlideError("a.svs: truncated")
    assert capsys.readouterr().err.splitlines() == [
        f"step a: started, see {tmp_path / 'step' / 'a.log'}",
        "step a: a.svs: truncated",
    ]


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
