"""Components by persistent homology, against counted components and brute force."""

from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import ndimage

if find_spec("gudhi") is None:
    pytest.skip("the package gudhi is not installed", allow_module_level=True)

from semimoe.objectives.persistence import (
    NO_PIXEL,
    CriticalPixelList,
    PersistencePairs,
    match_diagrams,
    persistence_pairs,
)

MAP = np.array(
    [
        [0.1, 0.9, 0.1, 0.1, 0.1],
        [0.1, 0.1, 0.3, 0.1, 0.1],
        [0.2, 0.1, 0.1, 0.8, 0.1],
        [0.7, 0.1, 0.1, 0.1, 0.1],
    ],
    np.float32,
)


def test_births_and_deaths_of_a_map_are_found_at_their_pixels() -> None:
    """0.8 joins 0.9 at the diagonal neighbour 0.3, 0.7 joins them at 0.1; 0.9 never ends."""
    pairs = persistence_pairs(MAP)
    birth_and_death = {
        round(float(birth), 2): (divmod(int(pixel), 5), round(float(death), 2))
        for birth, pixel, death in zip(pairs.birth, pairs.birth_pixel, pairs.death, strict=True)
    }
    assert birth_and_death == {0.9: ((0, 1), 0.0), 0.8: ((2, 3), 0.3), 0.7: ((3, 0), 0.1)}
    ends = {round(float(b), 2): int(p) for b, p in zip(pairs.birth, pairs.death_pixel, strict=True)}
    assert ends[0.9] == NO_PIXEL
    assert divmod(ends[0.8], 5) == (1, 2)
    assert MAP.ravel()[ends[0.7]] == np.float32(0.1)


@pytest.mark.parametrize("seed", range(5))
def test_at_every_threshold_as_many_pairs_are_alive_as_components_are_counted(seed) -> None:
    noise = np.random.default_rng(seed).random((13, 17))
    values = ndimage.gaussian_filter(noise, 0.7).astype(np.float32)
    pairs = persistence_pairs(values)
    for threshold in np.unique(values):
        _, count = ndimage.label(values >= threshold, np.ones((3, 3)))
        alive = (pairs.birth >= threshold) & (pairs.death < threshold)
        assert alive.sum() == count
    np.testing.assert_array_equal(pairs.birth, values.ravel()[pairs.birth_pixel])


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_map_has_one_component_without_end(value) -> None:
    pairs = persistence_pairs(np.full((4, 5), value, np.float32))
    assert pairs.birth == pytest.approx([value])
    assert pairs.death_pixel.tolist() == [NO_PIXEL]


def diagram(*points: tuple[float, float]) -> PersistencePairs:
    birth, death = np.array(points, float).reshape(-1, 2).T
    pixels = np.arange(len(points))
    return PersistencePairs(pixels, pixels + 100, birth, death)


@pytest.mark.parametrize("seed", range(20))
def test_the_matching_of_diagrams_is_that_of_brute_force(seed) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 4, 2)
    first, second = (diagram(*np.sort(rng.random((n, 2)))[:, ::-1]) for n in sizes)
    best = np.inf
    slots = [*range(sizes[1]), *[-1] * sizes[0]]
    for choice in set(permutations(slots, int(sizes[0]))):
        cost = sum(first.persistence[i] ** 2 / 2 for i, j in enumerate(choice) if j < 0)
        cost += sum(second.persistence[j] ** 2 / 2 for j in range(sizes[1]) if j not in choice)
        cost += sum(
            (first.birth[i] - second.birth[j]) ** 2 + (first.death[i] - second.death[j]) ** 2
            for i, j in enumerate(choice)
            if j >= 0
        )
        if cost < best - 1e-12:
            best, expected = cost, choice
    assert tuple(match_diagrams(first, second)) == expected


def test_critical_pixels_of_two_maps_have_the_loss_and_gradient_of_their_formula() -> None:
    probability = torch.tensor([[0.9, 0.2], [0.6, 0.5]], requires_grad=True)
    critical = CriticalPixelList()
    assert critical.on(torch.device("cpu")).loss(probability).item() == 0
    pixels = np.array([0])
    one = PersistencePairs(pixels, pixels + 1, np.array([0.9]), np.array([0.2]))
    critical.move(one, birth=np.array([1.0]), death=np.array([0.0]), offset=0)
    critical.join(one, weight=0.5, offset=2)
    endless = one._replace(death_pixel=np.array([NO_PIXEL]))
    critical.move(endless, birth=np.array([0.8]), death=np.array([0.0]), offset=2)
    critical.join(endless, weight=7.0, offset=2)
    loss = critical.on(torch.device("cpu")).loss(probability)
    assert loss.item() == pytest.approx(0.01 + 0.04 + 0.5 * 0.01 + 0.04)
    loss.backward()
    expected = [[-0.2, 0.4], [0.1 - 0.4, -0.1]]
    torch.testing.assert_close(probability.grad, torch.tensor(expected))
