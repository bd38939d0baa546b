"""A run under way: model, optimisers, and what it has seen."""

import logging
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semimoe.devices import start_fabric
from semimoe.methods import PHASES, semimoe
from semimoe.model_errors import SettingsError, TrainingError
from semimoe.networks.build import Network, build_network, freeze, load_known
from semimoe.networks.efficientnet import NORMALISATION
from semimoe.networks.mixture import TASKS, Outputs
from semimoe.objectives.losses import AdaptiveLoss, SumLoss
from semimoe.prediction.memory_bounded_batches import MemoryBoundedBatches
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.prediction.predictor import Predict
from semimoe.settings import Method, NetworkSettings, TrainingSettings
from semimoe.tensor_files import (
    WARM_START,
    WEIGHTS,
    load_card,
    load_note,
)
from semimoe.training import validation as scoring
from semimoe.training.batches import Batch, TileSource, image_statistics
from semimoe.training.checkpoints import load_foreign, load_state, resumable, save_state, stamp
from semimoe.training.history import COLUMNS, EpochMeans, Row, collapsed_gates, settled, to_csv
from semimoe.training.optimiser_step import Stepper
from semimoe.training.optimizers import make_optimizers
from semimoe.training.schedule import lr_factor, steps_per_epoch
from tiling.raster.atomic_files import file_checksum, write_atomic

if TYPE_CHECKING:
    from lightning.fabric import Fabric

log = logging.getLogger(__name__)

_STATE = "epoch.safetensors"
_FINE_TUNING_LR = 0.1
# Pixels of a run and of the model it starts from may differ by this share before it is said.
_MPP_TOLERANCE = 0.05
# Maps of `maps_from_outputs` and the seg expert's probability after them.
GATE, _SEG_EXPERT = 0, 4


class Best(NamedTuple):
    """The best validation so far."""

    epoch: int
    dice: float
    weights: dict[str, Tensor]


class Foreign(NamedTuple):
    """A finished model that a run starts from."""

    folder: Path
    card: dict[str, Any]


