"""Skeleton-aware distance of gland pixels (Lin et al. 2023, arXiv 2310.05262).

A pixel at distance b from the outline of its gland and s from the gland's skeleton has the value
(b / (b + s)) ** 0.8: 0 at the outline, 1 on the skeleton, however thick the gland is. It does not
change with the scale of the image.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

_EXPONENT = 0.8  # alpha of their eq. 2
# The outline is smoothed first: each of its corners would have a branch of the skeleton.
_SMOOTHING_PX = 3.0
# A gland that the image cuts is continued beyond the edge, so that its skeleton has no branches to
# the corners of the cut.
_PADDING_PX = 24
QUANTISED_MAX = 255


def skeleton_distance(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Skeleton-aware distance of each gland pixel.

    Parameters
    ----------
    labels : int32 (H, W), 0 background, 1..N one gland each

    Returns
    -------
    ndarray
        uint8 (H, W), 255 on the skeleton, 0 in the background.
    """
    result = np.zeros(labels.shape, np.uint8)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            gland = labels[box] == number
            result[box][gland] = _of_gland(gland, _cut_sides(box, labels.shape))[gland]
    return result


def _cut_sides(
    box: tuple[slice, slice], shape: tuple[int, ...]
) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    """Whether a box ends at the first and at the last pixel of the image, per axis."""
    return (
        (box[0].start == 0, box[0].stop == shape[0]),
        (box[1].start == 0, box[1].stop == shape[1]),
    )


def _of_gland(
    gland: NDArray[np.bool_], cut: tuple[tuple[bool, bool], tuple[bool, bool]]
) -> NDArray[np.uint8]:
    """Values in the bounding box of a gland, bool (h, w)."""
    padded = gland
    for axis, sides in enumerate(cut):
        for side, is_cut in enumerate(sides):
            widths = [(0, 0), (0, 0)]
            widths[axis] = (_PADDING_PX, 0) if side == 0 else (0, _PADDING_PX)
            padded = np.pad(padded, widths, mode="edge" if is_cut else "constant")
    inner = tuple(slice(_PADDING_PX, _PADDING_PX + length) for length in gland.shape)
    if padded.all():  # no outline is known: all of it is deep inside
        return np.full(gland.shape, QUANTISED_MAX, np.uint8)
    to_outline = ndimage.distance_transform_edt(padded)[inner] - 0.5
    smooth = ndimage.gaussian_filter(padded.astype(np.float32), _SMOOTHING_PX) > 0.5
    thin = skeletonize(smooth & padded)  # type: ignore[no-untyped-call]
    skeleton = thin[inner]
    if not skeleton.any():
        skeleton = to_outline == to_outline[gland].max()
    to_skeleton = ndimage.distance_transform_edt(~skeleton)
    share = np.clip(to_outline, 0, None) / np.maximum(to_outline + to_skeleton, 0.5)
    values: NDArray[np.uint8] = np.rint(QUANTISED_MAX * share**_EXPONENT).astype(np.uint8)
    return values
