"""Pseudo-labels of a teacher: where they count, and the exchange of rectangles."""

import pytest
import torch
from learner_steps import TINY_NETWORK, batch, context
from torch import nn

from semimoe.methods import METHODS
from semimoe.methods.learner import Step
from semimoe.networks.mixture import NetworkOutputs, TaskLogits
from semimoe.objectives.losses import Targets
from semimoe.objectives.teacher_targets import (
    PseudoTiles,
    TeacherMaps,
    certain_pixels,
    exchange_rectangles,
    flipped_back,
    glands_of_maps,
    targets_of_maps,
    teacher_maps,
)
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.settings import TrainingSettings
from semimoe.split_choice import default_split


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


def targets_and_counts(views: list[NetworkOutputs]) -> tuple[Targets, torch.Tensor]:
    maps = teacher_maps(views)
    return targets_of_maps(maps), certain_pixels(maps, views)


def test_two_glands_of_one_certain_mask_are_separated_by_the_distance() -> None:
    gland = torch.zeros(1, 32, 64)
    gland[:, 4:28, 4:60] = 0.95
    sdf = torch.full((1, 1, 32, 64), -0.2)
    sdf[:, :, 4:28, 4:60] = 0.5
    sdf[:, :, 4:28, 31:33] = 0.05  # between the glands: 1 um from an outline
    split = default_split("depth", sdf_um=20.0)
    parameters = split.parameters(threshold=0.5, min_area_um2=100.0, sdf_um=20.0, use_sdf=True)
    maps = TeacherMaps(gland, sdf, torch.zeros(1, 32, 64))
    (labels,) = glands_of_maps(maps, mpp_um=1.0, parameters=parameters)
    assert labels.max() == 2
    assert ((labels > 0) == (gland[0] > 0).numpy()).all()
    assert (labels[16, :30] <= 1).all()
    assert (labels[16, 34:60] == 2).all()


def test_pseudo_labels_count_where_the_teacher_is_certain_and_agrees_with_its_experts() -> None:
    # log-odds 3 have the probability .953, log-odds 2 only .881
    view = outputs(gate=[3, -3, 2, 3, 3], expert=[1, -1, 1, -1, 1], distance=[1, -1, 1, 1, -1])
    targets, counts = targets_and_counts([view])
    assert targets.mask.tolist() == [[[1, 0, 1, 1, 1]]]
    assert counts.tolist() == [[[True, True, False, False, False]]]
    torch.testing.assert_close(targets.sdf, torch.tanh(torch.tensor([[[[1.0, -1, 1, 1, -1]]]])))


def test_the_mean_of_a_view_and_its_flip_is_taken_on_the_pixels_of_the_image() -> None:
    view = outputs(gate=[4, -4, 4], expert=[4, -4, 4], distance=[1, -1, 0.5])
    flipped = NetworkOutputs(
        *(TaskLogits(*(part.flip((2, 3)) for part in side)) for side in view[:2]), None
    )
    once, counts = targets_and_counts([view])
    twice, counts_of_both = targets_and_counts([view, flipped_back(flipped, (2, 3))])
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


def test_targets_of_glands_have_a_line_between_them_and_small_objects_do_not_count() -> None:
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)  # two equal tiles: mixing has no effect
    mask[:, :, 2:30, 2:30] = True
    mask[:, :, 0, 31] = True  # 1 um2, the least area is 20
    odds = torch.where(mask, 9.0, -9.0)
    distance = torch.where(mask, 0.5, -0.2)
    distance[:, :, 2:30, 15:17] = 0.05
    no_boundary = torch.cat([torch.full_like(odds, 9.0), torch.full_like(odds, -9.0)], 1)
    logits = TaskLogits(torch.cat([-odds, odds], 1), distance.atanh(), no_boundary)
    teacher = {"pseudo": "teacher-glands", "ema_decay": 0.9}
    learner = METHODS["semimoe"].load_learner()(context(**teacher))
    learner.start_average()
    unlabelled = batch(1, labelled=False)

    def forward(network: nn.Module, images: torch.Tensor) -> NetworkOutputs:
        view = NetworkOutputs(logits, logits, None)
        return view if torch.equal(images, unlabelled.image) else flipped_back(view, (2, 3))

    step = Step(forward, unlabelled, unlabelled, torch.tensor(0.5))
    labelled = learner.labelled_before_division(step, most_tiles=2).unlabelled
    assert labelled is not None
    assert labelled.targets is not None
    assert labelled.targets.boundary[0, 4:28, 13:19].any(1).all()
    sdf = labelled.targets.sdf[0, 0] * TINY_NETWORK.sdf_um
    assert sdf[16].max() < 8  # the half of 14 px, not of 28 px
    assert 0 < sdf[16, 13:19].min() < 1
    assert (labelled.weight == 0).sum() == 2


def test_only_the_masks_of_expert_and_gate_learn_the_mask_of_the_teacher() -> None:
    training = {"pseudo": "teacher-mask", "ema_decay": 0.9, "unsup_schedule": "ramp"}
    learner = METHODS["semimoe"].load_learner()(context(**training, unsup_max=0.5))
    learner.start_average()
    unlabelled = batch(1, labelled=False)
    count, _, height, width = unlabelled.image.shape
    odds = torch.full((count, 1, height, width), -9.0)
    odds[:, :, : height // 4] = 9.0
    odds[:, :, height // 2 :] = 2.0  # the teacher is not certain
    distance = torch.where(odds > 0, 0.5, -0.5)
    certain = TaskLogits(two_classes_of(odds), distance, two_classes_of(odds))

    def student_logits(seg_odds: float) -> TaskLogits:
        parts = (
            two_classes_of(torch.full_like(odds, seg_odds)),
            distance.clone(),
            two_classes_of(odds),
        )
        return TaskLogits(*(part.requires_grad_() for part in parts))

    experts, gates = student_logits(1.0), student_logits(-2.0)

    def forward(network: nn.Module, images: torch.Tensor) -> NetworkOutputs:
        if network is learner.network:
            return NetworkOutputs(experts, gates, None)
        view = NetworkOutputs(certain, certain, None)
        return view if torch.equal(images, unlabelled.image) else flipped_back(view, (2, 3))

    result = learner.unsupervised_phase(Step(forward, unlabelled, unlabelled, torch.tensor(0.5)))
    error = torch.nn.functional.softplus  # cross-entropy of log-odds: softplus(-odds) for glands
    of_expert = error(torch.tensor(-1.0)) + error(torch.tensor(1.0))
    of_gate = error(torch.tensor(2.0)) + error(torch.tensor(-2.0))
    # A quarter of the pixels is certainly gland, a quarter certainly not.
    mean = (of_expert + of_gate) / 2 / 4
    torch.testing.assert_close(result.log["unsup_seg"], mean)
    torch.testing.assert_close(result.loss, 0.5 * mean)
    result.loss.backward()
    for logits in (experts, gates):
        assert logits.seg.grad is not None
        assert (logits.seg.grad[:, :, : height // 2] != 0).all()
        assert (logits.seg.grad[:, :, height // 2 :] == 0).all()
        assert logits.sdf.grad is None
        assert logits.bnd.grad is None
    assert learner.aggregate.s.grad is None


def two_classes_of(odds: torch.Tensor) -> torch.Tensor:
    """Logits (B, 2, H, W) with these log-odds (B, 1, H, W)."""
    return torch.cat([-odds / 2, odds / 2], 1)
