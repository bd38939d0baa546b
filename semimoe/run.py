"""A run under way: model, optimisers, what it has seen, and how it ends."""

import logging
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from semimoe import validation as scoring
from semimoe.data import Batch, TileSource, image_statistics
from semimoe.device import choose_device
from semimoe.errors import TrainingError
from semimoe.history import COLUMNS, TIMING_COLUMNS, EpochMeans, Row, collapsed_gates, to_csv
from semimoe.losses import AdaptiveLoss, SumLoss
from semimoe.methods import PHASES, semimoe
from semimoe.methods.phase import Step
from semimoe.model import TASKS, count_parameters
from semimoe.networks import Network, build_network
from semimoe.optimizers import make_optimizers
from semimoe.prediction import maps_of
from semimoe.schedule import lr_factor, steps_per_epoch
from semimoe.settings import Method, NetworkSettings, TrainingSettings
from semimoe.state import load_state, resumable, save_state, stamp
from semimoe.weights import (
    CARD,
    WARM_START,
    WEIGHTS,
    fingerprint,
    load_card,
    load_note,
    load_tensors,
    save_card,
    save_tensors,
    write_atomic,
)

if TYPE_CHECKING:
    from lightning.fabric import Fabric

log = logging.getLogger(__name__)

_STATE = "epoch.safetensors"
_FINE_TUNING_LR = 0.1
# Maps of `maps_of` and the seg expert's probability after them.
_GATE, _SEG_EXPERT = 0, 4


