"""Cuts outlines of very many points into pieces, so that each block draws only what is near it."""

from typing import Any

import numpy as np
import shapely

_MAX_POINTS, _MAX_PIECE_POINTS = 2000, 500
_MIN_PIECE_PX = 64
_AREA_TOLERANCE = 1e-6


def drawing_pieces(shape: Any) -> list[Any]:  # noqa: ANN401  # shapely has no types
    """A shape, or if it has many points, pieces that together contain the same centres of pixels.

    Parameters
    ----------
    shape : shapely Polygon or MultiPolygon, valid, (x, y) in stored pixel edges; it is cut at whole
        numbers, where no pixel has its centre

    >>> len(drawing_pieces(shapely.Point(0, 0).buffer(5000, quad_segs=1000)))
    12
    """
    if shapely.get_num_coordinates(shape) <= _MAX_POINTS:
        return [shape]
    pieces, pending = [], [shape]
    while pending:
        piece = pending.pop()
        halves = _halves(piece)
        # Only pieces that are exact are used, whatever the shape.
        is_exact = abs(sum(half.area for half in halves) - piece.area) <= (
            _AREA_TOLERANCE * piece.area
        )
        if halves and is_exact:
            pending += halves
        else:
            pieces.append(piece)
    return pieces


def _halves(piece: Any) -> list[Any]:  # noqa: ANN401  # shapely has no types
    """Both sides of a cut across the longer side; none for a small piece, or one of few points."""
    left, top = np.floor(piece.bounds[:2]).tolist()
    right, bottom = np.ceil(piece.bounds[2:]).tolist()
    width, height = right - left, bottom - top
    has_few_points = shapely.get_num_coordinates(piece) <= _MAX_PIECE_POINTS
    if has_few_points or max(width, height) <= _MIN_PIECE_PX:
        return []
    x, y = left + width // 2, top + height // 2
    if width > height:
        boxes = [(left, top, x, bottom), (x, top, right, bottom)]
    else:
        boxes = [(left, top, right, y), (left, y, right, bottom)]
    # The general intersection takes seconds for 100 000 points.
    halves = [shapely.clip_by_rect(piece, *box) for box in boxes]
    return [half for half in halves if half.area > 0]
