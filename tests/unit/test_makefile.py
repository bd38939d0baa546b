"""The set-up and the check of the machine say what they do."""

import os
import subprocess
from pathlib import Path

import pytest

from workflow.doctor import main

REPO = Path(__file__).parents[2]


def test_the_set_up_tells_size_and_time_before_packages_are_installed(tmp_path: Path) -> None:
    command = ["make", "--dry-run", f"VENV={tmp_path / 'new'}", "doctor"]
    printed = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
    before, *_ = printed.partition("pip install")
    for part in ("packages", "Download about", "GB on disk", "minutes"):
        assert part in before
    shown = next(line for line in before.splitlines() if "packages" in line)
    text = subprocess.run(shown, shell=True, cwd=REPO, capture_output=True, text=True, check=True)
    locked = (REPO / "requirements.lock").read_text().count("==")
    assert f"{locked} packages" in text.stdout


def test_clean_keeps_the_locks_of_runs_and_help_says_what_it_deletes() -> None:
    def printed(*words: str) -> str:
        command = ["make", "--no-print-directory", *words]
        # A surrounding `make` hands its variables on in this one.
        environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
        run = subprocess.run(
            command, cwd=REPO, capture_output=True, text=True, check=True, env=environment
        )
        return run.stdout

    assert printed("--dry-run", "clean") == "rm -rf .venv results/demo data/demo\n"
    assert "make clean   delete .venv and the demo (results/demo, data/demo)" in printed("help")


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["--halp"], 2)])
def test_the_check_of_the_machine_tells_what_it_does_without_doing_it(
    words: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    printed = capsys.readouterr()
    assert end.value.code == status
    if status:
        assert printed.err.count("\n") == 1
    else:
        assert "disk space" in printed.out
    assert "ok  " not in printed.out
