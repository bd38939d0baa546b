"""MATCH: its matching against brute force and hand-computed cases, its loss, its snapshots."""

from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest
import torch
from learner_steps import SIDE, B, a_step, context
from scipy import ndimage
from short_runs import dice_of_short_run

if find_spec("gudhi") is None:
    pytest.skip("the package gudhi is not installed", allow_module_level=True)

from semimoe.methods import match
from semimoe.methods.match import (
    MatchLearner,
    find_structures,
    match_global,
    match_pair,
    shared_structure_loss,
    similarity,
)


def glands(*columns: int, height: float = 0.9) -> np.ndarray:
    """Map of 8 x 16 px with glands of 3 x 3 px around a peak at row 4, on a background of 0.1."""
    values = np.full((8, 16), 0.1, np.float32)
    for number, column in enumerate(columns):
        values[3:6, column - 1 : column + 2] = 0.7
        values[4, column] = height - 0.01 * number
    return values


def test_masks_are_the_components_just_above_their_deaths() -> None:
    structures = find_structures(glands(3, 11))
    assert structures.pairs.birth == pytest.approx([0.9, 0.89])
    assert structures.births.tolist() == [[4, 3], [4, 11]]
    expected = np.zeros((2, 8, 16), bool)
    expected[0, 3:6, 2:5] = True  # endless: above 0.5
    expected[1, 3:6, 10:13] = True  # above the background
    np.testing.assert_array_equal(structures.masks.reshape(2, 8, 16), expected)


def test_the_highest_point_of_an_empty_tile_has_no_mask() -> None:
    assert not find_structures(np.full((8, 16), 0.4, np.float32)).masks.any()


def test_the_similarity_is_that_of_a_hand_computed_case() -> None:
    first, second = find_structures(glands(3, 11)), find_structures(glands(4, 11))
    score = similarity(first, second)
    # 3 x 2 common pixels of 12; births at a distance of 1; the diagonal of the tile is sqrt(320).
    far = 1 - 1 / np.sqrt(320)
    weight = 0.79 / 0.9  # persistence of the second gland, divided by that of the first one
    np.testing.assert_allclose(score, [[0.5 * far, 0], [0, weight**2]], rtol=1e-5)
    assert match_pair(first, second).tolist() == [[0, 0], [1, 1]]


def faint_gland(persistence: float) -> np.ndarray:
    """A gland with the persistence 0.9, and one at column 11 with another persistence."""
    values = np.zeros((8, 16), np.float32)
    values[4, 3], values[4, 11] = 0.9, persistence
    return values


@pytest.mark.parametrize(("persistence", "is_match"), [(0.27, False), (0.3, True)])
def test_structures_are_the_same_from_a_similarity_of_a_tenth_on(persistence, is_match) -> None:
    """Equal masks and births: the similarity is (persistence / 0.9)^2, .09 or .11."""
    structures = find_structures(faint_gland(persistence))
    assert match_pair(structures, structures).tolist() == [[0, 0], [1, 1]][: 1 + is_match]


def test_glands_that_share_a_fifth_of_their_pixels_match_and_those_with_a_tenth_do_not() -> None:
    """3 of 15 common pixels 2 px apart, S = .18; 2 of 16 diagonally, S = .11; 1 of 17, S = .05."""
    first = np.zeros((8, 16), np.float32)
    first[3:6, 2:5] = 0.9
    shifted = [np.roll(first, (down, 2), (0, 1)) for down in range(3)]
    counts = [len(match_pair(find_structures(first), find_structures(one))) for one in shifted]
    assert counts == [1, 1, 0]


def test_noise_is_never_the_same_structure() -> None:
    """A persistence of 0.02 is noise also where no structure is more persistent."""
    for height, count in ((0.02, 0), (0.6, 1)):
        values = np.full((8, 16), 0.6 - height, np.float32)
        values[3:6, 3:6] = 0.6
        pairs = find_structures(values).pairs
        ending = pairs._replace(death=np.full(1, 0.6 - height))
        structures = find_structures(values)._replace(pairs=ending)
        assert len(match_pair(structures, structures)) == count


