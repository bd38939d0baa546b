"""A small run with Snakemake: four synthetic slides are trained on, predicted and exported."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]
GPU_RULES = {
    "train_supervised",
    "train_unet",
    "train_mean_teacher",
    "train_cps",
    "pseudo_label",
    "train",
    "predict_slide",
    "predict_slide_compared",
}
CONFIG = """
slides: slides.tsv
tiles: {mpp_um: 4.0, tile_px: 64, overlap_px: 16, tissue_mpp_um: 16}
network: {width: 8, encoder: unet}
training:
  epochs: 4
  warm_start_epochs: 2
  steps_per_epoch: 16
  lr: 0.006
  batch: 8
  tiles_per_slide: 20
  min_confidence: 0.5
glands: {min_area_um2: 1000}
proposals: {count: 2, size_um: 300}
compare: [supervised, unet, mean-teacher, cps]
"""


@dataclass(frozen=True)
class Run:
    """A working directory with slides, sheet and configuration."""

    folder: Path

    def arguments(self, *more: str) -> list[str]:
        snakefile = [
            "--snakefile",
            str(REPO / "Snakefile"),
            "--directory",
            str(self.folder),
            "--workflow-profile",
            str(REPO / "profiles" / "default"),
        ]
        return [
            sys.executable,
            "-m",
            "snakemake",
            *snakefile,
            "--cores",
            "2",
            "--resources",
            "gpu=0",
            "--configfile",
            str(self.folder / "small.yaml"),
            *more,
        ]

    def snakemake(self, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.arguments(*more),
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
            timeout=900,
        )
        if check and done.returncode:
            logs = "\n".join(
                f"== {log}\n{log.read_text()[-2000:]}"
                for log in self.folder.rglob("logs/**/*.log")
                if "ERROR" in log.read_text() or "Traceback" in log.read_text()
            )
            raise AssertionError(done.stdout + done.stderr + logs)
        return done

    def planned(self, *more: str) -> set[str]:
        """Names of the rules that a dry run would execute."""
        text = self.snakemake("-n", "--quiet", "host", *more).stdout
        return {
            line.split()[1].rstrip(":")
            for line in text.splitlines()
            if line.startswith(("rule ", "localrule "))
        }

    def write_sheet(self, name: str, *rows: str) -> Path:
        path = self.folder / name
        path.write_text(
            "slide\tpath\tsplit\tannotation\tannotated\n" + "".join(row + "\n" for row in rows)
        )
        return path


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


ROWS = (
    "lab\tlab.tiff\tlabelled\tlab.geojson\tregions",
    "unl\tunl.tiff\tunlabelled\tunl.geojson\twhole",
    "val\tval.tiff\tvalidation\tval.geojson\tregions",
    "test\ttest.tiff\ttest\ttest.truth.tiff\twhole",
)
SLIDES = tuple(row.split("\t")[0] for row in ROWS)
