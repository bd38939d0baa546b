"""Synthetic slides on disk: pyramidal TIFF, annotation as QuPath exports it, exact truth mask."""

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.qupath.class_names import GLAND, IGNORE, REGION
from tiling.raster.atomic_files import write_atomic
from tiling.synthetic.paint import SCALE, paint
from tiling.synthetic.section_plan import Plan, plan_section

MPP_UM = 0.5
_TILE_PX = 256
_JPEG_QUALITY = 90
_SMALLEST_LEVEL_PX = 1000
_FOLD_UM = 55
_REGION_GAP_PX = 300
_NAMESPACE = uuid.UUID("6d0f3c0e-6f55-4c1b-9f4e-2f6a3d1f7f10")
_COLOURS = {REGION: (0, 0, 180), GLAND: (50, 180, 70), IGNORE: (180, 180, 180)}


class Region(NamedTuple):
    """A rectangle of level 0: left, top, right, bottom pixel edges."""

    left: int
    top: int
    right: int
    bottom: int


def make_slide(
    out_tiff: Path,
    *,
    slide_id: str,
    width_px: int,
    height_px: int,
    seed: int,
    annotation: Path | None = None,
    truth: Path | None = None,
    regions: int | None = None,
    pen: bool = False,
    tissue_share: float = 0.56,
) -> None:
    """Write one synthetic H&E slide of 0.5 um/px, and what is known about it.

    The same arguments give the same bytes. Every file appears whole or not at all, the slide last.

    Parameters
    ----------
    out_tiff : pyramidal TIFF (tiles of 256 px, JPEG), levels halved until both sides are below 1000 px
    slide_id : enters the ids of the annotation's objects
    width_px, height_px : size of level 0, at least 1000 px
    seed : the only source of chance
    annotation : GeoJSON as QuPath exports it, in level-0 pixel edges
    truth : uint16 instance mask at level 0, 0 background, 1..N (a gland is epithelium and lumen)
    regions : number of region rectangles in the annotation, with the glands that reach into them; None outlines every gland of the slide
    pen : pen marks on the glass and a little over the tissue's edge
    tissue_share : share of the slide that is tissue, 0..1; below 0.45 in two pieces

    Raises
    ------
    ValueError
        The slide is too small, or no place is left for so many regions.
    """
    if min(width_px, height_px) < _SMALLEST_LEVEL_PX:
        raise ValueError(
            f"{slide_id}: {width_px} x {height_px} px is too small for a section; use at least 1000 px a side"
        )
    # Independent streams: regions or pen do not change the tissue.
    for_plan, for_paint, for_regions = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    plan = plan_section(
        (-(-height_px // SCALE), -(-width_px // SCALE)), for_plan, tissue_share=tissue_share
    )
    labels = level0_labels(plan, (height_px, width_px))
    boxes = choose_regions(labels, regions or 0, for_regions, slide_id=slide_id)
    fold = _fold(boxes, labels) if len(boxes) > 1 else None
    image = paint(plan, (height_px, width_px), for_paint, pen=pen, folds=[fold] if fold else [])
    if truth is not None:
        _replace(truth, lambda path: _write_labels(path, labels))
    if annotation is not None:
        collection = annotation_of(
            labels, boxes if regions is not None else None, fold, slide_id=slide_id
        )
        write_atomic(annotation, json.dumps(collection) + "\n")
    _replace(out_tiff, lambda path: _write_pyramid(path, image))


def level0_labels(plan: Plan, size_px: tuple[int, int]) -> NDArray[np.uint16]:
    """Instance labels on the level-0 grid, uint16 (height, width): smooth contours, each gland solid and in one 4-connected piece."""
    labels = np.zeros((plan.labels.shape[0] * SCALE, plan.labels.shape[1] * SCALE), np.uint16)
    for number, gland in enumerate(plan.glands, start=1):
        height, width = gland.depth_um.shape
        depth = np.asarray(
            Image.fromarray(gland.depth_um).resize(
                (width * SCALE, height * SCALE), Image.Resampling.BILINEAR
            )
        )
        parts, count = ndimage.label(depth > 0)
        if count > 1:
            parts = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        body = ndimage.binary_fill_holes(parts > 0)
        place = labels[gland.y_um * SCALE :, gland.x_um * SCALE :][: body.shape[0], : body.shape[1]]
        place[body & (place == 0)] = number
    return labels[: size_px[0], : size_px[1]]


def choose_regions(
    labels: NDArray[np.uint16], count: int, rng: np.random.Generator, *, slide_id: str
) -> list[Region]:
    """Rectangles of 500..700 um a side where glands are many, apart from each other.

    Raises
    ------
    ValueError
        No place is left.
    """
    height, width = labels.shape
    glands = (labels[::16, ::16] > 0).astype(np.float64)
    total = np.pad(glands.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    chosen: list[Region] = []
    for _ in range(count):
        best, best_share = None, 0.0
        for _ in range(400):
            w, h = (int(side / MPP_UM) for side in rng.integers(500, 701, 2))
            if w >= width or h >= height:
                continue
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            box = Region(x, y, x + w, y + h)
            if any(_overlap(box, other, _REGION_GAP_PX) for other in chosen):
                continue
            t, b, left, r = y // 16, (y + h) // 16, x // 16, (x + w) // 16
            share = (total[b, r] - total[t, r] - total[b, left] + total[t, left]) / (
                (b - t) * (r - left)
            )
            if share > best_share:
                best, best_share = box, share
        if best is None:
            raise ValueError(
                f"{slide_id}: no place for {count} regions on {width} x {height} px; ask for fewer or make the slide larger"
            )
        chosen.append(best)
    return chosen


def annotation_of(
    labels: NDArray[np.uint16],
    regions: list[Region] | None,
    fold: tuple[int, int, int] | None,
    *,
    slide_id: str,
) -> dict[str, Any]:
    """GeoJSON FeatureCollection of a slide's outlines; with regions only the glands that reach into one, whole."""
    features = []
    wanted = range(1, int(labels.max()) + 1)
    if regions is not None:
        inside = [labels[box.top : box.bottom, box.left : box.right] for box in regions]
        wanted = np.unique(
            np.concatenate([part.ravel() for part in inside] or [np.zeros(1, np.uint16)])
        )  # type: ignore[assignment]
        for number, box in enumerate(regions, start=1):
            corners = (
                (box.left, box.top),
                (box.right, box.top),
                (box.right, box.bottom),
                (box.left, box.bottom),
                (box.left, box.top),
            )
            features.append(
                _feature(slide_id, REGION, number, [[list(corner) for corner in corners]])
            )
    if fold is not None and regions is not None:
        y, x, radius = (SCALE * value for value in fold)
        angles = np.linspace(0, 2 * np.pi, 33)
        ring = np.round(np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]))
        ring[-1] = ring[0]
        features.append(_feature(slide_id, IGNORE, 1, [ring.tolist()]))
    boxes = ndimage.find_objects(labels)
    for number in (int(n) for n in wanted if n):
        features.append(
            _feature(slide_id, GLAND, number, _outline(labels, boxes[number - 1], number))
        )
    return {"type": "FeatureCollection", "features": features}


def _outline(
    labels: NDArray[np.uint16], window: tuple[slice, slice], number: int
) -> list[list[list[float]]]:
    """Rings of one gland, level-0 pixel edges; outlines of 4-connected pixels never touch themselves."""
    from rasterio.features import shapes
    from rasterio.transform import Affine

    body = (labels[window] == number).astype(np.uint8)
    place = Affine.translation(window[1].start, window[0].start)
    [(geometry, _)] = shapes(body, mask=body.astype(bool), connectivity=4, transform=place)
    return [[list(point) for point in ring] for ring in geometry["coordinates"]]


def _feature(slide_id: str, name: str, number: int, rings: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{slide_id}/{name}/{number}")),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": list(_COLOURS[name])},
        },
    }


def _fold(regions: list[Region], labels: NDArray[np.uint16]) -> tuple[int, int, int]:
    """A smudged place (y, x, radius in um) in the last region, where it covers the fewest glands."""
    box, radius = regions[-1], SCALE * _FOLD_UM
    steps = [
        (y, x)
        for y in range(box.top + radius + SCALE, box.bottom - radius + 1, radius // 2)
        for x in range(box.left + radius + SCALE, box.right - radius + 1, radius // 2)
    ]
    covered = [
        int((labels[y - radius : y + radius : 8, x - radius : x + radius : 8] > 0).sum())
        for y, x in steps
    ]
    y, x = steps[int(np.argmin(covered))]
    return y // SCALE, x // SCALE, _FOLD_UM


def _overlap(a: Region, b: Region, margin: int) -> bool:
    across = a.left < b.right + margin and b.left < a.right + margin
    return across and a.top < b.bottom + margin and b.top < a.bottom + margin


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
