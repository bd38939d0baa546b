"""Plan of a synthetic section: where tissue, glands and their look-alikes lie, on a grid of 1 um.

A gland is a solid object (epithelium and lumen), as in GlaS: lobes that merge smoothly, a ring of nuclei along a smooth contour,
a pale or pink inside. The look-alikes share its colours: lymphoid aggregates and cellular stroma are as dark as the ring,
vessels, fat, mucin and clefts as pale as the lumen.
"""

from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Kind(IntEnum):
    """What a grid cell of the tissue is, glands apart."""

    STROMA = 0
    LYMPHOID = 1
    MUSCLE = 2
    VESSEL = 3
    FAT = 4
    MUCIN = 5
    CLEFT = 6


class Gland(NamedTuple):
    """One gland in its window.

    Attributes
    ----------
    y_um, x_um : corner of the window on the plan
    depth_um : float32 (h, w), positive inside; zero is the contour, near it the distance to it
    height_um : height of the epithelium; deeper than that is lumen
    goblet : share of mucus in the cytoplasm, 0 pink .. 1 pale
    """

    y_um: int
    x_um: int
    depth_um: Field
    height_um: float
    goblet: float


class Plan(NamedTuple):
    """A section on a grid of 1 um, arrays (y, x).

    Attributes
    ----------
    tissue : bool, tissue against glass
    glands : in the order of their labels (1..N)
    labels : int32, gland i + 1 of `glands`, 0 elsewhere
    kind : uint8, `Kind` outside glands
    wall_um : float32, distance to the edge of the pale or dark look-alike a cell lies in (0 outside)
    """

    tissue: Mask
    glands: list[Gland]
    labels: NDArray[np.int32]
    kind: NDArray[np.uint8]
    wall_um: Field


# Share of tissue. Much more and guessing "gland" everywhere would score well; much less and regions would be empty.
_GLAND_SHARE = 0.29
_GLAND_AREA_UM2 = (5000.0, 42000.0)
_EDGE_UM = 22.0
# Order matters: the large, rare ones first. Shares of tissue together match the glands' so that colour alone decides nothing.
_LOOK_ALIKES: tuple[
    tuple[Kind, float, float, float], ...
] = (  # kind, share, smallest and largest radius in um
    (Kind.LYMPHOID, 0.115, 28.0, 85.0),
    (Kind.MUSCLE, 0.07, 40.0, 110.0),
    (Kind.MUCIN, 0.05, 22.0, 60.0),
    (Kind.VESSEL, 0.05, 16.0, 48.0),
    (Kind.FAT, 0.06, 45.0, 110.0),
    (Kind.CLEFT, 0.03, 10.0, 20.0),
)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_um: float) -> Field:
    """Noise of unit variance with blobs of about `scale_um` cells, float32 of `shape` (y, x)."""
    coarse = [max(int(np.ceil(side / scale_um)) + 3, 4) for side in shape]
    values = rng.standard_normal(coarse, dtype=np.float32)
    step = (int(coarse[1] * scale_um), int(coarse[0] * scale_um))
    grown = np.asarray(Image.fromarray(values).resize(step, Image.Resampling.BICUBIC))[
        : shape[0], : shape[1]
    ]
    return np.ascontiguousarray((grown - grown.mean()) / (grown.std() + 1e-6))


def plan_section(shape: tuple[int, int], rng: np.random.Generator, *, tissue_share: float) -> Plan:
    """A section with glands and look-alikes.

    Parameters
    ----------
    shape : (y, x) in um
    rng : the only source of chance
    tissue_share : share of the glass that is tissue, 0..1
    """
    tissue = _tissue(shape, rng, tissue_share)
    glands, labels = _place_glands(tissue, rng)
    kind, wall = _place_look_alikes(tissue, labels > 0, rng)
    return Plan(tissue, glands, labels, kind, wall)


def _tissue(shape: tuple[int, int], rng: np.random.Generator, share: float) -> Mask:
    """One or two ragged pieces, away from the slide's border."""
    height, width = shape
    y, x = np.mgrid[:height:4, :width:4].astype(np.float32)
    nearest = np.full(y.shape, np.inf, np.float32)
    pieces = ((0.5, 0.5, 1.0),) if share > 0.45 else ((0.42, 0.28, 0.6), (0.6, 0.76, 0.46))
    for centre_y, centre_x, size in pieces:
        radius = np.hypot(
            (y - centre_y * height) / (size * height), (x - centre_x * width) / (size * width)
        )
        nearest = np.minimum(nearest, radius / size)
    ragged = sum(
        weight * smooth_noise(rng, y.shape, scale / 4)
        for weight, scale in ((0.036, 500.0), (0.016, 130.0), (0.005, 30.0))
    )
    level = nearest + ragged * len(pieces) ** 1.2
    border = np.minimum.reduce([y, x, height - y, width - x])
    # Pushed away from the slide's border by a ragged margin: no straight cuts.
    level += 0.25 * np.maximum(0, 1.6 - (border + 22 * smooth_noise(rng, y.shape, 20.0)) / 70)
    inside = level < np.quantile(level, share)
    inside = ndimage.binary_fill_holes(ndimage.binary_opening(inside, iterations=6))
    pieces_found, count = ndimage.label(inside)
    sizes = ndimage.sum_labels(inside, pieces_found, np.arange(1, count + 1)) * 16.0
    inside = np.isin(pieces_found, 1 + np.flatnonzero(sizes > 100_000.0))
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 1.5)
    return (
        np.asarray(Image.fromarray(soft).resize((width, height), Image.Resampling.BILINEAR)) > 0.5
    )


