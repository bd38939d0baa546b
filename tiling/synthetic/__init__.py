"""Synthetic H&E slides with exact truth, for the demo and for tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiling.synthetic.synthetic_slide import make_slide

__all__ = ["DEMO_SLIDES", "DemoSlide", "make_demo_slide", "make_slide"]


@dataclass(frozen=True)
class DemoSlide:
    """One slide of the demo.

    Attributes
    ----------
    slide : name in the sheet
    split : what the demo uses it for
    seed : of `make_slide`
    width_px, height_px : level 0, 0.5 um/px
    regions : outlined region rectangles; None: the whole slide (test) or nothing outlined (unlabelled, predict)
    pen : pen marks on the glass
    tissue_share : share of the slide that is tissue
    """

    slide: str
    split: Literal["labelled", "unlabelled", "validation", "test", "predict"]
    seed: int
    width_px: int
    height_px: int
    regions: int | None = None
    pen: bool = False
    tissue_share: float = 0.56


# Frozen: the demo's figures and the shipped expectations depend on every value.
DEMO_SLIDES: tuple[DemoSlide, ...] = (
    DemoSlide("demo-labelled-1", "labelled", 101, 5600, 4200, regions=3),
    DemoSlide("demo-labelled-2", "labelled", 102, 5400, 4100, regions=3),
    DemoSlide("demo-unlabelled-1", "unlabelled", 103, 5800, 4300),
    DemoSlide("demo-unlabelled-2", "unlabelled", 104, 5500, 4400),
    DemoSlide("demo-validation-1", "validation", 105, 5200, 4000, regions=3),
    DemoSlide("demo-test-1", "test", 106, 6000, 4500),
    DemoSlide("demo-predict-1", "predict", 107, 5601, 4203),
    DemoSlide("demo-predict-2", "predict", 108, 6000, 4500, pen=True, tissue_share=0.32),
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
    demo = {known.slide: known for known in DEMO_SLIDES}.get(slide)
    if demo is None:
        raise ValueError(
            f"{slide}: the demo has no such slide; it has {', '.join(known.slide for known in DEMO_SLIDES)}"
        )
    make_slide(
        out_tiff,
        slide_id=demo.slide,
        width_px=demo.width_px,
        height_px=demo.height_px,
        seed=demo.seed,
        annotation=annotation,
        truth=truth,
        regions=demo.regions,
        pen=demo.pen,
        tissue_share=demo.tissue_share,
    )