@dataclass
class Run:
    """State of one training run between steps."""

    method: Method
    network: NetworkSettings
    training: TrainingSettings
    mpp_um: float
    seed: int
    steps: int
    normalisation: dict[str, list[float]]
    resume: Path
    mark: str
    notes: dict[str, Any]
    fabric: "Fabric"
    net: Network  # the bare network
    model: nn.Module  # the same behind autocast
    aggregate: AdaptiveLoss | SumLoss
    optimizers: dict[str, torch.optim.Optimizer]
    stepper: Stepper
    foreign: Foreign | None = None  # the model that is fine-tuned
    epoch: int = 0
    rows: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    best: Best | None = None
    means: EpochMeans | None = None
    started: float = 0.0
    warned: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)  # for the card, known from the start

    @classmethod
    def start(
        cls,
        method: Method,
        labelled: TileSource,
        unlabelled: TileSource | None,
        validation: TileSource | None,
        *,
        network: NetworkSettings,
        training: TrainingSettings,
        mpp_um: float,
        seed: int,
        device: Literal["cpu", "gpu"],
        devices: int,
        threads: int,
        resume: Path,
        start_from: Path | None,
        warm_start: Path | None,
        notes: dict[str, Any],
    ) -> "Run":
        """Build everything, and go on from where a killed run of the same settings stopped."""
        if training.batch % devices:
            raise SettingsError(
                f"batch {training.batch} cannot be shared by {devices} devices; it must be a multiple of their number"
            )
        if training.frozen_stages and network.encoder == "unet":
            raise SettingsError(
                f"training.frozen_stages {training.frozen_stages}: an encoder of random weights cannot stay as it is; "
                "set it to 0, or network.encoder: efficientnet-lite0"
            )
        fabric = start_fabric(
            device, devices=devices, threads=threads, precision=training.precision
        )
        branch = load_note(warm_start / WARM_START) if warm_start else {}
        foreign = Foreign(start_from, load_card(start_from)) if start_from else None
        steps = branch.get("steps") or steps_per_epoch(
            len(labelled), len(unlabelled) if unlabelled is not None else 0, training
        )
        normalisation = (
            branch.get("normalisation")
            or (foreign.card["normalisation"] if foreign else None)
            or _normalisation(network, labelled)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build_network(method, network, **normalisation).to(
                memory_format=torch.channels_last
            )  # type: ignore[call-overload]
        if warm_start is None:
            if foreign is not None:
                load_foreign(foreign.folder, net)
            else:
                load_known(net)
        freeze(net, training.frozen_stages)
        if devices > 1 and device == "gpu":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        net.to(fabric.device)
        aggregate = (
            AdaptiveLoss(training.gamma)
            if training.aggregate == "amol" and method != "unet"
            else SumLoss()
        ).to(fabric.device)
        optimizers = make_optimizers(
            net, aggregate, training, training.lr * (_FINE_TUNING_LR if start_from else 1)
        )
        model = Autocast(net, fabric)
        stepper = Stepper(
            model,
            aggregate,
            optimizers,
            PHASES[method],
            network=network,
            training=training,
            mpp_um=mpp_um,
            device=fabric.device,
            micro_batch=training.batch // devices,
            average=_average(fabric),
        )
        mark = stamp(
            {
                "method": method,
                "network": network.to_dict(),
                "training": training.to_dict(),
                "mpp_um": mpp_um,
                "seed": seed,
                "tiles": [
                    0 if source is None else len(source)
                    for source in (labelled, unlabelled, validation)
                ],
                "start_from": start_from and file_checksum(start_from / WEIGHTS),
                "warm_start": warm_start and file_checksum(warm_start / WARM_START),
                "notes": notes,
            }
        )
        run = cls(
            method, network, training, mpp_um, seed, steps, normalisation, resume, mark, notes,
            fabric, net, model, aggregate, optimizers, stepper, foreign,
        )  # fmt: skip
        run._go_on(warm_start, branch)
        if foreign is not None:
            run._compare_resolution(foreign)
        return run

    def _go_on(self, warm_start: Path | None, branch: dict[str, Any]) -> None:
        resumed = resumable(self.resume / _STATE, self.mark)
        if resumed:
            about, best = load_state(
                self.resume / _STATE, self.net, self.aggregate, self.optimizers
            )
            self.epoch, self.rows, self.timings = about["epoch"], about["rows"], about["timings"]
            if about["best"] is not None:
                epoch, dice = about["best"]
                self.best = Best(epoch, dice, best)
            self.stepper.micro_batch = min(self.stepper.micro_batch, about["micro_batch"])
        self.fabric.barrier()  # all have looked before the first one writes
        if resumed:
            return
        if self.chief:
            shutil.rmtree(self.resume, ignore_errors=True)
        if warm_start is not None:
            load_state(warm_start / WARM_START, self.net, self.aggregate, self.optimizers)
            self.epoch = int(branch["epoch"])
            if self.epoch >= self.training.epochs:
                raise TrainingError(
                    f"{warm_start / WARM_START}: stands after epoch {self.epoch}, and the run has {self.training.epochs}; "
                    "lower warm_start_epochs or raise epochs"
                )
        self._keep_warm_start()

    def _compare_resolution(self, foreign: Foreign) -> None:
        trained = float(foreign.card["mpp_um"])
        if abs(self.mpp_um / trained - 1) > _MPP_TOLERANCE:
            self.warn(
                f"starts from {foreign.folder}, trained at {trained:g} um per pixel, and trains at {self.mpp_um:g}: "
                "glands have another size in pixels; work at the model's resolution, or train longer"
            )

    def warn(self, warning: str) -> None:
        """Say something about the whole run, in the log and in the card."""
        if self.chief:
            log.warning("%s", warning)
        self.warnings.append(warning)

    @property
    def chief(self) -> bool:
        """Whether this process validates and writes; of several, one does."""
        return self.fabric.is_global_zero

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.fabric.device

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Chance inside the network (dropout) comes from (seed, epoch), and the caller's generators stay as they were."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def begin_epoch(self) -> None:
        """Reseed, and start counting."""
        torch.manual_seed(
            int(
                np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)[0] >> 1
            )
        )
        self.model.train()
        if self.training.statistics == "frozen":
            for module in self.net.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        self.means = EpochMeans(self.network)
        self.started = time.monotonic()

    def step(self, step: int, labelled: Batch, unlabelled: Batch | None) -> None:
        """One optimiser step (joint), or one per phase (two-step)."""
        done = self.epoch + step / self.steps
        for group in self.optimizers["network"].param_groups:
            group["lr"] = group["initial_lr"] * lr_factor(done, self.training)
        assert self.means is not None  # begin_epoch made them
        for number, result in enumerate(
            self.stepper.take(labelled, unlabelled, share=done / self.training.epochs)
        ):
            if result is not None:
                self.means.add(number, result)

    def end_epoch(self, validation: TileSource | None) -> Row:
        """Validate, log, and keep what a killed run goes on from."""
        seconds = time.monotonic() - self.started
        assert self.means is not None  # begin_epoch made them
        if self.stepper.average is not None:
            self.means.reduce(self.stepper.average)
        self.epoch += 1
        row = self.means.row(self.steps) | {"epoch": self.epoch, "steps": self.steps}
        row["lr"] = self.optimizers["network"].param_groups[0]["lr"]
        if len(PHASES[self.method]) > 1:
            row["unsup_weight"] = semimoe.unsup_weight(
                self.epoch / self.training.epochs, self.training
            )
        if isinstance(self.aggregate, AdaptiveLoss):
            scales = zip(TASKS, self.aggregate.s.tolist(), strict=True)
            row |= {f"s_{task}": value for task, value in scales if task in self.network.experts_of}
        due = self.epoch % self.training.validate_every == 0 or self.epoch == self.training.epochs
        if self.chief and validation is not None and due:
            row["val_dice_gate"], row["val_dice_seg"] = scoring.pixel_dice(
                self.predict(),
                validation,
                channels=(GATE, _SEG_EXPERT),
                tile_px=self.training.tile_px,
                batch=self.training.batch,
            )
            if self.best is None or row["val_dice_gate"] >= self.best.dice:
                self.best = Best(self.epoch, row["val_dice_gate"], copied(self.net))
        self.rows.append(row)
        tiles = self.steps * self.training.batch * len(PHASES[self.method])
        self.timings.append(
            {
                "epoch": self.epoch,
                "seconds": round(seconds, 3),
                "tiles_per_s": tiles / seconds,
                "peak_memory_mb": self._peak_memory_mb(),
            }
        )
        if settled(self.rows):
            self._warn_once(collapsed_gates(self.rows))
        self._keep_warm_start()
        self._keep_state()
        return row

    def sound(self, labelled: Batch) -> bool:
        """Whether weights, running statistics and scales of the loss are numbers, and what the network makes of a tile as well."""
        tensors = [
            tensor
            for module in (self.net, self.aggregate)
            for tensor in module.state_dict().values()
        ]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            return False
        return bool(np.isfinite(self.predict()(labelled.image[:1].numpy())).all())

    def _warn_once(self, warnings: list[str]) -> None:
        for warning in warnings:
            if warning not in self.warned and self.chief:
                log.warning("epoch %d: %s", self.epoch, warning)
            self.warned.add(warning)

    def _peak_memory_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes, Linux KiB
        return used / (2**20 if sys.platform == "darwin" else 2**10)

    def _keep_warm_start(self) -> None:
        """Kept beside the state until the run ends: a workflow deletes the outputs of a killed job."""
        if (
            self.chief
            and self.method == "supervised"
            and self.epoch == self.training.warm_start_epochs
        ):
            about = {
                "epoch": self.epoch,
                "steps": self.steps,
                "normalisation": self.normalisation,
                "network": self.network.to_dict(),
            }
            save_state(self.resume / WARM_START, self.net, self.aggregate, self.optimizers, about)

    def _keep_state(self) -> None:
        if not self.chief:
            return
        about = {
            "stamp": self.mark,
            "epoch": self.epoch,
            "rows": self.rows,
            "timings": self.timings,
        }
        about["micro_batch"] = self.stepper.micro_batch
        about["best"] = None if self.best is None else [self.best.epoch, self.best.dice]
        weights = None if self.best is None else self.best.weights
        save_state(self.resume / _STATE, self.net, self.aggregate, self.optimizers, about, weights)
        write_atomic(
            self.resume / "history.csv", to_csv(self.rows, COLUMNS)
        )  # to look at, and what a failed run leaves

    def predict(self) -> Predict:
        """Images -> maps of the gates, and the seg expert's gland probability as a fifth."""
        self.model.eval()

        @torch.inference_mode()
        def forward(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
            outputs = self.model(torch.from_numpy(images).to(self.device))
            seg_expert = torch.softmax(outputs.experts.seg.float(), 1)[:, 1:]
            return (torch.cat([maps_from_outputs(outputs), seg_expert], dim=1).cpu().numpy(),)

        batches = MemoryBoundedBatches(forward)
        return lambda images: batches(images)[0]


class Autocast(nn.Module):
    """A network at the precision of the run."""

    def __init__(self, net: Network, fabric: "Fabric") -> None:
        super().__init__()
        self.net, self._fabric = net, fabric

    def forward(self, images: Tensor) -> Outputs:
        """As of the network."""
        with self._fabric.autocast():
            outputs: Outputs = self.net(images)
            return outputs


def _average(fabric: "Fabric") -> Callable[[Tensor], Tensor] | None:
    """Mean over processes, in place; None: there is one."""
    if fabric.world_size == 1:
        return None

    def average(tensor: Tensor) -> Tensor:
        mean: Tensor = fabric.strategy.all_reduce(tensor, reduce_op="mean")
        return mean

    return average


def _normalisation(network: NetworkSettings, labelled: TileSource) -> dict[str, list[float]]:
    """What the encoder knows, or statistics of the tiles."""
    if network.encoder == "efficientnet-lite0":
        return NORMALISATION
    mean, std = image_statistics(labelled)
    return {"mean": mean, "std": std}


def copied(net: nn.Module) -> dict[str, Tensor]:
    """State of a network, apart from it and on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()}
