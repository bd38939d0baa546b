import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.raster.geometry import Window
from tiling.tiles.held_out_regions import group_regions, hold_out_regions, overlaps_any

DISTANCE_PX = 80
window_lists = st.lists(
    st.builds(
        Window,
        st.integers(0, 500),
        st.integers(0, 500),
        st.integers(1, 60),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(window_lists)
def test_every_region_is_in_one_group_and_groups_are_far_apart(regions: list[Window]) -> None:
    groups = group_regions(regions, DISTANCE_PX)
    assert sorted(member for group in groups for member in group) == sorted(regions)
    for number, group in enumerate(groups):
        others = [member for other in groups[number + 1 :] for member in other]
        for region in group:
            assert all(gap_px(region, other) >= DISTANCE_PX for other in others)


def gap_px(one: Window, two: Window) -> int:
    rows = max(two.y - one.bottom, one.y - two.bottom)
    columns = max(two.x - one.right, one.x - two.right)
    return max(rows, columns)


@settings(max_examples=50, deadline=None)
@given(window_lists, window_lists)
def test_windows_that_share_a_pixel_with_a_region_are_found(
    windows: list[Window], regions: list[Window]
) -> None:
    expected = []
    for window in windows:
        image = np.zeros((600, 600), bool)
        for region in regions:
            image[region.slices] = True
        expected.append(bool(image[window.slices].any()))
    assert overlaps_any(np.array(windows, np.int64), regions).tolist() == expected


def test_no_window_overlaps_an_empty_list_of_regions() -> None:
    assert overlaps_any(np.array([[0, 0, 9, 9]]), []).tolist() == [False]


def test_a_single_group_is_not_held_out() -> None:
    close = [Window(0, 0, 10, 10), Window(20, 0, 10, 10)]
    assert hold_out_regions([close, []], distance_px=50, share=0.5, seed=0) is None


def test_a_share_of_the_groups_is_held_out_and_at_least_one_is_not() -> None:
    far = [Window(1000 * number, 0, 10, 10) for number in range(4)]
    for share, count in ((0.0, 1), (0.4, 3), (1.0, 7)):
        held_out = hold_out_regions([far, far], distance_px=50, share=share, seed=3)
        assert held_out is not None
        assert (held_out.group_count, held_out.held_out_count) == (8, count)
        assert sum(len(windows) for windows in held_out.windows) == count
        assert all(set(windows) <= set(far) for windows in held_out.windows)