class Best(NamedTuple):
    """The best validation so far."""

    epoch: int
    dice: float
    weights: dict[str, Tensor]


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
    peak_lr: float
    fabric: "Fabric"
    device: torch.device
    net: Network  # the bare network
    model: nn.Module  # the same behind autocast
    aggregate: AdaptiveLoss | SumLoss
    optimizers: dict[str, torch.optim.Optimizer]
    foreign: Path | None = None  # the model that is fine-tuned
    epoch: int = 0
    rows: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    best: Best | None = None
    means: EpochMeans = field(default_factory=EpochMeans)
    started: float = 0.0

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
        threads: int,
        resume: Path,
        start_from: Path | None,
        warm_start: Path | None,
        notes: dict[str, Any],
    ) -> "Run":
        """Build everything, and go on from where a killed run of the same settings stopped."""
        from lightning.fabric import Fabric

        where = choose_device(device, threads=threads)
        fabric = Fabric(
            accelerator="cpu" if device == "cpu" else "cuda",
            devices=1 if device == "cpu" else [where.index],
            precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        )
        branch = load_note(warm_start / WARM_START) if warm_start else {}
        foreign = load_card(start_from) if start_from and not warm_start else None
        steps = branch.get("steps") or steps_per_epoch(len(labelled), len(unlabelled) if unlabelled is not None else 0, training)
        normalisation = branch.get("normalisation") or (foreign or {}).get("normalisation") or _statistics(labelled)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build_network(method, network, **normalisation).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if foreign is not None and start_from is not None:
            _load_foreign(start_from, net)
        net.to(where)
        aggregate = (AdaptiveLoss(training.gamma) if training.aggregate == "amol" and method != "unet" else SumLoss()).to(where)
        peak_lr = training.lr * (_FINE_TUNING_LR if start_from else 1)
        # Read before Fabric wraps it: a state dict must not depend on the wrapper.
        optimizers = make_optimizers(net, aggregate, training, peak_lr)
        model = fabric.setup_module(net)
        mark = stamp(
            {
                "method": method,
                "network": network.to_dict(),
                "training": training.to_dict(),
                "mpp_um": mpp_um,
                "seed": seed,
                "tiles": [0 if source is None else len(source) for source in (labelled, unlabelled, validation)],
                "start_from": start_from and fingerprint(start_from / WEIGHTS),
                "warm_start": warm_start and fingerprint(warm_start / WARM_START),
                "notes": notes,
            }
        )
        run = cls(
            method, network, training, mpp_um, seed, steps, normalisation, resume, mark, notes, peak_lr,
            fabric, where, net, model, aggregate, optimizers, start_from,
        )  # fmt: skip
        run._go_on(warm_start, branch)
        return run

    def _go_on(self, warm_start: Path | None, branch: dict[str, Any]) -> None:
        if resumable(self.resume / _STATE, self.mark):
            about, best = load_state(self.resume / _STATE, self.net, self.aggregate, self.optimizers)
            self.epoch, self.rows, self.timings = about["epoch"], about["rows"], about["timings"]
            if about["best"] is not None:
                epoch, dice = about["best"]
                self.best = Best(epoch, dice, best)
            return
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

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Chance inside the network (dropout) comes from (seed, epoch), and the caller's generators stay as they were."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def begin_epoch(self) -> None:
        """Reseed, and start counting."""
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)[0] >> 1))
        self.model.train()
        self.means = EpochMeans()
        self.started = time.monotonic()

    def step(self, step: int, labelled: Batch, unlabelled: Batch | None) -> None:
        """One optimiser step (joint), or one per phase (two-step)."""
        done = self.epoch + step / self.steps
        for group in self.optimizers["network"].param_groups:
            group["lr"] = self.peak_lr * lr_factor(done, self.training)
        given = Step(
            self.model, self.aggregate, labelled.to(self.device), unlabelled.to(self.device) if unlabelled is not None else None,
            done / self.training.epochs, self.network, self.training, self.mpp_um,
        )  # fmt: skip
        for number, phase in enumerate(PHASES[self.method]):
            result = phase(given)
            if result is None:
                continue
            if not torch.isfinite(result.loss):
                tiles = labelled if number == 0 or unlabelled is None else unlabelled
                raise TrainingError(
                    f"epoch {self.epoch + 1}, step {step + 1}: the loss of {phase.__name__} is {result.loss.item()} on tiles "
                    f"{tiles.numbers.tolist()}; look at them, or lower training.lr ({self.training.lr})"
                )
            self.fabric.backward(result.loss)
            self.means.add(number, result)
            if self.training.update == "two-step":
                self._update()
        if self.training.update == "joint":
            self._update()

    def _update(self) -> None:
        if self.training.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.training.max_grad_norm)
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def end_epoch(self, validation: TileSource | None) -> Row:
        """Validate, log, and keep what a killed run goes on from."""
        seconds = time.monotonic() - self.started
        self.epoch += 1
        row = self.means.row(self.steps) | {"epoch": self.epoch, "steps": self.steps}
        row["lr"] = self.optimizers["network"].param_groups[0]["lr"]
        if len(PHASES[self.method]) > 1:
            row["unsup_weight"] = semimoe.unsup_weight(self.epoch / self.training.epochs, self.training)
        if isinstance(self.aggregate, AdaptiveLoss):
            row |= {f"s_{task}": value for task, value in zip(TASKS, self.aggregate.s.tolist(), strict=True)}
        if validation is not None and (self.epoch % self.training.validate_every == 0 or self.epoch == self.training.epochs):
            row["val_dice_gate"], row["val_dice_seg"] = scoring.pixel_dice(
                self._predict(), validation, channels=(_GATE, _SEG_EXPERT), tile_px=self.training.tile_px, batch=self.training.batch
            )
            if self.best is None or row["val_dice_gate"] >= self.best.dice:
                self.best = Best(self.epoch, row["val_dice_gate"], _copy(self.net))
        self.rows.append(row)
        tiles = self.steps * self.training.batch * len(PHASES[self.method])
        self.timings.append(
            {"epoch": self.epoch, "seconds": round(seconds, 3), "tiles_per_s": tiles / seconds, "peak_memory_mb": self._peak_memory_mb()}
        )
        self._keep_warm_start()
        self._keep_state()
        return row

    def _peak_memory_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def _keep_warm_start(self) -> None:
        """Kept beside the state until the run ends: a workflow deletes the outputs of a killed job."""
        if self.method == "supervised" and self.epoch == self.training.warm_start_epochs:
            about = {"epoch": self.epoch, "steps": self.steps, "normalisation": self.normalisation, "network": self.network.to_dict()}
            save_state(self.resume / WARM_START, self.net, self.aggregate, self.optimizers, about)

    def _keep_state(self) -> None:
        about = {"stamp": self.mark, "epoch": self.epoch, "rows": self.rows, "timings": self.timings}
        about["best"] = None if self.best is None else [self.best.epoch, self.best.dice]
        weights = None if self.best is None else self.best.weights
        save_state(self.resume / _STATE, self.net, self.aggregate, self.optimizers, about, weights)

    def _predict(self) -> Callable[..., Any]:
        """Images -> maps of the gates, and the seg expert's gland probability as a fifth."""
        self.model.eval()

        @torch.inference_mode()
        def predict(images: Any) -> Any:  # noqa: ANN401  # arrays
            outputs = self.model(torch.from_numpy(images).to(self.device))
            seg_expert = torch.softmax(outputs.experts.seg.float(), 1)[:, 1:]
            return torch.cat([maps_of(outputs), seg_expert], dim=1).cpu().numpy()

        return predict

    def finish(self, validation: TileSource | None, out: Path) -> None:
        """Choose weights, threshold and split parameters, and write the model folder; `model.json` last."""
        before = self._score_foreign(validation)
        if self.best is not None:
            self.net.load_state_dict(self.best.weights)
        if validation is not None:
            choice = scoring.choose(self._predict(), validation, network=self.network, training=self.training, mpp_um=self.mpp_um)
        else:
            note = "no validation: last epoch, threshold 0.5 and default split parameters"
            choice = scoring.Choice(scoring.DEFAULT_THRESHOLD, dict(scoring.DEFAULT_SPLIT), {}, [note])
        choice.warnings.extend(collapsed_gates(self.rows[-1]))
        for warning in choice.warnings:
            log.warning("%s", warning)
        about = {"network": self.network.to_dict(), "normalisation": self.normalisation}
        if (self.resume / WARM_START).is_file():
            write_atomic(out / WARM_START, (self.resume / WARM_START).read_bytes())
        save_tensors(out / WEIGHTS, self.net.state_dict(), about)
        write_atomic(out / "history.csv", to_csv(self.rows, COLUMNS))
        write_atomic(out / "timing.csv", to_csv(self.timings, TIMING_COLUMNS))
        for name in (WARM_START, WEIGHTS, "history.csv", "timing.csv", CARD):  # what a run killed while writing left
            for leftover in out.glob(f".{name}.*.partial"):
                leftover.unlink()
        save_card(out, self._card(choice, validated=validation is not None) | before)

    def _score_foreign(self, validation: TileSource | None) -> dict[str, Any]:
        """What the fine-tuned model scored on validation before: an entry of the card, empty without one."""
        if self.foreign is None or validation is None:
            return {}
        tuned = _copy(self.net)
        _load_foreign(self.foreign, self.net)
        dice = scoring.pixel_dice(self._predict(), validation, channels=(_GATE,), tile_px=self.training.tile_px, batch=self.training.batch)[
            0
        ]
        self.net.load_state_dict(tuned)
        return {"validation_before": {"dice_at_half": dice}}

    def _card(self, choice: scoring.Choice, *, validated: bool) -> dict[str, Any]:
        return {
            "method": self.method,
            "network": self.network.to_dict(),
            "training": self.training.to_dict(),
            "mpp_um": self.mpp_um,
            "tile_px": self.training.tile_px,
            "sdf_um": self.network.sdf_um,
            "sdf_scale": self.network.sdf_scale,
            "normalisation": self.normalisation,
            "threshold": choice.threshold,
            "threshold_from": "validation" if validated else "default",
            "split": choice.split,
            "seed": self.seed,
            "epochs": self.training.epochs,
            "steps_per_epoch": self.steps,
            "best_epoch": self.best.epoch if self.best else self.epoch,
            "validation": choice.scores,
            "warnings": choice.warnings,
            "parameters": count_parameters(self.net),
            "versions": {name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
            "notes": self.notes,
        }


def _statistics(labelled: TileSource) -> dict[str, list[float]]:
    mean, std = image_statistics(labelled)
    return {"mean": mean, "std": std}


def _load_foreign(folder: Path, net: Network) -> None:
    try:
        net.load_state_dict(load_tensors(folder / WEIGHTS)[0])
    except RuntimeError as error:
        raise TrainingError(
            f"start_from {folder}: another network ({str(error).splitlines()[0]}); take the network settings of its {CARD}"
        ) from error


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()}
