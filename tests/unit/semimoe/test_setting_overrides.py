"""Settings from the command line: types, ranges and error messages."""

import pytest

from semimoe.model_errors import SettingsError
from semimoe.setting_overrides import overridden
from semimoe.settings import NetworkSettings, TrainingSettings


def test_values_are_converted_to_the_types_of_their_settings() -> None:
    overrides = [
        "network.experts=shared", "network.sdf_um=10.5", "training.lr=1e-3",
        "training.max_grad_norm=null", "training.epochs=3", "training.warm_start_epochs=0",
        "training.steps_per_epoch=7",
    ]  # fmt: skip
    network, training = overridden(
        NetworkSettings(encoder="unet", experts="separate", width=64),
        TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32"),
        overrides,
    )
    assert (network.experts, network.sdf_um) == ("shared", 10.5)
    assert (training.lr, training.max_grad_norm, training.epochs, training.steps_per_epoch) == (
        1e-3,
        None,
        3,
        7,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("width=16", "network.KEY=VALUE"),
        ("network.width", "network.KEY=VALUE"),
        ("network.widht=3", r"no such setting \(did you mean network.width\?\)"),
        ("network.epoch=3", r"no such setting \(did you mean training.epochs\?\)"),
        ("network.depth=3", "no such setting; the settings are width"),
        ("network.width=wide", "network.width: .wide.; input should be a valid integer"),
        ("training.batch=2.5", "input should be a valid integer"),
        ("training.lr=true", "training.lr: True"),
        ("training.max_grad_norm=x", "input should be a valid number"),
        ("training.update=three", "input should be 'joint' or 'two-step'"),
        ("training.update=3", "input should be 'joint' or 'two-step'"),
        ("training.batch=0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_override_is_an_error_that_names_the_setting(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        overridden(
            NetworkSettings(encoder="unet", experts="separate", width=64),
            TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32"),
            [override],
        )