@pytest.mark.parametrize("seed", range(10))
def test_the_matching_has_the_largest_sum_of_all(seed, monkeypatch) -> None:
    monkeypatch.setattr(match, "_LEAST_SIMILARITY", 1e-9)
    monkeypatch.setattr(match, "_MOST_STRUCTURES", 5)
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((20, 20)), 2)
    first, second = (
        find_structures(
            np.clip((smooth + 0.02 * rng.random((20, 20)) - 0.4) / 0.25, 0, 1).astype(np.float32)
        )
        for _ in range(2)
    )
    score = similarity(first, second)
    best = max(
        sum(score[i, j] for i, j in zip(order, range(score.shape[1]), strict=False))
        for order in permutations(range(score.shape[0]))
    )
    pairs = match_pair(first, second)
    assert score[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(best)
    assert len(pairs) > 0


def test_a_structure_is_shared_if_it_is_found_from_the_first_facet_to_the_last() -> None:
    facets = [glands(3, 11), glands(3, 11), glands(3, 7, 11), glands(3, 7)]
    structures = [find_structures(facet) for facet in facets]
    shared = [
        {int(x) for x, is_shared in zip(facet.births[:, 1], found, strict=True) if is_shared}
        for facet, found in zip(structures, match_global(structures), strict=True)
    ]
    assert shared == [{3}] * 4


def test_the_loss_of_shared_structures_is_that_of_a_hand_computed_case() -> None:
    """Gland 3 is in both facets, gland 11 in the first one only."""
    facets = torch.from_numpy(np.stack([glands(3, 11), glands(3)]))[:, None].requires_grad_()
    loss = shared_structure_loss(facets)
    shared, alone = 0.1**2, 0.79**2
    assert loss.item() == pytest.approx((2 * shared + alone) / 2, rel=1e-4)
    loss.backward()
    sign = facets.grad[:, 0].sign()
    assert sign[:, 4, 3].tolist() == [-1, -1]  # descent raises it
    assert sign[0, 4, 11] == 1  # descent lowers it
    # A second shared gland moves the pixel that separates it towards 0.
    both = torch.from_numpy(np.stack([glands(3, 11)] * 2))[:, None].requires_grad_()
    loss = shared_structure_loss(both)
    assert loss.item() == pytest.approx(0.1**2 + 0.11**2 + 0.1**2, rel=1e-4)


def test_equal_facets_with_certain_structures_have_no_loss() -> None:
    certain = (glands(3, 11, height=1.0) > 0.5).astype(np.float32)
    facets = torch.from_numpy(np.stack([certain] * 3))[:, None]
    assert shared_structure_loss(facets).item() == 0


def test_only_the_facets_that_learn_get_a_gradient() -> None:
    facets = torch.from_numpy(np.stack([glands(3), glands(3, 11), glands(3)]))[:, None]
    facets.requires_grad_()
    shared_structure_loss(facets, learning=[2]).backward()
    assert not facets.grad[:2].any()
    assert facets.grad[2].any()


def learner_at_the_end() -> MatchLearner:
    torch.manual_seed(0)
    return MatchLearner(context()).train()


def test_facets_with_dropout_differ_and_have_a_gradient() -> None:
    learner = learner_at_the_end()
    facets = learner._facets_of_dropout(a_step(), a_step().unlabelled)
    assert facets.shape == (4, B, SIDE, SIDE)
    assert not torch.equal(facets[0], facets[1])
    facets.sum().backward()
    assert learner.student.encoder.levels[0][0].weight.grad is not None
    assert all(parameter.grad is None for parameter in learner.network.parameters())


def test_snapshots_are_the_student_at_earlier_steps(monkeypatch) -> None:
    monkeypatch.setattr(match, "_STEPS_PER_SNAPSHOT", 2)
    learner = learner_at_the_end()
    bias = learner.student.heads[0].bias
    for step in range(9):
        with torch.no_grad():
            bias.fill_(float(step))
        learner.after_update(step)
    # Taken after the steps 1, 3, 5 and 7; the oldest is gone.
    kept = [snapshot.heads[0].bias[0].item() for snapshot in learner.snapshots]
    assert kept == [3, 5, 7]
    assert learner.snapshot_count.item() == 3
    assert not any(parameter.requires_grad for parameter in learner.snapshots.parameters())
    assert {"snapshot_count", "snapshots.2.heads.0.bias"} <= learner.state_dict().keys()


def test_the_temporal_loss_begins_with_the_third_snapshot(monkeypatch) -> None:
    monkeypatch.setattr(match, "_STEPS_PER_SNAPSHOT", 1)
    monkeypatch.setattr(match, "_DROPOUT", 0.0)
    learner = learner_at_the_end()
    calls = []
    original = match.shared_structure_loss

    def record(facets, *, learning=None):
        calls.append(learning)
        return original(facets, learning=learning)

    monkeypatch.setattr(match, "shared_structure_loss", record)
    for step in range(4):
        learner.consistency_phase(a_step(progress=0.9)).loss.backward()
        learner.after_update(step)
    assert calls == [None, None, None, None, [3]]
    assert learner.consistency_phase(a_step(progress=0.5)).loss > 0
    assert len(calls) == 5


def test_a_short_run_learns(tmp_path, discs, monkeypatch) -> None:
    monkeypatch.setattr("semimoe.methods.toposemiseg._TOPOLOGY_START", 0.5)
    monkeypatch.setattr(match, "_STEPS_PER_SNAPSHOT", 8)
    assert dice_of_short_run("match", tmp_path, discs, epochs=3) > 0.8
