"""Fixtures of several tests that train models."""

import pytest
from disc_pictures import Discs


@pytest.fixture
def discs() -> type[Discs]:
    return Discs


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory):
    """Model folders: a supervised run, Semi-MoE that continues it, and a plain U-Net."""
    from short_runs import LEARNING, train

    base = tmp_path_factory.mktemp("trained_models")
    supervised = train(
        "supervised",
        base / "supervised",
        Discs(6, 48),
        None,
        Discs(2, 90, seed=9),
        training=LEARNING,
    )
    semimoe = train(
        "semimoe",
        base / "semimoe",
        Discs(6, 48),
        Discs(10, 48, seed=5),
        Discs(2, 90, seed=9),
        training=LEARNING,
        warm_start=supervised,
        notes={"licence": "synthetic"},
    )
    unet = train("unet", base / "unet", Discs(6, 48), None, Discs(2, 90, seed=9), training=LEARNING)
    return {"supervised": supervised, "semimoe": semimoe, "unet": unet}
