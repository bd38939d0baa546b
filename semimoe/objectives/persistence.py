"""Components of a probability map by persistent homology, and losses at their critical pixels.

While a threshold falls from 1 to 0, the pixels above it form components (8-connected). A component
appears at its highest pixel (birth) and ends at the pixel where it joins a component with a higher
one (death); the highest component of a map never ends. The difference of both probabilities is its
persistence (Edelsbrunner and Harer 2010). The persistence diagram is the set of these pairs.

N components, B batch, H, W sides. It needs the package gudhi.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

NO_PIXEL = -1


class PersistencePairs(NamedTuple):
    """Birth and death of the components of a map.

    Attributes
    ----------
    birth_pixel, death_pixel : int64 (N,), indices y W + x; `NO_PIXEL` for a component without end
    birth, death : float64 (N,), probabilities at these pixels; a death without pixel is 0
    """

    birth_pixel: NDArray[np.int64]
    death_pixel: NDArray[np.int64]
    birth: NDArray[np.float64]
    death: NDArray[np.float64]

    @property
    def persistence(self) -> NDArray[np.float64]:
        """Birth minus death, (N,)."""
        return self.birth - self.death

    def select(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> "PersistencePairs":
        """The pairs of an index or a mask."""
        return PersistencePairs(
            self.birth_pixel[index], self.death_pixel[index], self.birth[index], self.death[index]
        )


def persistence_pairs(probability: NDArray[np.float32]) -> PersistencePairs:
    """Pairs of the components of a map (H, W) with values in [0, 1]."""
    # Models of the methods that use it predict without this package.
    import gudhi

    values = probability.astype(np.float64)
    # gudhi counts pixels by columns, and thresholds rise there.
    complex_of_map = gudhi.CubicalComplex(top_dimensional_cells=1 - values.T)
    complex_of_map.compute_persistence()
    ending, endless = complex_of_map.cofaces_of_persistence_pairs()
    pairs = np.asarray(ending[0] if ending else [], np.int64).reshape(-1, 2)
    highest = np.asarray(endless[0], np.int64)
    birth_pixel = np.concatenate([pairs[:, 0], highest])
    death_pixel = np.concatenate([pairs[:, 1], np.full(len(highest), NO_PIXEL)])
    flat = values.ravel()
    death = np.where(death_pixel == NO_PIXEL, 0.0, flat[death_pixel])
    return PersistencePairs(birth_pixel, death_pixel, flat[birth_pixel], death)


def match_diagrams(first: PersistencePairs, second: PersistencePairs) -> NDArray[np.intp]:
    """Optimal matching of two diagrams.

    The sum of the squared distances in the plane of birth and death is smallest (the 2-Wasserstein
    distance); a component may also be matched to the diagonal, at half its squared persistence.

    Returns
    -------
    array
        For each component of the first diagram the one of the second diagram; -1: the diagonal.
    """
    count, other = len(first.birth), len(second.birth)
    cost = np.zeros((count + other, count + other))
    differences = [
        np.subtract.outer(one, two)
        for one, two in ((first.birth, second.birth), (first.death, second.death))
    ]
    cost[:count, :other] = differences[0] ** 2 + differences[1] ** 2
    cost[:count, other:] = (first.persistence**2 / 2)[:, None]
    cost[count:, :other] = second.persistence**2 / 2
    _, column = linear_sum_assignment(cost)
    return np.where(column[:count] < other, column[:count], -1)


class CriticalPixels(NamedTuple):
    """Pixels of a batch of maps whose probabilities a loss changes.

    Attributes
    ----------
    moved : int64 (M,), pixels that move towards a probability
    targets : float32 (M,), that probability
    joined : int64 (P, 2), births and deaths that move towards each other
    weights : float32 (P,), factor of their squared difference
    """

    moved: Tensor
    targets: Tensor
    joined: Tensor
    weights: Tensor

    def loss(self, probability: Tensor) -> Tensor:
        """Sum of the squared differences, with gradient; the map has any shape."""
        flat = probability.flatten()
        moved = (flat[self.moved] - self.targets) ** 2
        birth, death = flat[self.joined].unbind(1)
        return moved.sum() + (self.weights * (birth - death) ** 2).sum()


class CriticalPixelList:
    """Collects the critical pixels of many maps."""

    def __init__(self) -> None:
        self._moved: list[NDArray[np.int64]] = []
        self._targets: list[NDArray[np.float64]] = []
        self._joined: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[np.float64]] = []

    def move(
        self,
        pairs: PersistencePairs,
        *,
        birth: NDArray[np.float64],
        death: NDArray[np.float64],
        offset: int,
    ) -> None:
        """Move births and deaths towards probabilities (N,).

        Parameters
        ----------
        offset : index of the first pixel of the map
        """
        ends = pairs.death_pixel != NO_PIXEL
        self._moved += [pairs.birth_pixel + offset, pairs.death_pixel[ends] + offset]
        self._targets += [birth, death[ends]]

    def join(self, pairs: PersistencePairs, *, weight: float, offset: int) -> None:
        """Shorten the persistence; a component without end stays."""
        ends = pairs.death_pixel != NO_PIXEL
        joined = np.stack([pairs.birth_pixel[ends], pairs.death_pixel[ends]], axis=1)
        self._joined.append(joined + offset)
        self._weights.append(np.full(len(joined), weight))

    def on(self, device: torch.device) -> CriticalPixels:
        """All of them as tensors."""
        empty = np.zeros((0, 2), np.int64)

        def tensor(parts: Sequence[NDArray[np.generic]], dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(device, dtype)

        return CriticalPixels(
            tensor([empty[:, 0], *self._moved], torch.int64),
            tensor([empty[:, 0].astype(float), *self._targets], torch.float32),
            tensor([empty, *self._joined], torch.int64),
            tensor([empty[:, 0].astype(float), *self._weights], torch.float32),
        )
