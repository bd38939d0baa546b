"""Training: one loop for all methods, resumable at every epoch."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semimoe.model_errors import TrainingError
from semimoe.settings import METHODS, Method, NetworkSettings, TrainingSettings

if TYPE_CHECKING:
    from semimoe.training.batches import Batch, TileSource
    from semimoe.training.training_run import Run

log = logging.getLogger(__name__)

_WORKERS = 8


def fit(
    method: Method,
    labelled: "TileSource",
    unlabelled: "TileSource | None",
    validation: "TileSource | None",
    *,
    network: NetworkSettings,
    training: TrainingSettings,
    mpp_um: float,
    seed: int,
    device: Literal["cpu", "gpu"],
    threads: int,
    devices: int = 1,
    out: Path,
    resume: Path,
    start_from: Path | None = None,
    warm_start: Path | None = None,
    notes: dict[str, Any] | None = None,
    progress: bool = True,
) -> None:
    """Train a model and write its folder: `model.safetensors`, `history.csv`, `timing.csv`, and last `model.json`.

    A supervised run also writes `warm_start.safetensors`: weights and optimiser after `training.warm_start_epochs` epochs.
    On the CPU the same arguments give the same bytes (`timing.csv` apart), whether or not the run was killed in between.

    Parameters
    ----------
    method : semimoe, supervised (the same network, L_sup only), or unet (a plain U-Net); the last two do not read `unlabelled`,
        but its number of tiles counts for the steps of an epoch, so that rows of one table have had the same steps
    labelled : tiles with labels; only pixels of weight 1 count
    unlabelled : tiles without; labels they happen to carry are logged against, never trained on. None: L_sup only
    validation : images with labels, of any size. None: last epoch, threshold 0.5
    mpp_um : pixel size of all of them, um
    devices : processes that share every batch, one GPU each; the other ones run this program's command line again
    out : model folder; only the files named above are replaced
    resume : where the state of the last finished epoch is kept until the run ends
    start_from : folder of a foreign model to fine-tune: all epochs, a tenth of the learning rate
    warm_start : folder of a supervised run of the same settings: go on from its warm start, in the middle of the same schedule
    notes : goes into `model.json` (data fingerprints, slides left out, licence)

    Raises
    ------
    TrainingError
        No labelled tiles, a loss or weights that are not finite, or a start that does not fit.
    """
    from semimoe.training.finish import finish
    from semimoe.training.training_run import Run

    if method not in METHODS:
        raise TrainingError(f"method {method!r}; one of {', '.join(METHODS)} is needed")
    if not len(labelled):
        raise TrainingError("no labelled tile; at least one annotated region is needed")
    if warm_start and method != "semimoe":
        raise TrainingError(
            f"a {method} run takes start_from or nothing; warm_start is for the methods that branch off it"
        )
    if validation is not None and not len(validation):
        validation = None
    run = Run.start(
        method,
        labelled,
        unlabelled,
        validation,
        network=network,
        training=training,
        mpp_um=mpp_um,
        seed=seed,
        device=device,
        devices=devices,
        threads=threads,
        resume=resume,
        start_from=start_from,
        warm_start=warm_start,
        notes=notes or {},
    )
    if method != "semimoe" or unlabelled is None or not len(unlabelled):
        unlabelled = None
    if method == "semimoe" and unlabelled is None:
        run.warn("no unlabelled tile was used: this model is the supervised one by another name")
    workers = 0 if device == "cpu" else max(1, min(threads - 1, _WORKERS))
    with run.seeded():
        _train(
            run, labelled, unlabelled, validation, workers=workers, progress=progress and run.chief
        )
        if run.chief:
            finish(run, validation, out)
    if run.chief:
        shutil.rmtree(resume, ignore_errors=True)


def _train(
    run: "Run",
    labelled: "TileSource",
    unlabelled: "TileSource | None",
    validation: "TileSource | None",
    *,
    workers: int,
    progress: bool,
) -> None:
    """The epochs that are left."""
    from tqdm import tqdm

    from semimoe.training.batches import batches
    from semimoe.training.optimiser_step import NotFiniteError

    def stream(source: "TileSource", role: Literal["labelled", "unlabelled"]) -> "Iterator[Batch]":
        return batches(
            source,
            role=role,
            steps=run.steps,
            first_epoch=run.epoch,
            network=run.network,
            training=run.training,
            mpp_um=run.mpp_um,
            seed=run.seed,
            workers=workers,
            part=(run.fabric.global_rank, run.fabric.world_size),
        )

    with tqdm(
        total=run.training.epochs * run.steps,
        initial=run.epoch * run.steps,
        desc=run.method,
        unit="step",
        disable=not progress,
        mininterval=1 if _on_terminal() else 60,
        dynamic_ncols=True,
    ) as bar:
        if run.epoch >= run.training.epochs:
            return
        labelled_batches = stream(labelled, "labelled")
        unlabelled_batches = stream(unlabelled, "unlabelled") if unlabelled is not None else None
        while run.epoch < run.training.epochs:
            run.begin_epoch()
            for step in range(run.steps):
                tiles = next(labelled_batches)
                others = next(unlabelled_batches) if unlabelled_batches is not None else None
                try:
                    run.step(step, tiles, others)
                except NotFiniteError as error:
                    seen = f"labelled tiles {_named(labelled, tiles)}"
                    if unlabelled is not None and others is not None:
                        seen += f", unlabelled tiles {_named(unlabelled, others)}"
                    where = f"epoch {run.epoch + 1}, step {step + 1}"
                    raise TrainingError(
                        f"{where}: {error}, on {seen}; look at them, or lower training.lr ({run.training.lr})"
                    ) from error
                bar.update()
            if not run.sound(tiles):  # after the last step no loss tells any more
                where = f"epoch {run.epoch + 1}, after step {run.steps}"
                raise TrainingError(
                    f"{where}: the weights have left all bounds; lower training.lr ({run.training.lr})"
                )
            row = run.end_epoch(validation)
            shown = {"loss": f"{row['loss']:.3f}"}
            if row["val_dice_gate"] is not None:
                shown["dice"] = f"{row['val_dice_gate']:.3f}"
            bar.set_postfix(shown, refresh=False)


def _named(source: "TileSource", batch: "Batch") -> str:
    """Numbers of tiles, and their names where the source has them."""
    name = getattr(source, "name", None)
    return (
        "["
        + ", ".join(
            str(number) if name is None else f"{number} ({name(number)})"
            for number in batch.numbers.tolist()
        )
        + "]"
    )


def _on_terminal() -> bool:
    import sys

    return sys.stderr.isatty()
