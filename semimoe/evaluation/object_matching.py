"""Which objects of truth and prediction overlap, and the partner of each object."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Labels = NDArray[np.integer[Any]]


class MatchedObjects(NamedTuple):
    """Objects 1..N of one label image; index 0 of each array is the background.

    Attributes
    ----------
    labels : int32 (H, W), 0..N
    area_px : int64 (N + 1,)
    partner : int64 (N + 1,), the object of the other image that shares the most pixels, of
        equal ones that with the smallest number; 0: none shares a pixel
    shared_px : int64 (N + 1,), pixels shared with the partner
    """

    labels: NDArray[np.int32]
    area_px: NDArray[np.int64]
    partner: NDArray[np.int64]
    shared_px: NDArray[np.int64]

    @property
    def object_count(self) -> int:
        """Number of objects."""
        return len(self.area_px) - 1


def match_objects(
    truth: NDArray[np.int32], prediction: NDArray[np.int32]
) -> tuple[MatchedObjects, MatchedObjects]:
    """Objects of truth with their partners in the prediction, and the other way round.

    Parameters
    ----------
    truth, prediction : int32 (H, W), numbered without gaps, see `compact_labels`
    """
    true_area, predicted_area = np.bincount(truth.ravel()), np.bincount(prediction.ravel())
    both = (truth > 0) & (prediction > 0)
    # A sparse matrix: for slides with many thousand glands a dense one would take gigabytes.
    ones = np.ones(int(np.count_nonzero(both)), np.int64)
    shape = (len(true_area), len(predicted_area))
    shared = sparse.coo_array((ones, (truth[both], prediction[both])), shape=shape)
    shared.sum_duplicates()
    true, predicted = shared.coords
    return (
        MatchedObjects(truth, true_area, *_partners(true, predicted, shared.data, shape[0])),
        MatchedObjects(
            prediction, predicted_area, *_partners(predicted, true, shared.data, shape[1])
        ),
    )


def compact_labels(labels: Labels, min_area_px: float) -> NDArray[np.int32]:
    """Labels numbered 1..N in the same order, without gaps and without small objects.

    If the labels are so already, they are returned as they are, without a copy.

    Parameters
    ----------
    labels : int (H, W), 0 background
    min_area_px : objects with fewer pixels are removed

    Raises
    ------
    ValueError
        A label is negative.
    """
    if labels.size and labels.min() < 0:
        raise ValueError(
            f"the smallest label is {labels.min()}; 0 is background and objects are numbered from 1"
        )
    numbers = labels
    if labels.max(initial=0) > labels.size:  # a table indexed by label would be too large
        numbers = np.searchsorted(np.concatenate([[0], np.unique(labels[labels > 0])]), labels)
    area_px = np.bincount(numbers.ravel(), minlength=1)
    stays = (area_px > 0) & (area_px >= min_area_px)
    if stays[1:].all():
        return numbers.astype(np.int32, copy=False)
    stays[0] = False
    new_number: NDArray[np.int32] = np.where(stays, np.cumsum(stays), 0).astype(np.int32)
    return new_number[numbers]


def _partners(
    objects: NDArray[np.integer[Any]],
    others: NDArray[np.integer[Any]],
    shared_px: NDArray[np.int64],
    size: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Partner of each object and the pixels shared with it, each (size,).

    Parameters
    ----------
    objects, others, shared_px : the pairs that share pixels, each (number of pairs,)
    """
    largest_first = np.lexsort((others, -shared_px, objects))
    number, first = np.unique(objects[largest_first], return_index=True)
    partner, partner_shared_px = np.zeros(size, np.int64), np.zeros(size, np.int64)
    partner[number] = others[largest_first][first]
    partner_shared_px[number] = shared_px[largest_first][first]
    return partner, partner_shared_px
