"""Growth and the assignment of the rest, against slow versions that follow the definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tiling.raster.growth import FREE, assign_components, count_contacts, grow

FIELDS = arrays(np.int32, (9, 11), elements=st.sampled_from([0, FREE, FREE, FREE, 1, 2, 3]))
NO_LABEL = 1 << 30


def grown_slowly(field: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        labels = np.where(field > 0, field, NO_LABEL)
        smallest = ndimage.minimum_filter(labels, 3, mode="constant", cval=NO_LABEL)
        field = np.where((field == FREE) & (smallest < NO_LABEL), smallest, field)
    return field


@settings(max_examples=200, deadline=None)
@given(FIELDS, st.integers(0, 6))
def test_growth_equals_growth_of_the_whole_array(field: np.ndarray, steps: int) -> None:
    padded = np.pad(field, 1)
    grow(padded, steps=steps)
    np.testing.assert_array_equal(padded, np.pad(grown_slowly(field, steps), 1))


def test_growth_in_a_large_mask_equals_growth_of_the_whole_array() -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.random((60, 70)), 2) > 0.49
    numbers = np.arange(1, mask.size + 1, dtype=np.int32).reshape(mask.shape)
    seeds = np.where(mask & (rng.random(mask.shape) > 0.98), numbers, 0)
    field = np.pad(np.where(mask & (seeds == 0), np.int32(FREE), seeds), 1)
    expected = grown_slowly(field, 6)
    grow(field, steps=6)
    np.testing.assert_array_equal(field, expected)


@settings(max_examples=100, deadline=None)
@given(FIELDS)
def test_contacts_are_all_pairs_of_neighbouring_pixels(field: np.ndarray) -> None:
    rest, count = ndimage.label(field == FREE, np.ones((3, 3)))
    y, x = np.nonzero(rest)
    padded = np.pad(field, 1)
    expected: dict[tuple[int, int], int] = {}
    for row, column in zip(y.tolist(), x.tolist(), strict=True):
        for label in padded[row : row + 3, column : column + 3].ravel().tolist():
            if label > 0:
                pair = (int(rest[row, column]), label)
                expected[pair] = expected.get(pair, 0) + 1
    contacts = count_contacts(rest[y, x].astype(np.int64), y, x, padded)
    assert contacts.tolist() == [[*pair, n] for pair, n in sorted(expected.items())]
    # Contacts in several parts give the same assignment.
    parts = np.concatenate([contacts[::-1] * [1, 1, 0] + [0, 0, 1], contacts - [0, 0, 1]])
    np.testing.assert_array_equal(
        assign_components(contacts, count, 3), assign_components(parts, count, 3)
    )


def test_the_longest_contact_wins_and_ties_go_to_the_smaller_label() -> None:
    contacts = np.array([[1, 2, 1], [1, 5, 4], [2, 7, 3], [2, 3, 3], [4, 1, 1]])
    assert assign_components(contacts, 4, 7).tolist() == [0, 5, 3, 8, 1]
