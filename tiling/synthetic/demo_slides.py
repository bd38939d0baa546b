"""The slides of the demo."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiling.synthetic.synthetic_slide import SyntheticSettings, make_slide


@dataclass(frozen=True, kw_only=True)
class DemoSlide(SyntheticSettings):
    """One slide of the demo.

    Attributes
    ----------
    split : what the demo uses it for
    """

    split: Literal["labelled", "unlabelled", "validation", "test", "predict"]


# Do not change: the figures of the demo and the expected results depend on every value.
DEMO_SLIDES: tuple[DemoSlide, ...] = (
    DemoSlide(
        slide="demo-labelled-1",
        split="labelled",
        seed=101,
        width_px=5600,
        height_px=4200,
        regions=3,
    ),
    DemoSlide(
        slide="demo-labelled-2",
        split="labelled",
        seed=102,
        width_px=5400,
        height_px=4100,
        regions=3,
    ),
    DemoSlide(
        slide="demo-unlabelled-1", split="unlabelled", seed=103, width_px=5800, height_px=4300
    ),
    DemoSlide(
        slide="demo-unlabelled-2", split="unlabelled", seed=104, width_px=5500, height_px=4400
    ),
    DemoSlide(
        slide="demo-validation-1",
        split="validation",
        seed=105,
        width_px=5200,
        height_px=4000,
        regions=3,
    ),
    DemoSlide(slide="demo-test-1", split="test", seed=106, width_px=6000, height_px=4500),
    DemoSlide(slide="demo-predict-1", split="predict", seed=107, width_px=5601, height_px=4203),
    DemoSlide(
        slide="demo-predict-2",
        split="predict",
        seed=108,
        width_px=6000,
        height_px=4500,
        pen=True,
        tissue_share=0.32,
    ),
)


def make_demo_slide(
    slide: str, out_tiff: Path, *, annotation: Path | None = None, truth: Path | None = None
) -> None:
    """Write one slide of `DEMO_SLIDES` by name; see `make_slide`.

    Raises
    ------
    ValueError
        The demo has no slide of that name.
    """
    by_name = {settings.slide: settings for settings in DEMO_SLIDES}
    if slide not in by_name:
        raise ValueError(f"{slide}: the demo has no such slide; it has {', '.join(by_name)}")
    make_slide(by_name[slide], out_tiff, annotation=annotation, truth=truth)
