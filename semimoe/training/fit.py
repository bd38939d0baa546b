"""Training: one loop for all methods. A killed run resumes at its last checkpoint."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from semimoe.devices import resolve_precision
from semimoe.model_card import CARD, TrainingNotes
from semimoe.model_errors import TrainingError
from semimoe.training.checkpoints import earlier_checkpoint
from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData
from tiling.raster.file_lock import locked
from tiling.raster.progress import count_progress

if TYPE_CHECKING:
    from torch import Tensor

    from semimoe.objectives.batch import Batch
    from semimoe.training.history import LogRow
    from semimoe.training.recipe import TileSource
    from semimoe.training.training_run import TrainingRun

log = logging.getLogger(__name__)

# Memory for decoded tiles of all sources together: the 85 images of GlaS take 230 MB.
_CACHED_BYTES = 2 * 2**30


def fit(
    data: TrainingData,
    recipe: Recipe,
    *,
    folders: RunFolders,
    resources: RunResources,
    notes: TrainingNotes | None = None,
) -> None:
    """Train a model and write its folder.

    The files are `model.safetensors`, `history.csv`, `timing.csv`, and last `model.json`; also
    `warm_start.safetensors` (weights and optimiser after `training.warm_start_epochs` epochs) if
    other methods continue this one. On the CPU the same arguments give the same bytes (except
    `timing.csv`), even if the run was killed and resumed.

    Parameters
    ----------
    notes : part of `model.json`: checksums of the data, slides left out, licence

    Raises
    ------
    TrainingError
        The folder holds a finished model, there are no labelled tiles, a loss or weight is not
        finite, or `start_from` or `warm_start` does not fit the settings.
    LockError
        Another process trains into the same folder.
    """
    # With several devices, the first process has the lock for all of them.
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    with locked(folders.out) if is_first else nullcontext():
        if is_first and (folders.out / CARD).exists():  # perhaps while this process waited
            raise TrainingError(f"{folders.out}: holds a finished model; name another folder")
        _fit(data, recipe, folders, resources, notes or TrainingNotes())


def _fit(
    data: TrainingData,
    recipe: Recipe,
    folders: RunFolders,
    resources: RunResources,
    notes: TrainingNotes,
) -> None:
    from semimoe.training.finish import finish
    from semimoe.training.start_run import start_run

    method = recipe.method
    if not len(data.labelled):
        raise TrainingError("no labelled tile; at least one annotated region is needed")
    if folders.warm_start and method.starts_from is None:
        raise TrainingError(
            f"{method.name} starts from start_from or random weights;"
            " warm_start is for methods that continue another one"
        )
    if data.validation is not None and not len(data.validation):
        data = data._replace(validation=None)
    data = _cached(data, recipe)
    recipe = _with_resolved_precision(recipe, resources)
    run = start_run(data, recipe, folders=folders, resources=resources, notes=notes)
    if not method.uses_unlabelled or data.unlabelled is None or not len(data.unlabelled):
        data = data._replace(unlabelled=None)
    if method.uses_unlabelled and data.unlabelled is None:
        run.warn("no unlabelled tile was used: only the supervised loss trained this model")
    with run.isolated_random_state():
        try:
            _train(run, data, resources)
        finally:
            run.checkpoints.wait()
        if run.is_main_process:
            finish(run, data.validation, folders.out)
    if run.is_main_process:
        for folder in (folders.checkpoint, earlier_checkpoint(folders.checkpoint)):
            shutil.rmtree(folder, ignore_errors=True)


def _cached(data: TrainingData, recipe: Recipe) -> TrainingData:
    """Sources that decode each tile once, as long as it fits into memory."""
    from semimoe.training.tile_windows import CachedTiles

    most_bytes = _CACHED_BYTES // sum(source is not None for source in data)
    skeleton_roles = {"labelled"} if recipe.network.sdf_scale == "skeleton" else set()
    return data._replace(
        **{
            role: CachedTiles(source, most_bytes, with_skeleton=role in skeleton_roles)
            for role, source in data._asdict().items()
            if source is not None
        }
    )


def _with_resolved_precision(recipe: Recipe, resources: RunResources) -> Recipe:
    """Replace the precision `auto` by that of this machine: the card records what was used."""
    precision = resolve_precision(recipe.training.precision, resources.device)
    training = recipe.training.model_copy(update={"precision": precision})
    return recipe._replace(training=training)


def _train(run: "TrainingRun", data: TrainingData, resources: RunResources) -> None:
    """Train the remaining epochs."""
    from tqdm import tqdm

    from semimoe.training.batch_loader import batches_of_run

    epochs = run.recipe.training.epochs
    if run.epoch >= epochs:
        return
    labelled = batches_of_run(run, data.labelled, "labelled")
    unlabelled = None
    if data.unlabelled is not None:
        unlabelled = batches_of_run(run, data.unlabelled, "unlabelled")
    total, done = epochs * run.steps, run.epoch * run.steps
    with (
        tqdm(
            total=total,
            initial=done,
            desc=run.recipe.method_name,
            unit="step",
            disable=not (resources.progress and run.is_main_process),
            mininterval=1 if sys.stderr.isatty() else 60,
            dynamic_ncols=True,
        ) as bar,
        count_progress("steps", total, done=done) as progress,
    ):

        def count_step() -> None:
            bar.update()
            progress.advance()

        while run.epoch < epochs:
            _train_epoch(run, data, labelled, unlabelled, count_step)
            row = run.end_epoch(data.validation)
            bar.set_postfix(_progress_figures(row), refresh=False)


def _train_epoch(
    run: "TrainingRun",
    data: TrainingData,
    labelled: "Iterator[Batch]",
    unlabelled: "Iterator[Batch] | None",
    count_step: Callable[[], None],
) -> None:
    run.begin_epoch()
    lr = run.recipe.training.lr
    for step in range(run.steps):
        tiles = next(labelled)
        unlabelled_tiles = next(unlabelled) if unlabelled is not None else None
        with _named_tiles(run, data, step):
            run.step(step, tiles, unlabelled_tiles)
        count_step()
    with _named_tiles(run, data, run.steps - 1):
        run.stepper.check()
    if not run.is_finite(tiles):  # no later loss would show it
        raise TrainingError(
            f"epoch {run.epoch + 1}, after step {run.steps}: weights are not finite;"
            f" lower training.lr ({lr})"
        )


@contextmanager
def _named_tiles(run: "TrainingRun", data: TrainingData, step: int) -> Iterator[None]:
    """Name the tiles of a step whose loss or gradient is not finite.

    Parameters
    ----------
    step : latest step of the epoch, 0, 1, ...
    """
    from semimoe.training.unread_values import NotFiniteError

    try:
        yield
    except NotFiniteError as error:
        names = f"labelled tiles {_tile_names(data.labelled, error.tiles.labelled)}"
        if data.unlabelled is not None and error.tiles.unlabelled is not None:
            others = _tile_names(data.unlabelled, error.tiles.unlabelled)
            names += f", unlabelled tiles {others}"
        raise TrainingError(
            f"epoch {run.epoch + 1}, step {step + 1 - error.steps_ago}: {error}, on {names};"
            f" check these tiles, or lower training.lr ({run.recipe.training.lr})"
        ) from error


def _progress_figures(row: "LogRow") -> dict[str, str]:
    figures = {"loss": f"{row['loss']:.3f}"}
    if row["val_dice_gate"] is not None:
        figures["dice"] = f"{row['val_dice_gate']:.3f}"
    return figures


def _tile_names(source: "TileSource", numbers: "Tensor") -> str:
    """Text of the numbers of tiles, with their names if the source has names."""
    name = getattr(source, "name", None)
    texts = [
        str(number) if name is None else f"{number} ({name(number)})" for number in numbers.tolist()
    ]
    return "[" + ", ".join(texts) + "]"
