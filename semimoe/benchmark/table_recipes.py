"""Recipes of the table: what all its rows have in common."""

from dataclasses import dataclass

from semimoe.settings import Device


@dataclass(frozen=True)
class TableRecipe:
    """Preset, settings and resolution of all rows of a table.

    Attributes
    ----------
    preset : see `semimoe.presets`
    settings : what differs from the preset, `GROUP.KEY=VALUE`
    work_mpp_um : pixel size of the network input, um; None: images are resized to a square
    """

    description: str
    preset: str
    settings: tuple[str, ...]
    work_mpp_um: float | None = None


_SMALL_NETWORK = (
    "network.width=16",
    "network.encoder=efficientnet-lite0",
    "network.experts=shared",
    "training.steps_per_epoch=50",
    "training.augment=scanners",
    # The teacher of Mean Teacher is a moving average: without this, it alone would have one.
    "training.ema_decay=0.99",
    "training.precision=bf16",
)
_WORK_MPP_UM = 1.24

TABLE_RECIPES = {
    "quick": TableRecipe(
        "3 to 12 minutes for each training on one core (cross-teaching: 20), at a lower resolution;"
        " compares rows, but scores are below those of other recipes",
        "default",
        (
            *_SMALL_NETWORK,
            "training.mask_loss=dice+ce",
            "training.sdf_loss=l1",
            "training.tile_px=160",
            "training.batch=4",
            "training.epochs=12",
            "training.validate_every=12",
            "training.frozen_stages=2",
        ),
        2.0,
    ),
    "cpu": TableRecipe(
        "3 to 40 minutes for each training on one core: a small width and an encoder pretrained"
        " on ImageNet, not the paper's network",
        "default",
        (
            *_SMALL_NETWORK,
            "training.tile_px=256",
            "training.batch=4",
            "training.epochs=10",
            # Once, at the end: with sixteen images, the best of a few epochs is found by chance.
            "training.validate_every=10",
            "training.frozen_stages=2",
        ),
        _WORK_MPP_UM,
    ),
    "default": TableRecipe(
        "the same network with a longer schedule: minutes on a GPU, hours on a CPU",
        "default",
        (*_SMALL_NETWORK, "training.epochs=60"),
        _WORK_MPP_UM,
    ),
    "paper": TableRecipe("the text of the paper", "paper", ("training.precision=bf16",)),
    "paper-crag": TableRecipe(
        "the text of the paper for CRAG", "paper-crag", ("training.precision=bf16",)
    ),
    "public-code": TableRecipe(
        "the public code of the paper", "public-code", ("training.precision=bf16",)
    ),
}


def default_recipe(device: Device) -> str:
    """The recipe that is taken without a choice: trainings of minutes on each device.

    >>> default_recipe("cpu"), default_recipe("gpu")
    ('quick', 'default')
    """
    return "default" if device == "gpu" else "quick"