def _place_glands(tissue: Mask, rng: np.random.Generator) -> tuple[list[Gland], NDArray[np.int32]]:
    """Glands one after another until they cover their share; a later one yields to the earlier ones it touches."""
    labels = np.zeros(tissue.shape, np.int32)
    free = _erode(tissue, _EDGE_UM)
    starts = np.argwhere(free[::8, ::8]) * 8
    glands: list[Gland] = []
    centres: list[NDArray[np.float64]] = []
    wanted, covered = _GLAND_SHARE * tissue.sum(), 0
    for _ in range(6000):
        if covered >= wanted:
            break
        if centres and rng.random() < 0.7:  # beside another one: glands come in crowds, and touch
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(85, 190)
            centre = centres[rng.integers(len(centres))] + distance * np.array(
                [np.sin(angle), np.cos(angle)]
            )
        else:
            centre = starts[rng.integers(len(starts))].astype(np.float64)
        if (
            not (0 <= centre[0] < tissue.shape[0] and 0 <= centre[1] < tissue.shape[1])
            or not free[int(centre[0]), int(centre[1])]
        ):
            continue
        if labels[int(centre[0]), int(centre[1])]:
            continue
        gland = _try_gland(centre, labels, free, rng)
        if gland is None:
            continue
        window = _window(gland)
        body = gland.depth_um > 0
        glands.append(gland)
        labels[window][body] = len(glands)
        centres.append(centre)
        covered += int(body.sum())
    return glands, labels


def _try_gland(
    centre: NDArray[np.float64], labels: NDArray[np.int32], free: Mask, rng: np.random.Generator
) -> Gland | None:
    """A gland around a place, cut back from its neighbours by a septum; None where too little of it fits."""
    reach = 190
    y0, x0 = (max(int(c) - reach, 0) for c in centre)
    y1, x1 = (min(int(c) + reach, side) for c, side in zip(centre, labels.shape, strict=True))
    depth = _lobes((y1 - y0, x1 - x0), centre - (y0, x0), rng)
    before = int((depth > 0).sum())
    rim = max(depth[0].max(), depth[-1].max(), depth[:, 0].max(), depth[:, -1].max())
    if not _GLAND_AREA_UM2[0] < before < _GLAND_AREA_UM2[1] or rim > 0:
        return None
    ys, xs = _around(depth > 0, 16)
    y0, x0, depth = y0 + ys.start, x0 + xs.start, depth[ys, xs]
    window = (slice(y0, y0 + depth.shape[0]), slice(x0, x0 + depth.shape[1]))
    if ((depth > 0) & ~free[window]).sum() > 0.05 * before:
        return None
    gap = rng.uniform(7.5, 11.0)
    taken = (labels[window] > 0) | ~free[window]
    if taken.any():
        room = ndimage.distance_transform_edt(~taken).astype(np.float32) - np.float32(gap)
        depth = np.minimum(ndimage.gaussian_filter(np.minimum(depth, room), 4.0), room)
    parts, count = ndimage.label(depth > 0)
    if count == 0:
        return None
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    body = ndimage.binary_fill_holes(parts == largest)
    if body.sum() < max(0.7 * before, _GLAND_AREA_UM2[0]):
        return None
    # Distances of the final shape: the lumen follows the contour that is left.
    inner = ndimage.distance_transform_edt(body).astype(np.float32)
    depth = np.where(
        body, np.maximum(np.maximum(depth, 0.01), inner - 1), np.minimum(depth, -0.01)
    ).astype(np.float32)
    ys, xs = _around(body, 12)
    # Collapsed, slit-like and wide lumina: the deepest point of a gland decides with the height of its epithelium.
    height = float(np.clip(inner.max() * rng.uniform(0.45, 1.1), 19.0, 40.0))
    return Gland(y0 + ys.start, x0 + xs.start, depth[ys, xs], height, float(rng.beta(0.9, 0.9)))


