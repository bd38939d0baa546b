"""The jobs of one small slide, each in a process of its own that a fault can hit."""

import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from file_checksums import checksums, files_of

from semimoe.model_card import WEIGHTS, parse_card, save_card
from semimoe.networks.mixture import SemiMoE
from semimoe.settings import NetworkSettings
from semimoe.tensor_files import save_tensors
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.label_slide import label_slide
from tiling.raster.atomic_files import file_checksum
from tiling.stores.arrays import open_array, open_store
from tiling.synthetic import SyntheticSettings, make_slide
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
from workflow.config.configuration import Configuration
from workflow.config.option_groups import GlandOptions
from workflow.stages.export_slide import export_slide
from workflow.stages.job_resources import JobResources
from workflow.stages.predict_slide import predict_slide
from workflow.stages.stitch_slide import stitch_slide

SIDE_PX = 1200
_MPP_UM = 2.0
_NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
_CARD = {
    "method": "semimoe",
    "network": _NETWORK.to_dict(),
    "mpp_um": _MPP_UM,
    "tile_px": 64,
    "threshold": 0.5,
    "split": {"seed_depth_um": -40.0, "boundary_level": 1.0, "growth_um": 10.0},
    "sdf_um": 20.0,
    "sdf_scale": "um",
    "normalisation": {},
}
# Each stage writes these, from the stages before it.
OUTPUTS = {
    "tile": ("tiles/a.zarr",),
    "label": ("labels/a.zarr",),
    "predict": ("maps/a.zarr",),
    "stitch": ("glands/a.zarr",),
    "export": ("glands/a.geojson", "glands/a.csv"),
}
STAGES = tuple(OUTPUTS)
# The stage that made each store, and stages that read it.
READERS = {
    "tile": ("label", "predict"),
    "predict": ("stitch", "export"),
    "stitch": ("export",),
}


def write_model(folder: Path) -> None:
    """A model of untrained weights, the same each time."""
    torch.manual_seed(0)
    save_tensors(folder / WEIGHTS, SemiMoE(_NETWORK).state_dict(), {})
    checksum = file_checksum(folder / WEIGHTS)
    save_card(folder, parse_card({**_CARD, "weights_sha256": checksum}, source="torture"))


def write_slide(folder: Path, name: str, seed: int) -> None:
    """A synthetic slide with its outlines."""
    settings = SyntheticSettings(
        slide=name, seed=seed, width_px=SIDE_PX, height_px=SIDE_PX, regions=None
    )
    make_slide(
        settings,
        folder / f"{name}.tiff",
        annotation=folder / f"{name}.geojson",
        truth=folder / f"{name}.truth.tiff",
    )


class SmallJobs:
    """The stages of one slide, with the results that they give undisturbed.

    Attributes
    ----------
    inputs : slide, annotation and model
    results : where jobs write
    """

    def __init__(self, folder: Path) -> None:
        self.inputs, self.results = folder / "inputs", folder / "results"
        self._undisturbed, self._messages = folder / "undisturbed", folder / "messages.txt"
        self.inputs.mkdir()
        write_slide(self.inputs, "a", seed=3)
        write_model(self.inputs / "model")
        self._threshold = 0.5
        self.seconds: dict[str, float] = {}
        for stage in STAGES:
            if stage == "stitch":
                self._threshold = self._median_of_map()
            start_s = time.monotonic()
            assert self.run(stage) == 0, self.message()
            self.seconds[stage] = time.monotonic() - start_s
        shutil.copytree(self.results, self._undisturbed)
        self._expected = {
            output: checksums(self.results / output)
            for outputs in OUTPUTS.values()
            for output in outputs
        }
        assert len(self._expected["glands/a.geojson"]) == 1

    def _median_of_map(self) -> float:
        """A threshold at which the untrained model finds glands."""
        child_file = self.results / "median"

        def work() -> None:
            values = open_array(open_store(self.results / "maps/a.zarr"), "gland")[...]
            child_file.write_text(str(float(np.median(values[values > 0])) / 255))

        assert self._wait(self._fork(work)) == 0, self.message()
        text = child_file.read_text()
        child_file.unlink()
        return min(max(float(text), 0.01), 0.99)

    def start(self, stage: str, before: Callable[[], None] | None = None) -> int:
        """Start the job of a stage; `before` runs first in its process. Returns the process id."""

        def work() -> None:
            if before is not None:
                before()
            self._job(stage)

        return self._fork(work)

    def run(self, stage: str, before: Callable[[], None] | None = None) -> int:
        """The exit status of the job of a stage, negative for a signal."""
        return self._wait(self.start(stage, before))

    def end(self, process: int) -> int:
        """Wait for a job; returns its exit status."""
        return self._wait(process)

    def message(self) -> str:
        """The error of the last job that failed."""
        return self._messages.read_text() if self._messages.exists() else ""

    def restore(self) -> None:
        """Results as they are undisturbed, without anything else."""
        shutil.rmtree(self.results, ignore_errors=True)
        shutil.copytree(self._undisturbed, self.results)

    def remove_outputs(self, stage: str) -> None:
        """Remove what a stage writes."""
        for output in OUTPUTS[stage]:
            path = self.results / output
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def is_expected(self, stage: str, *, may_be_absent: bool = False) -> bool:
        """Whether the outputs of a stage are those without a fault."""
        for output in OUTPUTS[stage]:
            path = self.results / output
            if may_be_absent and not path.exists():
                continue
            if checksums(path) != self._expected[output]:
                return False
        return True

    def largest_output(self, stage: str) -> int:
        """Size of the largest file that a stage writes, in bytes."""
        return max(
            path.stat().st_size
            for output in OUTPUTS[stage]
            for path in files_of(self._undisturbed / output)
        )

    def _job(self, stage: str) -> None:
        results, slide = self.results, "a"
        tiles, maps = results / "tiles/a.zarr", results / "maps/a.zarr"
        glands, labels = results / "glands/a.zarr", results / "labels/a.zarr"
        if stage == "tile":
            parameters = TileParameters(mpp_um=_MPP_UM, tile_px=64, overlap_px=16)
            source = SlideSource(slide, self.inputs / "a.tiff")
            tile_slide(source, tiles, parameters=parameters, code_version=1, record=False)
        elif stage == "label":
            annotation = AnnotationFile(self.inputs / "a.geojson", ReadingRules("whole", "slide"))
            label_slide(annotation, tiles, labels, slide=slide, required=True, code_version=1)
        elif stage == "predict":
            prediction = Configuration().prediction.model_copy(update={"precision": "fp32"})
            job = JobResources(gpu=0, threads=1, code_version=1)
            model = self.inputs / "model"
            predict_slide(tiles, model, maps, slide=slide, prediction=prediction, job=job)
        elif stage == "stitch":
            options = GlandOptions(threshold=self._threshold, min_area_um2=200)
            stitch_slide(maps, glands, slide=slide, options=options, workers=1, code_version=1)
        else:
            geojson, csv = (results / output for output in OUTPUTS["export"])
            options = Configuration().export
            export_slide(glands, maps, geojson, csv, slide=slide, options=options, workers=1)

    def _fork(self, work: Callable[[], None]) -> int:
        process = os.fork()
        if process:
            return process
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with self._messages.open("w") as file:
                os.dup2(file.fileno(), 2)
            work()
            status = 0
        except BaseException:  # every error is the message of the job
            try:
                self._messages.write_text(traceback.format_exc())
            except OSError:
                status = 2
        finally:
            os._exit(status)

    def _wait(self, process: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
