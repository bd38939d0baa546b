"""Images and masks at the working resolution, against counts of finely repeated pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semimoe.datasets.image_resolution import (
    Resolution,
    enlarge_labels,
    isotropic_resolution,
    reduce_labels,
    square_resolution,
)
from semimoe.model_errors import DataError
from tiling.raster.area_average import area_average, reduced_shape

FINE = 12  # repeats of each pixel; reductions are multiples of a twelfth


def parts(size: int, source: int, twelfths: int):
    """Slices of each output pixel in the finely repeated source."""
    return [slice(i * twelfths, min((i + 1) * twelfths, source * FINE)) for i in range(size)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(2, 14),
    width=st.integers(2, 14),
    y=st.integers(12, 50),
    x=st.integers(12, 50),
)
def test_area_average_and_majority_agree_with_counting(
    seed: int, height: int, width: int, y: int, x: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    labels = rng.integers(0, 3, (height, width)).astype(np.int32) * 300
    reduction = (y / FINE, x / FINE)
    rows, columns = reduced_shape((height, width), reduction)
    averaged = area_average(image.transpose(1, 2, 0), reduction).transpose(2, 0, 1)
    voted = reduce_labels(labels, reduction)
    assert averaged.shape == (3, rows, columns)
    assert voted.shape == (rows, columns)
    fine_image, fine_labels = (
        np.repeat(np.repeat(array, FINE, -2), FINE, -1) for array in (image, labels)
    )
    for i, row in enumerate(parts(rows, height, y)):
        for j, column in enumerate(parts(columns, width, x)):
            mean = fine_image[:, row, column].mean((1, 2))
            assert np.abs(averaged[:, i, j] - mean).max() <= 0.5 + 1e-4
            numbers, counts = np.unique(fine_labels[row, column], return_counts=True)
            assert voted[i, j] in numbers[counts == counts.max()]


def test_ties_keep_the_area_of_a_gland_that_lies_between_working_pixels() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[3:13, 4:14] = 4  # its upper and lower edge halve a row of blocks each
    assert np.count_nonzero(reduce_labels(labels, (2.0, 2.0))) * 4 == 100


def test_enlarged_labels_cover_the_pixels_of_the_image() -> None:
    labels = np.zeros((53, 78), np.int32)
    labels[10:31, 20:60] = 9
    for reduction in ((2.0, 2.0), (2.5, 2.5), (53 / 16, 78 / 16)):
        back = enlarge_labels(reduce_labels(labels, reduction), reduction, (53, 78))
        assert back.shape == labels.shape
        assert set(np.unique(back)) == {0, 9}
        both = np.count_nonzero((back > 0) & (labels > 0))
        assert 2 * both / (np.count_nonzero(back) + np.count_nonzero(labels)) > 0.93


def test_a_whole_reduction_within_five_percent_is_taken() -> None:
    assert isotropic_resolution(0.62005, 1.24).reduction((522, 775)) == (2.0, 2.0)
    assert isotropic_resolution(0.5, 1.25).reduction((522, 775)) == (2.5, 2.5)
    assert isotropic_resolution(0.5, None).reduction((522, 775)) == (1.0, 1.0)
    assert isotropic_resolution(1.03, 1.0).mpp_um == 1.03  # never made finer
    with pytest.raises(DataError, match=r"coarser than the working resolution 1"):
        isotropic_resolution(1.1, 1.0)
    with pytest.raises(ValueError, match="mpp nan"):
        isotropic_resolution(float("nan"), 1.0)


def test_a_square_has_the_pixel_size_of_an_image_of_median_size() -> None:
    square = square_resolution(0.62005, [(522, 775), (522, 775), (453, 589)], side_px=256)
    assert square.mpp_um == pytest.approx(0.62005 * (522 * 775) ** 0.5 / 256)
    image = np.zeros((3, 522, 775), np.uint8)
    assert square.image(image).shape == (3, 256, 256)
    assert square.labels(image[0].astype(np.int32)).shape == (256, 256)
    assert Resolution(**square.to_dict()) == square