def _lobes(shape: tuple[int, int], centre: NDArray[np.float64], rng: np.random.Generator) -> Field:
    """Depth of a smooth union of capsules: a round gland, a bent crypt, or a trunk with lobes."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    heading = rng.uniform(0, 2 * np.pi)
    form = rng.choice(3, p=(0.28, 0.24, 0.48))
    segments: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []
    if form == 0:
        end = centre + rng.uniform(5, 40) * _unit(heading)
        segments.append((centre, end, rng.uniform(40, 72)))
    else:
        radius = rng.uniform(29, 42)
        points = [centre - rng.uniform(30, 70) * _unit(heading)]
        for _ in range(3):
            heading += rng.normal(0, 0.45)
            points.append(points[-1] + rng.uniform(30, 48) * _unit(heading))
        segments += [(a, b, radius * rng.uniform(0.88, 1.15)) for a, b in pairwise(points)]
        if form == 2:  # the branching form
            for _ in range(rng.integers(2, 5)):
                root = points[rng.integers(len(points))]
                tip = root + rng.uniform(56, 92) * _unit(rng.uniform(0, 2 * np.pi))
                segments.append((root, tip, rng.uniform(24, 36)))
    sharpness = np.float32(5.0)
    total = np.full(shape, 1e-9, np.float32)
    for a, b, radius in segments:
        along = (b - a).astype(np.float32)
        low = np.maximum(np.minimum(a, b) - radius - 40, 0).astype(int)
        high = np.maximum(np.maximum(a, b) + radius + 40, 0).astype(int)
        near = (slice(low[0], high[0]), slice(low[1], high[1]))
        v, u = y[near] - np.float32(a[0]), x[near] - np.float32(a[1])
        t = np.clip((v * along[0] + u * along[1]) / (along @ along), 0, 1)
        total[near] += np.exp(
            (np.float32(radius) - np.hypot(v - t * along[0], u - t * along[1])) / sharpness
        )
    return (sharpness * np.log(total) + 2.5 * smooth_noise(rng, shape, 30.0)).astype(np.float32)


def _place_look_alikes(
    tissue: Mask, gland: Mask, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Field]:
    """Blobs of each kind in the stroma between the glands, up to their share of tissue."""
    kind = np.zeros(tissue.shape, np.uint8)
    wall = np.zeros(tissue.shape, np.float32)
    taken = ~_erode(tissue, 10.0) | gland
    starts = np.argwhere(~taken[::8, ::8]) * 8
    for name, share, smallest, largest in _LOOK_ALIKES:
        wanted, covered = share * tissue.sum(), 0
        for _ in range(400):
            if covered >= wanted:
                break
            centre = starts[rng.integers(len(starts))]
            if taken[tuple(centre)]:
                continue
            radius = rng.uniform(smallest, largest)
            stretch = rng.uniform(3.0, 7.0) if name is Kind.CLEFT else rng.uniform(1.0, 1.7)
            reach = int(radius * stretch * 1.4) + 12
            y0, x0 = np.maximum(centre - reach, 0)
            window = (slice(y0, centre[0] + reach), slice(x0, centre[1] + reach))
            depth = _blob(taken[window], centre - (y0, x0), radius, stretch, rng)
            body = depth > 0
            if body.sum() < 0.3 * np.pi * radius**2 * stretch:
                continue
            kind[window][body] = name
            wall[window][body] = depth[body]
            taken[window] |= depth > -3
            covered += int(body.sum())
    return kind, wall


def _blob(
    taken: Mask, centre: NDArray[np.int64], radius: float, stretch: float, rng: np.random.Generator
) -> Field:
    """Depth of a stretched, wobbly disc that keeps 5 um from what is there."""
    angle = rng.uniform(0, np.pi)
    y, x = (
        axis - c
        for axis, c in zip(
            np.mgrid[: taken.shape[0], : taken.shape[1]].astype(np.float32), centre, strict=True
        )
    )
    u, v = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
    depth = (
        radius
        - np.hypot(u / stretch, v)
        + 0.12 * radius * smooth_noise(rng, taken.shape, max(radius * 0.8, 8.0))
    )
    room = 2 * ndimage.distance_transform_edt(~taken[::2, ::2]).astype(np.float32) - 6
    size = (2 * room.shape[1], 2 * room.shape[0])
    room = np.asarray(Image.fromarray(room).resize(size, Image.Resampling.BILINEAR))[
        : taken.shape[0], : taken.shape[1]
    ]
    return np.asarray(np.minimum(depth, np.where(taken, -9, room)), np.float32)


def _erode(mask: Mask, by_um: float) -> Mask:
    """Cells deeper than `by_um` inside a mask, from distances on a grid of 4 um."""
    coarse = ndimage.distance_transform_edt(np.pad(mask[::4, ::4], 1))[1:-1, 1:-1] > by_um / 4
    return (
        np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)[: mask.shape[0], : mask.shape[1]] & mask
    )


def _around(body: Mask, margin: int) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - margin, 0), rows[-1] + margin + 1), slice(
        max(columns[0] - margin, 0), columns[-1] + margin + 1
    )


def _window(gland: Gland) -> tuple[slice, slice]:
    height, width = gland.depth_um.shape
    return slice(gland.y_um, gland.y_um + height), slice(gland.x_um, gland.x_um + width)


def _unit(angle: float) -> NDArray[np.float64]:
    return np.array([np.sin(angle), np.cos(angle)])
