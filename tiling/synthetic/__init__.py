"""Synthetic H&E slides with exact truth, for the demo and for tests."""

from tiling.synthetic.demo_slides import DEMO_SLIDES, DemoSlide, make_demo_slide
from tiling.synthetic.synthetic_slide import SyntheticSettings, make_slide

__all__ = ["DEMO_SLIDES", "DemoSlide", "SyntheticSettings", "make_demo_slide", "make_slide"]
