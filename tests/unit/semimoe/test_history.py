"""Rows of the log of a run, and warnings about collapsed experts."""

import pytest
import torch

from semimoe.methods.learner import PhaseLoss
from semimoe.settings import NetworkSettings
from semimoe.training.history import COLUMNS, EpochMeans, collapsed_gates, to_csv

UNIFORM = {
    f"gate_{task}_{expert}": 1 / 3
    for task in ("seg", "sdf", "bnd")
    for expert in ("seg", "sdf", "bnd")
}

DISTINCT = {name: {"seg": 0.5, "sdf": 0.3, "bnd": 0.2}[name[-3:]] for name in UNIFORM}


def result(loss, plain, *, gates=None, **counts):
    return PhaseLoss(
        torch.tensor(loss),
        torch.tensor(plain),
        {},
        {k: torch.tensor(v) for k, v in counts.items()},
        gates,
    )


def test_a_row_holds_means_over_the_steps_and_the_unsupervised_share_of_the_plain_losses() -> None:
    means = EpochMeans(NetworkSettings(encoder="unet", experts="separate", width=64))
    for loss in (1.0, 3.0):
        means.add(0, result(loss, 3.0, gates=torch.eye(3)))
        means.add(1, result(0.5, 1.0, pseudo_overlap=6, pseudo_size=10))
    row = means.row(2)
    assert row["loss"] == pytest.approx(2.5)
    assert row["unsup_share"] == pytest.approx(0.25)
    assert row["pseudo_dice"] == pytest.approx(0.6)
    assert (row["gate_sdf_sdf"], row["gate_sdf_bnd"]) == (1.0, 0.0)


def test_a_value_that_does_not_exist_is_an_empty_cell() -> None:
    means = EpochMeans(NetworkSettings(encoder="unet", experts="separate", width=64))
    means.add(0, result(1.0, 1.0))
    line = to_csv([means.row(1)], COLUMNS).splitlines()[1].split(",")
    assert line[COLUMNS.index("pseudo_dice")] == line[COLUMNS.index("unsup_share")] == ""
    assert line[COLUMNS.index("loss")] == "1"


def test_a_warning_names_a_gate_that_uses_one_expert_only() -> None:
    assert collapsed_gates([DISTINCT]) == []
    warnings = collapsed_gates(
        [DISTINCT | {"gate_seg_seg": 0.001, "gate_seg_sdf": 0.003, "gate_seg_bnd": 0.996}]
    )
    assert len(warnings) == 1
    assert "task seg uses the bnd expert only" in warnings[0]


def test_a_warning_names_gates_whose_weights_are_nearly_uniform_for_twenty_epochs() -> None:
    assert len(collapsed_gates([DISTINCT] + [UNIFORM] * 20)) == 3
    assert collapsed_gates([UNIFORM] * 20 + [DISTINCT]) == []
    assert collapsed_gates([UNIFORM] * 10 + [DISTINCT] + [UNIFORM] * 19) == []
    nearly_uniform = UNIFORM | {"gate_sdf_seg": 0.35}
    assert ["task sdf" in warnings for warnings in collapsed_gates([nearly_uniform] * 20)] == [
        False,
        False,
    ]
    assert "for 3 epochs" in collapsed_gates([UNIFORM] * 3)[0]


def test_equal_means_are_no_equal_weights_of_pixels_or_of_balanced_gates() -> None:
    assert collapsed_gates([UNIFORM] * 20, means_hide_weights=True) == []
    one = DISTINCT | {"gate_seg_seg": 0.001, "gate_seg_sdf": 0.003, "gate_seg_bnd": 0.996}
    assert len(collapsed_gates([one], means_hide_weights=True)) == 1


def test_networks_without_gates_or_with_one_expert_get_no_warning() -> None:
    none = dict.fromkeys(UNIFORM)
    assert collapsed_gates([none] * 20) == []
    assert collapsed_gates([none | {"gate_seg_seg": 1.0}] * 20) == []
    two = none | {
        f"gate_{task}_{expert}": 0.5 for task in ("seg", "sdf") for expert in ("seg", "sdf")
    }
    assert len(collapsed_gates([two] * 20)) == 2
