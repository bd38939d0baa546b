"""What the log of a run says."""

import pytest
import torch

from semimoe.history import COLUMNS, EpochMeans, collapsed_gates, to_csv
from semimoe.methods.phase import PhaseLoss

UNIFORM = {f"gate_{task}_{expert}": 1 / 3 for task in ("seg", "sdf", "bnd") for expert in ("seg", "sdf", "bnd")}


def result(loss, plain, *, gates=None, **counts):
    return PhaseLoss(torch.tensor(loss), torch.tensor(plain), {}, {k: torch.tensor(v) for k, v in counts.items()}, gates)


def test_an_epoch_is_the_mean_of_its_steps_and_the_share_that_of_the_plain_losses() -> None:
    means = EpochMeans()
    for loss in (1.0, 3.0):
        means.add(0, result(loss, 3.0, gates=torch.eye(3)))
        means.add(1, result(0.5, 1.0, pseudo_overlap=6, pseudo_size=10))
    row = means.row(2)
    assert row["loss"] == pytest.approx(2.5)
    assert row["unsup_share"] == pytest.approx(0.25)
    assert row["pseudo_dice"] == pytest.approx(0.6)
    assert (row["gate_sdf_sdf"], row["gate_sdf_bnd"]) == (1.0, 0.0)


def test_nothing_to_report_is_an_empty_cell() -> None:
    means = EpochMeans()
    means.add(0, result(1.0, 1.0))
    line = to_csv([means.row(1)], COLUMNS).splitlines()[1].split(",")
    assert line[COLUMNS.index("pseudo_dice")] == line[COLUMNS.index("unsup_share")] == ""
    assert line[COLUMNS.index("loss")] == "1"


def test_a_gate_that_listens_to_one_expert_is_named() -> None:
    assert collapsed_gates(UNIFORM) == []
    said = collapsed_gates(UNIFORM | {"gate_seg_seg": 0.01, "gate_seg_sdf": 0.02, "gate_seg_bnd": 0.97})
    assert len(said) == 1
    assert "task seg listens to the bnd expert alone" in said[0]
