"""Random faults of whole runs of Snakemake: two small slides, predicted with an untrained model."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from file_checksums import checksums, files_of
from job_faults import DETECTED, RECOVERED, require
from small_jobs import write_model, write_slide
from small_run import Run, environment

from semimoe.model_card import CARD
from workflow.command_line import corrected

_OLD_S = 1_500_000_000.0
_SLIDES = ("a", "b")
_CONFIGURATION = """
slides: slides.tsv
model: model
results: results
keep: [tiles]
tiles: {mpp_um: 2.0, tile_px: 64, overlap_px: 16}
prediction: {precision: fp32}
glands: {threshold: 0.5, min_area_um2: 200}
"""
# Settings that a run changes, and changes back.
_CHANGES = (
    "glands.threshold=0.4",
    "glands.min_area_um2=900",
    "tiles.min_tissue=0.3",
    "prediction.flips=true",
    "export.smooth_um=0",
)
# A change after which a job reads the stores of a folder and does not make them again.
_READING = {
    "tiles": "prediction.flips=true",
    "maps": "glands.threshold=0.4",
    "glands": "export.smooth_um=0",
}


class FaultyRun:
    """A working directory with the results that undisturbed runs give."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "project"
        self._folder.mkdir()
        for seed, name in enumerate(_SLIDES):
            write_slide(self._folder, name, seed)
        write_model(self._folder / "model")
        (self._folder / "small.yaml").write_text(_CONFIGURATION)
        self._run = Run(self._folder)
        self._run.write_sheet("slides.tsv", *(f"{name}\t{name}.tiff\tpredict" for name in _SLIDES))
        self._expected: dict[str, dict[str, str]] = {}
        self.seconds = 0.0
        for change in ("", *_CHANGES):
            start_s = time.monotonic()
            self.repeat(change)
            self.seconds = self.seconds or time.monotonic() - start_s
            self._expected[change] = self._results()
        require(len({str(values) for values in self._expected.values()}) > 1, "settings change")
        self.repeat()
        self._undisturbed_records = self._records()

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self._folder / "results"

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return self._folder / "model"

    def _arguments(self, change: str) -> list[str]:
        targets = [f"results/glands/{name}.geojson" for name in _SLIDES]
        values = ["--config", change] if change else []
        return corrected([*values, "--", *targets]).words

    def repeat(self, change: str = "") -> None:
        """Run to the end; other processes that still write are waited for."""
        self._run.snakemake("--unlock", *self._arguments(change))
        done = self._run.snakemake(*self._arguments(change), check=False)
        require(done.returncode == 0, f"the run cannot be repeated: {done.stderr[-600:]}")

    def attempt(self, change: str) -> str:
        """What a run that fails writes on the terminal; empty if it ends without an error."""
        done = self._run.snakemake(*self._arguments(change), check=False)
        return done.stderr if done.returncode else ""

    def differs(self) -> bool:
        """Whether the job records differ from those of an undisturbed run."""
        return self._records() != self._undisturbed_records

    def _records(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.results.glob("maps/*.zarr.json")}

    def check(self, change: str = "") -> None:
        """Compare all stores and outlines with those of an undisturbed run."""
        written, expected = self._results(), self._expected[change]
        different = sorted(
            name for name in {*written, *expected} if written.get(name) != expected.get(name)
        )
        require(not different, f"other bytes than without the fault: {different[:5]}")

    def stop(self, change: str, whom: str, number: int, pause_s: float) -> None:
        """Start a run, and send a signal to its group, to Snakemake alone, or to one job."""
        process = subprocess.Popen(
            self._run.arguments(*self._arguments(change)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        time.sleep(pause_s)
        if process.poll() is None:
            if whom == "group":
                os.killpg(process.pid, number)
            elif whom == "snakemake":
                os.kill(process.pid, number)
            else:
                children = psutil.Process(process.pid).children(recursive=True)
                if children:
                    children[-1].send_signal(number)
            if number == signal.SIGSTOP:
                time.sleep(1)
                os.killpg(process.pid, signal.SIGCONT)
                require(process.wait(600) == 0, "a run that was stopped and goes on fails")
        process.wait(600)

    def elsewhere(self, change: str) -> None:
        """Run from another working directory, in which Snakemake remembers nothing."""
        shutil.rmtree(self._folder / ".snakemake", ignore_errors=True)
        other = self._folder / "other"
        other.mkdir(exist_ok=True)
        text = _CONFIGURATION.replace(": slides.tsv", ": ../slides.tsv")
        text = text.replace(": model", ": ../model").replace(": results", ": ../results")
        (other / "small.yaml").write_text(text)
        targets = [f"../results/glands/{name}.geojson" for name in _SLIDES]
        values = ["--config", change] if change else []
        Run(other).snakemake(*corrected([*values, "--", *targets]).words)

    def _results(self) -> dict[str, str]:
        by_name = {}
        for kind in ("tiles", "maps", "glands"):
            folder = self.results / kind
            for path in sorted(folder.iterdir()):
                if path.suffix in (".zarr", ".geojson", ".csv"):
                    for name, checksum in checksums(path).items():
                        by_name[f"{kind}/{path.name}/{name}"] = checksum
        return by_name


def _stopped(number: int, whom: str) -> Callable[[FaultyRun, random.Random], str]:
    def fault(run: FaultyRun, rng: random.Random) -> str:
        change = rng.choice(_CHANGES)
        run.stop(change, whom, number, rng.uniform(0.3, 1) * run.seconds)
        for name in (change, ""):  # and back again
            run.repeat(name)
            run.check(name)
        return RECOVERED

    return fault


def _second_directory(run: FaultyRun, rng: random.Random) -> str:
    change = rng.choice(_CHANGES)
    run.elsewhere(change)
    run.check(change)
    run.repeat()
    run.check()
    return RECOVERED


def _damaged_results(run: FaultyRun, rng: random.Random) -> str:
    kind = rng.choice(list(_READING))
    store = run.results / kind / f"{rng.choice(_SLIDES)}.zarr"
    path = rng.choice(files_of(store))
    if rng.random() < 0.5:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    error = run.attempt(_READING[kind])
    if error:
        named = f"{kind}/{store.name}" in error and "remove the store" in error
        require(named, f"{path.name} is damaged: no store and remedy in {error[-600:]}")
        shutil.rmtree(store)
        run.repeat(_READING[kind])
    run.check(_READING[kind])
    run.repeat()
    run.check()
    return DETECTED if error else RECOVERED


def _older_card(run: FaultyRun, rng: random.Random) -> str:
    card = run.model / CARD
    text = card.read_text()
    card.write_text(text.replace('"threshold": 0.5', f'"threshold": {rng.uniform(0.1, 0.9):.3f}'))
    os.utime(card, (_OLD_S, _OLD_S))
    require(not run.attempt(""), "the run with the other card failed")
    require(run.differs(), "the other card was not used")
    card.write_text(text)
    os.utime(card, (_OLD_S, _OLD_S))
    run.repeat()
    run.check()
    return RECOVERED


RUN_KINDS: dict[str, Callable[[FaultyRun, random.Random], str]] = {
    "run: the group is killed, with changed settings": _stopped(signal.SIGKILL, "group"),
    "run: Snakemake alone is killed": _stopped(signal.SIGKILL, "snakemake"),
    "run: one job is killed": _stopped(signal.SIGKILL, "job"),
    "run: the group is ended (SIGTERM)": _stopped(signal.SIGTERM, "group"),
    "run: the group is stopped and goes on": _stopped(signal.SIGSTOP, "group"),
    "run: settings from another directory, and back": _second_directory,
    "run: a file of a store is lost or cut": _damaged_results,
    "run: the model card is replaced by an older file": _older_card,
}
