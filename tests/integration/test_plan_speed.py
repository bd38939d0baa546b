"""What is the same for all jobs of a rule is done once when a run is planned."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_JOBS = 20
_SNAKEFILE = """
from workflow.plan_speed import speed_up_planning


def counted(wildcards):
    with open("parameters", "a") as file:
        print(wildcards.name, file=file)
    return 1


rule all:
    input:
        expand("{{name}}.txt", name=range({jobs})),


rule one:
    output:
        "{{name}}.txt",
    conda:
        "environment.yml"
    params:
        counted=counted,
{message}    script:
        "one.py"


speed_up_planning(workflow)
"""


def _dry_run(folder: Path, *options: str, message: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text(_SNAKEFILE.format(jobs=_JOBS, message=message))
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1"]
    return subprocess.run(
        [*command, "--rerun-triggers", "mtime", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_parameters_of_jobs_are_not_expanded_in_a_dry_run(tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    done = _dry_run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^one +{_JOBS}$", done.stdout, re.MULTILINE)
    assert len((tmp_path / "parameters").read_text().splitlines()) == 1


@pytest.mark.parametrize("is_quiet", [True, False])
def test_the_message_of_a_job_is_made_only_if_it_is_shown(tmp_path: Path, is_quiet: bool) -> None:
    (tmp_path / "one.py").touch()
    options = ["--quiet", "host", "rules"] if is_quiet else []
    message = '    message:\n        "number {params.counted}"\n'
    done = _dry_run(tmp_path, *options, message=message)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^one +{_JOBS}$", done.stdout, re.MULTILINE)
    assert done.stdout.count("number 1") == (0 if is_quiet else _JOBS)
    expanded = len((tmp_path / "parameters").read_text().splitlines())
    assert expanded == (1 if is_quiet else _JOBS)


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    done = _dry_run(tmp_path)
    assert done.returncode == 1
    assert "one.py" in done.stdout + done.stderr
