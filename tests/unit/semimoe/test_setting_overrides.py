"""Settings from the command line: typed, ranged, and named when wrong."""

import pytest

from semimoe.model_errors import SettingsError
from semimoe.setting_overrides import overridden
from semimoe.settings import NetworkSettings, TrainingSettings


def test_values_arrive_with_their_types() -> None:
    given = ["network.experts=shared", "network.sdf_um=10.5", "training.lr=1e-3", "training.max_grad_norm=null", "training.epochs=3",
             "training.warm_start_epochs=0", "training.steps_per_epoch=7"]  # fmt: skip
    network, training = overridden(
        NetworkSettings(encoder="unet", experts="separate", width=64),
        TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32"),
        given,
    )
    assert (network.experts, network.sdf_um) == ("shared", 10.5)
    assert (training.lr, training.max_grad_norm, training.epochs, training.steps_per_epoch) == (
        1e-3,
        None,
        3,
        7,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("width=16", "network.KEY=VALUE"),
        ("network.width", "network.KEY=VALUE"),
        ("network.depth=3", "no such setting; there are width"),
        ("network.width=wide", "network.width: .wide.; input should be a valid integer"),
        ("training.batch=2.5", "input should be a valid integer"),
        ("training.lr=true", "training.lr: True"),
        ("training.max_grad_norm=x", "input should be a valid number"),
        ("training.update=three", "input should be 'joint' or 'two-step'"),
        ("training.update=3", "input should be 'joint' or 'two-step'"),
        ("training.batch=0", "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        overridden(
            NetworkSettings(encoder="unet", experts="separate", width=64),
            TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32"),
            [given],
        )
