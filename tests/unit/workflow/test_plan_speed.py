"""What is the same for all jobs of a rule is done once when a run is planned."""

import re
import subprocess
import sys
from pathlib import Path

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
    script:
        "one.py"


speed_up_planning(workflow)
"""


def _dry_run(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text(_SNAKEFILE.format(jobs=_JOBS))
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--rerun-triggers", "mtime"],
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


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    done = _dry_run(tmp_path)
    assert done.returncode == 1
    assert "one.py" in done.stdout + done.stderr
