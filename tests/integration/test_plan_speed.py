"""What is the same for all jobs of a rule is done once when a run is planned."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from workflow.plan_speed import _only_if_limited, _set_fewer_timers

REPO = Path(__file__).parents[2]
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


# Snakemake is imported once; each folder is planned in a copy of that process.
_PLAN_FOLDERS = """
import json, os, sys
from snakemake.cli import main
import workflow.plan_speed
for folder, options in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        main(["-n", "--cores", "1", "--rerun-triggers", "mtime", *options])
    _, status = os.wait()
    with open(os.path.join(folder, "status"), "w") as file:
        file.write(str(os.waitstatus_to_exitcode(status)))
"""
_MESSAGE = '    message:\n        "number {params.counted}"\n'


class _DryRun(NamedTuple):
    status: int
    text: str
    expanded: int  # jobs whose parameters were computed


@pytest.fixture(scope="module")
def dry_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, _DryRun]:
    """Plans of the same jobs, made in different ways."""
    base = tmp_path_factory.mktemp("plans")
    messages = {"plain": "", "quiet": _MESSAGE, "shown": _MESSAGE, "no script": ""}
    for name, message in messages.items():
        folder = base / name
        folder.mkdir()
        (folder / "Snakefile").write_text(_SNAKEFILE.format(jobs=_JOBS, message=message))
        if name != "no script":
            (folder / "one.py").touch()
    quiet = ["--quiet", "host", "rules"]
    options = {str(base / name): quiet if name == "quiet" else [] for name in messages}
    command = [sys.executable, "-c", _PLAN_FOLDERS, json.dumps(options)]
    subprocess.run(command, check=True, cwd=REPO)
    return {name: _dry_run(base / name) for name in messages}


def _dry_run(folder: Path) -> _DryRun:
    status, *texts = ((folder / name).read_text() for name in ("status", "stdout", "stderr"))
    parameters = folder / "parameters"
    expanded = len(parameters.read_text().splitlines()) if parameters.exists() else 0
    return _DryRun(int(status), "".join(texts), expanded)


def test_parameters_of_jobs_are_not_expanded_in_a_dry_run(dry_runs: dict[str, _DryRun]) -> None:
    run = dry_runs["plain"]
    assert run.status == 0, run.text
    assert re.search(rf"^one +{_JOBS}$", run.text, re.MULTILINE)
    assert run.expanded == 1


@pytest.mark.parametrize("name", ["quiet", "shown"])
def test_the_message_of_a_job_is_made_only_if_it_is_shown(
    dry_runs: dict[str, _DryRun], name: str
) -> None:
    run, is_quiet = dry_runs[name], name == "quiet"
    assert run.status == 0, run.text
    assert re.search(rf"^one +{_JOBS}$", run.text, re.MULTILINE)
    assert run.text.count("number 1") == (0 if is_quiet else _JOBS)
    assert run.expanded == (1 if is_quiet else _JOBS)


def test_a_missing_script_is_named(dry_runs: dict[str, _DryRun]) -> None:
    run = dry_runs["no script"]
    assert run.status == 1
    assert "one.py" in run.text


_SELECTIONS = """
from snakemake.scheduling.job_scheduler import JobScheduler
from workflow.plan_speed import speed_up_planning

select = JobScheduler.job_selector


def counted(*arguments):
    with open("selections", "a") as file:
        print("one", file=file)
    return select(*arguments)


JobScheduler.job_selector = counted


rule all:
    input:
        expand("{name}.txt", name=["a", "b", "c"]),


rule one:
    output:
        "{name}.txt",
    shell:
        "sleep 1.1; touch {output}"


speed_up_planning(workflow)
"""


@pytest.mark.parametrize(("limit", "most_selections"), [("100/1s", 4), ("1/2s", 20)])
def test_jobs_are_selected_when_a_job_ends_or_the_limit_of_starts_was_reached(
    tmp_path: Path, limit: str, most_selections: int
) -> None:
    (tmp_path / "Snakefile").write_text(_SELECTIONS)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--scheduler", "greedy"]
    command += ["--max-jobs-per-timespan", limit]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    # Three jobs, and `all`. Snakemake's own timers would add one selection per second for each job
    # that ended. If the limit was reached, only a timer can go on.
    assert 4 <= len((tmp_path / "selections").read_text().split()) <= most_selections


def test_a_scheduler_with_other_attributes_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "snakemake.scheduling", None)  # it cannot be imported
    _set_fewer_timers()
    delays: list[float] = []
    schedule = _only_if_limited(lambda _, delay_s: delays.append(delay_s))
    schedule(SimpleNamespace(job_rate_limiter=SimpleNamespace(timespan=1)), 1)
    schedule(SimpleNamespace(job_rate_limiter=None), 2)
    assert delays == [1, 2]
