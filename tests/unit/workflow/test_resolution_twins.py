"""The area average lives twice, for slides and for images: both must give the same pixels."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semimoe.datasets import image_resolution as images
from tiling.slides import working_resolution as slides


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32), height=st.integers(2, 90), width=st.integers(2, 90), y=st.floats(1, 9), x=st.floats(1, 9),
    whole=st.booleans(),
)  # fmt: skip
@example(seed=0, height=87, width=64, y=2.0, x=2.0, whole=True)
@example(seed=0, height=87, width=64, y=6.0, x=3.0, whole=True)
@example(seed=0, height=87, width=64, y=87 / 17, x=64 / 17, whole=False)
def test_both_area_averages_give_the_same_pixels(
    seed: int, height: int, width: int, y: float, x: float, whole: bool
) -> None:
    reduction = (float(round(y)), float(round(x))) if whole else (y, x)
    source = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = images.reduced_shape((height, width), reduction)
    expected = slides.area_average(source, (0, 0), slice(0, rows), slice(0, columns), reduction)
    np.testing.assert_array_equal(
        images.area_average(source.transpose(2, 0, 1), reduction), expected.transpose(2, 0, 1)
    )


@settings(max_examples=40, deadline=None)
@given(mpp=st.floats(0.2, 1.0), wanted=st.floats(1.0, 3.0))
def test_both_choose_the_same_reduction(mpp: float, wanted: float) -> None:
    facts_reduction = slides._reduction(wanted / mpp)
    assert images.isotropic(mpp, wanted).reduction((10, 10)) == (facts_reduction, facts_reduction)
    assert images.reduced_shape((997, 640), (facts_reduction,) * 2) == tuple(
        slides._count(side, facts_reduction) for side in (997, 640)
    )
