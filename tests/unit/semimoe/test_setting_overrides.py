"""Settings from the command line: typed, ranged, and named when wrong."""

import pytest

from semimoe.model_errors import SettingsError
from semimoe.setting_overrides import overridden
from semimoe.settings import NetworkSettings, TrainingSettings


def test_values_arrive_with_their_types() -> None:
    given = ["network.experts=shared", "network.sdf_um=10", "training.lr=1e-3", "training.max_grad_norm=null", "training.epochs=3",
             "training.warm_start_epochs=0", "training.steps_per_epoch=7"]  # fmt: skip
    network, training = overridden(NetworkSettings(), TrainingSettings(), given)
    assert (network.experts, network.sdf_um) == ("shared", 10.0)
    assert isinstance(network.sdf_um, float)
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
        ("network.width=wide", "int is needed"),
        ("training.batch=2.5", "int is needed"),
        ("training.lr=true", "float is needed"),
        ("training.max_grad_norm=x", "float or null is needed"),
        ("training.update=three", "one of joint, two-step"),
        ("training.update=3", "one of joint, two-step"),
        ("training.batch=0", "at least 1"),
    ],
)
def test_what_is_wrong_is_named(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        overridden(NetworkSettings(), TrainingSettings(), [given])
