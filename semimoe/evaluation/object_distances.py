"""Symmetric Hausdorff distances between the objects of truth and prediction."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


class ObjectDistances:
    """Symmetric Hausdorff distances in px, each computed once.

    A distance transform covers only the bounding box of both objects: the nearest pixel of an
    object is never outside of it.

    Parameters
    ----------
    truth, prediction : int32 (H, W), each numbered without gaps, with at least one object or none
        in both
    """

    def __init__(self, truth: NDArray[np.int32], prediction: NDArray[np.int32]) -> None:
        self._truth, self._prediction = truth, prediction
        self._true_boxes = ndimage.find_objects(truth)
        self._predicted_boxes = ndimage.find_objects(prediction)
        self._true_corners = _corners(self._true_boxes)
        self._predicted_corners = _corners(self._predicted_boxes)
        self._computed: dict[tuple[int, int], float] = {}

    def of_true_object(self, number: int, partner: int) -> float:
        """Distance of a true object to a predicted one; partner 0: to the nearest one."""
        if partner:
            return self._between(number, partner)
        return self._nearest(
            self._true_corners[number - 1],
            self._predicted_corners,
            [(number, other) for other in range(1, len(self._predicted_boxes) + 1)],
        )

    def of_predicted_object(self, number: int, partner: int) -> float:
        """Distance of a predicted object to a true one; partner 0: to the nearest one."""
        if partner:
            return self._between(partner, number)
        return self._nearest(
            self._predicted_corners[number - 1],
            self._true_corners,
            [(other, number) for other in range(1, len(self._true_boxes) + 1)],
        )

    def _nearest(
        self,
        corners: NDArray[np.int64],
        candidate_corners: NDArray[np.int64],
        candidates: list[tuple[int, int]],
    ) -> float:
        """Smallest distance of the candidates, which are pairs (true object, predicted object).

        The distance of two objects is at least the largest difference between the sides of their
        boxes. Candidates are tried in the order of this lower bound, so only few are measured.
        """
        lower_bounds = np.abs(candidate_corners - corners).max(axis=(1, 2))
        smallest = np.inf
        for index in np.argsort(lower_bounds, kind="stable").tolist():
            if lower_bounds[index] >= smallest:
                break
            smallest = min(smallest, self._between(*candidates[index]))
        return float(smallest)

    def _between(self, true: int, predicted: int) -> float:
        if (true, predicted) not in self._computed:
            self._computed[true, predicted] = self._measure(true, predicted)
        return self._computed[true, predicted]

    def _measure(self, true: int, predicted: int) -> float:
        boxes = zip(self._true_boxes[true - 1], self._predicted_boxes[predicted - 1], strict=True)
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in boxes)
        true_mask, predicted_mask = self._truth[box] == true, self._prediction[box] == predicted
        return max(
            _directed_distance(true_mask, predicted_mask),
            _directed_distance(predicted_mask, true_mask),
        )


def _corners(boxes: list[tuple[slice, slice]]) -> NDArray[np.int64]:
    """First and last edge of each box, int64 (N, 2 axes, 2)."""
    return np.array([[(side.start, side.stop) for side in box] for box in boxes])


def _directed_distance(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Largest distance of a pixel of `mask` to the nearest pixel of `other`, px."""
    outside = mask & ~other
    if not outside.any():
        return 0.0
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~other)
    return float(distance[outside].max())
