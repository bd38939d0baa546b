"""The slides of the demo."""

import pytest
from colour_scores import at_two_um, best_by_colour

from tiling.synthetic import DEMO_SLIDES, make_demo_slide


@pytest.mark.slow
def test_colour_alone_does_not_find_glands_of_the_demo_test_slide(tmp_path):
    slide = next(s for s in DEMO_SLIDES if s.split == "test")
    make_demo_slide(slide.slide, tmp_path / "test.tiff", truth=tmp_path / "truth.tiff")
    image, labels, tissue = at_two_um(tmp_path / "test.tiff", tmp_path / "truth.tiff")
    assert labels.max() >= 60
    dice, f1 = best_by_colour(image, labels, tissue)
    assert 0.4 < dice <= 0.75
    assert f1 <= 0.5
