"""`make doctor` on a machine with a fault."""

from pathlib import Path

import pytest

from workflow.doctor import main


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder without a disk")
def test_a_folder_in_which_no_run_can_start_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/proc")
    assert main([]) == 1
    (fault,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert "not writable for this user" in fault
    assert "--directory" in fault
