"""What people type after `snakemake`, in plans of Snakemake itself."""

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]


def test_a_plan_from_dotted_keys_two_configs_and_a_target_without_dashes(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "s.tsv").write_text("slide\tpath\tsplit\nx\ta.svs\tpredict\n")
    arguments = [
        "-n", "--quiet", "host", "--cores", "1", "--snakefile", str(REPO / "Snakefile"),
        "--directory", str(tmp_path), "--config", "slides=s.tsv", "tiles.mpp_um=2", "--config",
        "results=out", "preview",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "workflow.command_line", *arguments],
        capture_output=True, text=True, check=False, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "output: out/preview.html" in done.stdout
    assert "predict_slide" not in done.stdout
    assert "the values of all --config are used" in done.stderr
    assert "without the check of its command line" not in done.stderr


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
