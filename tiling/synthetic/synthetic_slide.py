"""Synthetic slides on disk: a pyramidal TIFF, its annotation, and the exact mask of its glands."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.raster.atomic_files import partial_file, write_atomic
from tiling.synthetic.level0_grid import MPP_UM, SCALE
from tiling.synthetic.section_plan import SectionPlan, plan_section
from tiling.synthetic.slide_image import draw_slide
from tiling.synthetic.synthetic_annotation import annotation_geojson, choose_fold, choose_regions

_TILE_PX = 256
_JPEG_QUALITY = 90
_SMALLEST_LEVEL_PX = 1000


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """All that a synthetic slide depends on.

    Attributes
    ----------
    slide : id of the slide, part of the ids of the annotation's objects
    seed : of all random numbers
    width_px, height_px : size of level 0 (0.5 um/px), at least 1000 px
    regions : number of region rectangles in the annotation, with the glands that overlap them;
        None outlines every gland of the slide
    pen : pen marks on the glass and a little over the edge of the tissue
    tissue_share : share of the slide that is tissue, 0..1; up to 0.45 in two pieces
    """

    slide: str
    seed: int
    width_px: int
    height_px: int
    regions: int | None = None
    pen: bool = False
    tissue_share: float = 0.56


def make_slide(
    settings: SyntheticSettings,
    out_tiff: Path,
    *,
    annotation: Path | None = None,
    truth: Path | None = None,
) -> None:
    """Write one synthetic H&E slide of 0.5 um/px, with its annotation and its truth.

    The same settings give the same bytes. Every file appears complete or not at all, the slide
    last.

    Parameters
    ----------
    settings : what the slide depends on
    out_tiff : pyramidal TIFF (tiles of 256 px, JPEG); levels are halved until both sides are below
        1000 px
    annotation : GeoJSON in the form of an export of QuPath, in pixel edges of level 0
    truth : uint16 instance mask at level 0, 0 background, 1..N (a gland is epithelium and lumen)

    Raises
    ------
    ValueError
        The slide is too small, or there is no place for so many regions.
    """
    width_px, height_px = settings.width_px, settings.height_px
    if min(width_px, height_px) < _SMALLEST_LEVEL_PX:
        raise ValueError(
            f"{settings.slide}: {width_px} x {height_px} px is too small for a section; "
            "use at least 1000 px a side"
        )
    # Separate random numbers: neither regions nor pen change the tissue.
    plan_rng, image_rng, region_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(settings.seed).spawn(3)
    )
    plan_shape = (-(-height_px // SCALE), -(-width_px // SCALE))
    plan = plan_section(plan_shape, plan_rng, tissue_share=settings.tissue_share)
    labels = level0_labels(plan, (height_px, width_px))
    regions = choose_regions(labels, settings.regions or 0, region_rng, slide=settings.slide)
    fold = choose_fold(regions, labels) if len(regions) > 1 else None
    image = draw_slide(
        plan, (height_px, width_px), image_rng, pen=settings.pen, folds=[fold] if fold else []
    )
    if truth is not None:
        with partial_file(truth) as partial:
            _write_labels(partial, labels)
    if annotation is not None:
        outlined = None if settings.regions is None else regions
        collection = annotation_geojson(labels, outlined, fold, slide=settings.slide)
        write_atomic(annotation, json.dumps(collection) + "\n")
    with partial_file(out_tiff) as partial:
        _write_pyramid(partial, image)


def level0_labels(plan: SectionPlan, size_px: tuple[int, int]) -> NDArray[np.uint16]:
    """Instance labels at level 0: smooth contours, each gland one solid 4-connected part.

    Parameters
    ----------
    plan : the section
    size_px : (height, width)

    Returns
    -------
    uint16 (height, width), 0 background
    """
    labels = np.zeros((plan.labels.shape[0] * SCALE, plan.labels.shape[1] * SCALE), np.uint16)
    for number, gland in enumerate(plan.glands, start=1):
        height, width = gland.depth_um.shape
        enlarged = Image.fromarray(gland.depth_um).resize(
            (width * SCALE, height * SCALE), Image.Resampling.BILINEAR
        )
        parts, count = ndimage.label(np.asarray(enlarged) > 0)
        if count > 1:
            parts = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        body = ndimage.binary_fill_holes(parts > 0)
        area = labels[gland.y_um * SCALE :, gland.x_um * SCALE :][: body.shape[0], : body.shape[1]]
        area[body & (area == 0)] = number
    return labels[: size_px[0], : size_px[1]]


def _write_labels(path: Path, labels: NDArray[np.uint16]) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        labels,
        tile=(_TILE_PX, _TILE_PX),
        compression="zlib",
        metadata=None,
        software=False,
        maxworkers=1,
        **_resolution(0),
    )


def _write_pyramid(path: Path, image: NDArray[np.uint8]) -> None:
    import tifffile

    with tifffile.TiffWriter(path) as writer:
        level = 0
        while True:
            writer.write(
                image,
                tile=(_TILE_PX, _TILE_PX),
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                photometric="rgb",
                subfiletype=1 if level else 0,
                metadata=None,
                software=False,
                maxworkers=1,
                **_resolution(level),
            )
            if max(image.shape[:2]) < _SMALLEST_LEVEL_PX:
                return
            image = np.asarray(Image.fromarray(image).reduce(2))
            level += 1


def _resolution(level: int) -> dict[str, Any]:
    per_cm = 10_000 / (MPP_UM * 2**level)
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
