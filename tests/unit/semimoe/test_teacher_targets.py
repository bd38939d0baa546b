"""Pseudo-labels of a teacher: where they count, and the exchange of rectangles."""

import pytest
import torch

from semimoe.networks.mixture import NetworkOutputs, TaskLogits
from semimoe.objectives.losses import Targets
from semimoe.objectives.teacher_targets import (
    PseudoTiles,
    exchange_rectangles,
    flipped_back,
    teacher_targets,
)
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.settings import TrainingSettings


def outputs(gate, expert, distance) -> NetworkOutputs:
    """Outputs of a tile of 1 x n px with the log-odds of gate and expert."""

    def two_classes(values) -> torch.Tensor:
        odds = torch.tensor([[values]], dtype=torch.float32)  # (1, 1, n)
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    sdf = torch.tensor([[[distance]]], dtype=torch.float32)
    return NetworkOutputs(
        TaskLogits(two_classes(expert), sdf, two_classes(expert)),
        TaskLogits(two_classes(gate), sdf, two_classes(gate)),
        None,
    )


def test_pseudo_labels_count_where_the_teacher_is_certain_and_agrees_with_its_experts() -> None:
    # log-odds 3 have the probability .953, log-odds 2 only .881
    view = outputs(gate=[3, -3, 2, 3, 3], expert=[1, -1, 1, -1, 1], distance=[1, -1, 1, 1, -1])
    targets, counts = teacher_targets([view])
    assert targets.mask.tolist() == [[[1, 0, 1, 1, 1]]]
    assert counts.tolist() == [[[True, True, False, False, False]]]
    torch.testing.assert_close(targets.sdf, torch.tanh(torch.tensor([[[[1.0, -1, 1, 1, -1]]]])))


def test_the_mean_of_a_view_and_its_flip_is_taken_on_the_pixels_of_the_image() -> None:
    view = outputs(gate=[4, -4, 4], expert=[4, -4, 4], distance=[1, -1, 0.5])
    flipped = NetworkOutputs(
        *(TaskLogits(*(part.flip((2, 3)) for part in side)) for side in view[:2]), None
    )
    once, counts = teacher_targets([view])
    twice, counts_of_both = teacher_targets([view, flipped_back(flipped, (2, 3))])
    assert torch.equal(counts, counts_of_both)
    for one, both in zip(once, twice, strict=True):
        torch.testing.assert_close(one, both)


def test_image_pseudo_label_and_weight_of_a_rectangle_come_from_one_tile() -> None:
    torch.manual_seed(0)
    numbers = torch.arange(1, 5)
    planes = numbers[:, None, None].expand(4, 32, 32)
    tiles = PseudoTiles(
        planes[:, None].expand(4, 3, 32, 32).to(torch.uint8),
        Targets(planes, planes[:, None].float(), planes),
        planes.float(),
        planes,
        planes.to(torch.uint8),
    )
    mixed = exchange_rectangles(tiles)
    for number in range(4):
        values = mixed.image[number, 0].long()
        own, other = numbers[number], numbers[number - 1]
        assert set(values.unique().tolist()) == {int(own), int(other)}
        area = (values == other).float().mean().item()
        assert 0.05 < area < 0.45
        rows = (values == other).any(1).sum() * (values == other).any(0).sum()
        assert rows == (values == other).sum()  # a rectangle
        parts = (mixed.targets.mask, mixed.targets.sdf[:, 0], mixed.weight)
        for part in (*parts, mixed.truth, mixed.truth_weight):
            assert torch.equal(part[number].long(), values)


def test_the_weight_of_the_ramp_is_reached_after_a_tenth_of_the_schedule() -> None:
    training = TrainingSettings(unsup_schedule="ramp", unsup_max=2.0)
    weights = [float(unsupervised_weight(torch.tensor(t), training)) for t in (0, 0.05, 0.1, 0.9)]
    assert weights == pytest.approx([0, 1, 2, 2])
