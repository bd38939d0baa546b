"""What people type after `snakemake`, in plans of Snakemake itself."""

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
MODEL = f"model={REPO / 'models' / 'glas'}"


def planned(folder: Path, *words: str, cores: int = 1) -> subprocess.CompletedProcess[str]:
    """A plan with the sheet `s.tsv` of the folder; `words` follow the first value of --config."""
    arguments = [
        "-n", "--quiet", "host", "--cores", str(cores), "--snakefile", str(REPO / "Snakefile"),
        "--directory", str(folder), "--config", "slides=s.tsv", *words,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "workflow.command_line", *arguments],
        capture_output=True, text=True, check=False, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_plan_from_dotted_keys_two_configs_and_a_target_without_dashes(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "s.tsv").write_text("slide\tpath\tsplit\nx\ta.svs\tpredict\n")
    done = planned(tmp_path, "tiles.mpp_um=2", "--config", "results=out", "preview")
    assert "output: out/preview.html" in done.stdout
    assert "predict_slide" not in done.stdout
    assert "the values of all --config are used" in done.stderr
    assert "without the check of its command line" not in done.stderr


def test_slides_are_predicted_before_more_are_tiled_if_tiles_are_not_kept(tmp_path: Path) -> None:
    """A tiling starts only where a prediction could start, which then has the higher priority."""
    (tmp_path / "a.svs").touch()
    (tmp_path / "s.tsv").write_text("slide\tpath\tsplit\nx\ta.svs\tpredict\n")
    needs: dict[str, dict[str, dict[str, int]]] = {}
    for keep in ("[]", "[tiles]"):
        done = planned(tmp_path, MODEL, f"keep={keep}", cores=16)
        needs[keep] = _needs_of_rules(done.stdout)
    assert needs["[]"]["tile_slide"] == {"threads": 8}
    assert needs["[]"]["predict_slide"] == {"priority": 1, "threads": 8}
    for rule in ("preview_slide", "stitch_slide", "overview_slide", "propose_regions"):
        assert needs["[]"][rule]["priority"] == 1
    assert needs["[]"]["remove_tiles"]["priority"] == 2
    assert needs["[tiles]"]["tile_slide"] == {"threads": 2}


def test_a_benchmark_is_a_job_for_each_cell_and_needs_no_slides(tmp_path: Path) -> None:
    """The teacher of a variant is a job before it; other targets still need a sheet."""
    for part, count in (("train", 10), ("testA", 1)):
        (tmp_path / "glas" / part).mkdir(parents=True)
        for number in range(count):
            for ending in ("", "_anno"):
                (tmp_path / "glas" / part / f"{part}_{number + 1}{ending}.png").touch()
    arguments = [
        "-n", "--cores", "1", "--snakefile", str(REPO / "Snakefile"), "--directory", str(tmp_path),
        "--config", "benchmark.data=glas", "benchmark.methods=[unet, cps]",
        "benchmark.variants=[stored]", "benchmark.seeds=[0, 1]", "benchmark.labelled=[0.2]", "--",
    ]  # fmt: skip
    command = [sys.executable, "-m", "workflow.command_line", *arguments]
    done = subprocess.run(
        [*command, "benchmark"], capture_output=True, text=True, check=False, cwd=REPO
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "benchmark_cell        8" in done.stdout
    assert "problem" not in done.stderr
    refused = subprocess.run(
        [*command, "report"], capture_output=True, text=True, check=False, cwd=REPO
    )
    assert refused.returncode == 1
    assert "no sheet of slides is given" in refused.stderr


def test_snakemake_started_as_a_module_is_checked_by_the_snakefile(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    arguments = ["-n", "--cores", "1", "--snakefile", str(REPO / "Snakefile")]
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "twice.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "snakemake: --configfile twice.yaml: seed is given twice; join the two" in done.stderr


def test_the_memory_of_the_report_grows_with_the_number_of_slides(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(50)]
    (tmp_path / "a.svs").touch()
    rows = "".join(f"{name}\ta.svs\tpredict\n" for name in names)
    (tmp_path / "s.tsv").write_text(f"slide\tpath\tsplit\n{rows}")
    done = planned(tmp_path, MODEL, "--", "results/report.html")
    report = done.stdout[done.stdout.index("rule report:") :]
    assert "mem_mb=1200," in report


def _needs_of_rules(plan: str) -> dict[str, dict[str, int]]:
    """Priority and threads of each rule of a plan, as far as they are not 0 and 1."""
    needs: dict[str, dict[str, int]] = {}
    rule = ""
    for name, _, value in (line.strip().partition(": ") for line in plan.splitlines()):
        if name.startswith(("rule ", "localrule ")):
            rule = name.split()[1].rstrip(":")
            needs[rule] = {}
        elif name in ("priority", "threads"):
            needs[rule][name] = int(value)
    return needs
