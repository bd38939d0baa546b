"""The set-up says what it does before it is silent for minutes."""

import subprocess
from pathlib import Path

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
