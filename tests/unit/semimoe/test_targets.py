"""Targets of shapes whose distances can be calculated directly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semimoe.objectives.device_targets import make_device_targets
from semimoe.objectives.losses import Targets
from semimoe.objectives.skeleton_distance import skeleton_distance
from semimoe.objectives.targets import make_targets
from semimoe.settings import NetworkSettings

UM = NetworkSettings(encoder="unet", experts="separate", width=4, sdf_um=10)
TILE = NetworkSettings(encoder="unet", experts="separate", width=4, sdf_scale="tile")


def targets(labels, weight=None, *, network=UM, mpp_um=1.0):
    labels = np.asarray(labels, np.int32)
    weight = np.ones(labels.shape, np.uint8) if weight is None else np.asarray(weight, np.uint8)
    return make_targets(labels, weight, mpp_um=mpp_um, network=network)


def brute_force_um(labels, weight, *, sdf_um):
    """Distance to the nearest annotated pixel of another class or gland, minus half a pixel."""
    points = list(np.ndindex(labels.shape))
    sdf = np.zeros(labels.shape)
    for y, x in points:
        own = labels[y, x]
        others = [
            (v, u)
            for v, u in points
            if weight[v, u] and (labels[v, u] != own if own else labels[v, u] > 0)
        ]
        distance = min((np.hypot(v - y, u - x) - 0.5 for v, u in others), default=np.inf)
        sdf[y, x] = np.clip((distance if own else -distance) / sdf_um, -1, 1)
    return sdf


def test_distances_are_in_um_and_measured_from_the_pixel_edges_of_the_outline() -> None:
    row = [[0, 0, 0, 1, 1, 1, 1, 1, 0, 0]] * 3
    np.testing.assert_allclose(
        targets(row, mpp_um=2.0).sdf[1] * 10, [-5, -3, -1, 1, 3, 5, 3, 1, -1, -3], rtol=1e-6
    )


def test_touching_glands_have_distances_to_each_other_and_a_boundary_between_them() -> None:
    row = [[1, 1, 1, 1, 2, 2, 2, 2]] * 3
    result = targets(row)
    np.testing.assert_allclose(
        result.sdf[1] * 10, [3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5], rtol=1e-6
    )
    assert result.boundary.tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]] * 3
    outer = targets(
        row,
        network=NetworkSettings(
            encoder="unet", experts="separate", width=4, boundary="outer", sdf_um=10
        ),
    )
    assert outer.boundary.sum() == 0
    assert (outer.sdf == 1).all()


def test_the_boundary_is_a_ring_of_two_pixels_around_a_gland() -> None:
    labels = np.zeros((7, 7))
    labels[3, 3] = 1
    ring = targets(labels).boundary
    y, x = np.mgrid[-3:4, -3:4]
    np.testing.assert_array_equal(ring, (y * y + x * x <= 4) & (y * y + x * x > 0))


@pytest.mark.parametrize("network", [UM, TILE])
@pytest.mark.parametrize("value", [0, 1])
def test_a_tile_of_gland_only_or_background_only_has_an_extreme_distance_and_no_boundary(
    network, value
) -> None:
    result = targets(np.full((5, 6), value), network=network)
    assert (result.mask == value).all()
    assert (result.sdf == (1 if value else -1)).all()
    assert not result.boundary.any()


def test_a_gland_has_no_outline_at_the_edge_of_the_tile() -> None:
    result = targets([[1, 1, 1, 1, 1, 0, 0]] * 5)
    assert result.sdf[2, 0] == pytest.approx(0.45)
    assert not result.boundary[:, :5].any()


def test_pixels_that_are_not_annotated_are_not_background() -> None:
    # The two columns at the left are not annotated: the gland may continue there.
    result = targets([[0, 0, 1, 1, 1, 1, 0]] * 5, [[0, 0, 1, 1, 1, 1, 1]] * 5)
    assert result.sdf[2, 2:6] == pytest.approx([0.35, 0.25, 0.15, 0.05])
    assert result.boundary[2].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_distances_with_the_tile_scale_are_one_at_the_deepest_pixel_and_zero_at_the_outline() -> (
    None
):
    sdf = targets([[0, 0, 0, 1, 1, 1, 1, 1]] * 3, network=TILE).sdf[1]
    np.testing.assert_allclose(sdf, [-1, -2 / 3, -1 / 3, 0, 2 / 5, 3 / 5, 4 / 5, 1], rtol=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.int32, (6, 8), elements=st.integers(0, 2)),
    arrays(np.uint8, (6, 8), elements=st.just(1)),
)
def test_distances_equal_those_of_a_brute_force_search(labels, weight) -> None:
    np.testing.assert_allclose(
        targets(labels, weight).sdf, brute_force_um(labels, weight, sdf_um=10), atol=1e-6
    )


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int32, (6, 8), elements=st.integers(0, 2)),
    arrays(np.uint8, (6, 8), elements=st.integers(0, 1)),
)
def test_labels_outside_the_annotated_area_do_not_change_targets_inside(labels, weight) -> None:
    other = np.where(weight > 0, labels, 2 - labels).astype(np.int32)
    pairs = zip(targets(labels, weight), targets(other, weight), strict=True)
    for first, second in pairs:
        np.testing.assert_array_equal(first[weight > 0], second[weight > 0])


def test_the_skeleton_distance_of_a_bar_is_that_from_its_middle_line() -> None:
    labels = np.zeros((60, 140), np.int32)
    labels[20:41, 20:121] = 1  # 21 px thick: the skeleton lies in row 30
    labels[45:50, 60:64] = 2
    values = skeleton_distance(labels)
    assert not values[labels == 0].any()
    column = values[20:41, 70] / 255
    share = (10.5 - np.abs(np.arange(21) - 10)) / 10.5
    np.testing.assert_allclose(column, share**0.8, atol=0.06)
    assert column[10] == 1
    assert values[labels == 2].max() == 255  # a small gland has a skeleton, too


def test_the_skeleton_of_a_gland_that_the_image_cuts_has_no_branch_to_its_corners() -> None:
    labels = np.zeros((61, 80), np.int32)
    labels[20:41, :60] = 1
    values = skeleton_distance(labels)
    np.testing.assert_array_equal(values[30, :45], 255)
    assert values[25, :45].max() < 200


def test_touching_glands_have_their_own_skeletons() -> None:
    labels = np.repeat([[1] * 20 + [2] * 20], 60, axis=0).astype(np.int32)
    middle = skeleton_distance(labels)[30]
    assert middle[[19, 20]].max() < 40
    assert middle[:20].max() == middle[20:].max() == 255


def test_inside_glands_the_target_is_the_skeleton_distance() -> None:
    labels = np.zeros((1, 30, 40), np.int32)
    labels[0, 10:20, 5:30] = 1
    network = UM.model_copy(update={"sdf_scale": "skeleton"})
    inside, outside = torch.tensor(labels > 0), torch.tensor(labels == 0)
    skeleton = torch.rand(1, 30, 40)
    plain = Targets(*(torch.from_numpy(part)[None] for part in targets(labels[0])))
    plain = plain._replace(sdf=plain.sdf[:, None])
    result = Targets(
        *(torch.from_numpy(part)[None] for part in targets(labels[0], network=network))
    )
    result = result._replace(sdf=result.sdf[:, None]).with_skeleton_distance(skeleton)
    torch.testing.assert_close(result.sdf[:, 0][inside], skeleton[inside])
    torch.testing.assert_close(result.sdf[:, 0][outside], plain.sdf[:, 0][outside])


def blocks(rng, shape, *, side: int, numbers: int):
    """Two arrays of squares with random numbers."""
    height, width = shape
    values = rng.integers(0, numbers, (2, height // side + 1, width // side + 1))
    return np.kron(values, np.ones((1, side, side), int))[:, :height, :width]


def device_targets(labels, weight, network):
    """Targets by the operations of a GPU, here on the CPU."""
    labels = torch.from_numpy(labels.astype(np.int32))
    weight = torch.from_numpy(weight.astype(np.uint8))
    result = make_device_targets(labels, weight, mpp_um=0.7, network=network)
    return result.mask.numpy(), result.sdf[:, 0].numpy(), result.boundary.numpy()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(
    "changes",
    [{}, {"sdf_um": 7}, {"sdf_scale": "tile"}, {"boundary": "outer"}],
    ids=["um", "saturated", "tile", "outer"],
)
def test_the_targets_of_a_gpu_are_those_of_the_cpu(seed, changes) -> None:
    rng = np.random.default_rng(seed)
    labels = blocks(rng, rng.integers(4, 40, 2), side=int(rng.integers(1, 9)), numbers=4)
    weight = np.ones_like(labels)
    if changes.get("sdf_scale") == "tile":
        weight = blocks(rng, labels.shape[1:], side=6, numbers=5) > 0
    network = NetworkSettings(encoder="unet", experts="separate", width=4, **changes)
    results = device_targets(labels, weight, network)
    for tile in range(2):
        expected = targets(labels[tile], weight[tile], network=network, mpp_um=0.7)
        for result, array in zip(results, expected, strict=True):
            counts = weight[tile] > 0  # other pixels have no meaning
            np.testing.assert_allclose(result[tile][counts], array[counts], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_distances_of_a_gpu_are_measured_to_annotated_pixels_only(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = blocks(rng, (9, 11), side=int(rng.integers(1, 5)), numbers=3)
    weight = blocks(rng, (9, 11), side=3, numbers=3) > 0
    _, sdf, _ = device_targets(labels, weight, UM)
    for tile in range(2):
        expected = brute_force_um(labels[tile] * weight[tile], weight[tile], sdf_um=10 / 0.7)
        counts = weight[tile]
        np.testing.assert_allclose(sdf[tile][counts], expected[counts], atol=1e-5)


def test_a_gland_without_any_outline_in_sight_is_deep_everywhere() -> None:
    everywhere = np.ones((40, 60), np.int32)
    assert (skeleton_distance(everywhere) == 255).all()
