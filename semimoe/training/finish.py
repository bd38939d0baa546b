"""How a run ends: what is chosen on validation, and the model folder."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semimoe.datasets.lineage import of_teachers
from semimoe.networks.mixture import count_parameters
from semimoe.tensor_files import CARD, WARM_START, WEIGHTS, save_card, save_tensors
from semimoe.training import validation as scoring
from semimoe.training.batches import TileSource
from semimoe.training.checkpoints import load_foreign
from semimoe.training.history import COLUMNS, TIMING_COLUMNS, collapsed_gates, to_csv
from semimoe.training.training_run import GATE, Run, copied
from tiling.raster.atomic_files import remove_partial_files, write_atomic

log = logging.getLogger(__name__)


def finish(run: Run, validation: TileSource | None, out: Path) -> None:
    """Choose weights, threshold and split parameters, and write the model folder; `model.json` last."""
    before = _score_foreign(run, validation)
    if run.best is not None:
        run.net.load_state_dict(run.best.weights)
    if validation is not None:
        log.info("choosing threshold and split parameters on %d validation images", len(validation))
        choice = scoring.choose(
            [(run.predict(), validation)],
            network=run.network,
            training=run.training,
            mpp_um=run.mpp_um,
        )
    else:
        note = "no validation: last epoch, threshold 0.5 and default split parameters"
        # Distances end at sdf_um: no seed would be as deep as that.
        depth_um = min(scoring.DEFAULT_SPLIT["seed_depth_um"], run.network.sdf_um / 2)
        choice = scoring.Choice(
            scoring.DEFAULT_THRESHOLD,
            scoring.DEFAULT_SPLIT | {"seed_depth_um": depth_um},
            {},
            [note],
        )
    choice.warnings.extend(collapsed_gates(run.rows))
    for warning in choice.warnings:
        log.warning("%s", warning)
    about = {"network": run.network.to_dict(), "normalisation": run.normalisation}
    if (run.resume / WARM_START).is_file():
        write_atomic(out / WARM_START, (run.resume / WARM_START).read_bytes())
    save_tensors(out / WEIGHTS, run.net.state_dict(), about)
    write_atomic(out / "history.csv", to_csv(run.rows, COLUMNS))
    write_atomic(out / "timing.csv", to_csv(run.timings, TIMING_COLUMNS))
    for name in (WARM_START, WEIGHTS, "history.csv", "timing.csv", CARD):
        remove_partial_files(out / name)
    save_card(out, _card(run, choice, validated=validation is not None) | before)
    told = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}" for name, value in choice.scores.items()
    )
    log.info("%s: threshold %g; on validation: %s", out, choice.threshold, told or "not measured")


def _score_foreign(run: Run, validation: TileSource | None) -> dict[str, Any]:
    """What the fine-tuned model scored on validation before: an entry of the card, empty without one."""
    if run.foreign is None or validation is None:
        return {}
    tuned = copied(run.net)
    load_foreign(run.foreign.folder, run.net)
    tile_px, batch = run.training.tile_px, run.training.batch
    (dice,) = scoring.pixel_dice(
        run.predict(), validation, channels=(GATE,), tile_px=tile_px, batch=batch
    )
    run.net.load_state_dict(tuned)
    return {
        "validation_before": {
            "dice_at_half": dice,
            "tuned_dice_at_half": run.best.dice if run.best else None,
        }
    }


def _card(run: Run, choice: scoring.Choice, *, validated: bool) -> dict[str, Any]:
    return {
        "method": run.method,
        "network": run.network.to_dict(),
        "training": run.training.to_dict(),
        "mpp_um": run.mpp_um,
        "tile_px": run.training.tile_px,
        "sdf_um": run.network.sdf_um,
        "sdf_scale": run.network.sdf_scale if "sdf" in run.network.experts_of else "none",
        "normalisation": run.normalisation,
        "threshold": choice.threshold,
        "threshold_from": "validation" if validated else "default",
        "split": choice.split,
        "seed": run.seed,
        "epochs": run.training.epochs,
        "steps_per_epoch": run.steps,
        "best_epoch": run.best.epoch if run.best else run.epoch,
        "validation": choice.scores,
        "warnings": run.warnings + choice.warnings,
        "micro_batch": run.stepper.micro_batch,
        "devices": run.fabric.world_size,
        "parameters": count_parameters(run.net),
        "versions": {name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
        "notes": run.notes | _inherited(run),
    }


def _inherited(run: Run) -> dict[str, Any]:
    """The licence of a model's data goes with every model made from it."""
    if run.foreign is None:
        return {}
    licences = (run.foreign.card.get("notes", {}).get("licence"), run.notes.get("licence"))
    licence = "; ".join(dict.fromkeys(text for text in licences if text))
    taught = of_teachers([{"notes": {"known": run.notes.get("known", {})}}, run.foreign.card])
    return {
        "start_from": str(run.foreign.folder),
        **taught,
        **({"licence": licence} if licence else {}),
    }
