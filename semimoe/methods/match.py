"""MATCH (Xu et al. 2025, NeurIPS, arXiv 2510.01532): structures that many predictions share.

As in TopoSemiSeg by the same authors, a student learns the pixels of a teacher and topology.
A structure (component of a probability map) is reliable if it is found in all of several
predictions (facets) of a tile (equations numbered here):

(1) L = L_sup + lambda_cons L_cons + lambda_intra L_intra + lambda_temp L_temp

The facets of L_intra are four predictions of the student with dropout, those of L_temp the student
and snapshots of its weights from earlier steps (B_intra = B_temp = 4).

MATCH-Pair compares the structures i, j of two facets by

(2) S_ij = w_i w_j |M_i and M_j| / |M_i or M_j| (1 - d_ij / d_max)

with the persistence w, the masks M (flood fill from the birth) and the distance d of the births;
the Hungarian algorithm finds the matching with the largest sum, of which pairs with S of at least
0.1 are kept. MATCH-Global joins the matchings of consecutive facets to a graph; its connected
components are structures. With p_b, p_d the probabilities at birth and death, the losses L_intra
and L_temp are sums over the structures of

(3) (1 - p_b)^2 + p_d^2 for a structure that all facets share, (p_b - p_d)^2 for another one.

The paper writes (3) with 1 - p. Structures with a persistence of at most 0.03 are never matched.

The paper's text was not at hand: equations and the number of facets come from a public summary,
the limits of S and of the persistence, and the division of w by the largest persistence of the
facet, from the public code. That code holds matching and loss alone. What both leave open, and what
is done here:

- lambda_cons: `unsup_max` over the schedule; in a table of methods it is the weight of TopoSemiSeg.
- As in TopoSemiSeg: L_cons, lambda_intra = lambda_temp = 0.02 lambda_cons, and the start of L_intra
  and L_temp at three quarters of the schedule.
- Dropout: rate 0.3 on all features of the encoder, because the U-Net has none of its own.
- Snapshots: every 50 steps, without gradient; L_temp begins when there are three of them.

Differences of the public code. d_max is the largest distance of two births, here the diagonal of
the tile, so that a single pair is not refused; MATCH-Global refuses births further apart than 0.3
d_max instead of the last factor of S. Pairs that are left are matched again, several to one, from
S = 0.05 on; here each structure has one partner at most. M is the component of the birth just above
the death; that of the highest component, which never ends, is the whole tile there, so that it is
shared by any facets, and here the component above 0.5. Components are 4-connected, here 8-connected
as in all masks. (3) is a sum over the facets, here the mean over those that learn. To save time,
maps have half the sides here, and only the 64 structures of the longest persistence count.

The teacher, which is a moving average already, predicts, and `ema_decay` has no effect.

B batch, T facets, N structures, H, W sides, h, w those of reduced maps. The training needs the
package gudhi.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn import functional

from semimoe.methods import METHODS
from semimoe.methods.learner import LearnerContext, Step
from semimoe.methods.toposemiseg import TopoSemiSegLearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.networks.plain_unet import UNet
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.objectives.batch import Batch
from semimoe.objectives.persistence import (
    NO_PIXEL,
    CriticalPixelList,
    PersistencePairs,
    persistence_pairs,
)

_FACETS = 4
_DROPOUT = 0.3
_STEPS_PER_SNAPSHOT = 50
_LEAST_SIMILARITY = 0.1
_LARGEST_NOISE = 0.03  # persistence
_ENDLESS_LEVEL = 0.5
_MOST_STRUCTURES = 64
_REDUCTION = 2
_EIGHT_CONNECTED = np.ones((3, 3), int)


class MatchLearner(TopoSemiSegLearner):
    """A student whose predictions share their structures.

    Attributes
    ----------
    snapshots : the student at earlier steps, oldest first
    snapshot_count : int64 scalar, snapshots that were taken, at most those that are kept
    """

    snapshot_count: Tensor

    def __init__(self, context: LearnerContext) -> None:
        METHODS["match"].check_package()
        super().__init__(context)
        self.snapshots = nn.ModuleList(
            copy.deepcopy(self.student).requires_grad_(False) for _ in range(_FACETS - 1)
        )
        self.register_buffer("snapshot_count", torch.zeros((), dtype=torch.int64))

    def topological_loss(
        self, step: Step, batch: Batch, student: Tensor, teacher: Tensor
    ) -> Tensor:
        """L_intra + L_temp; the teacher's map is not used."""
        loss = shared_structure_loss(_reduced(self._facets_of_dropout(step, batch), batch))
        if int(self.snapshot_count) < len(self.snapshots):
            return loss
        past = self._facets_of_snapshots(step, batch)
        facets = _reduced(torch.cat([past, student[None]]), batch)
        return loss + shared_structure_loss(facets, learning=[len(past)])

    def after_update(self, step: int) -> None:
        """Update the teacher and, every few steps, the snapshots."""
        super().after_update(step)
        if (step + 1) % _STEPS_PER_SNAPSHOT:
            return
        networks = [*self.snapshots, self.student]
        for older, newer in pairwise(networks):
            older.load_state_dict(newer.state_dict())
        self.snapshot_count.add_(1).clamp_(max=len(self.snapshots))

    def _facets_of_dropout(self, step: Step, batch: Batch) -> Tensor:
        """Gland probability (T, B, H, W) of the student with dropout, with gradient."""
        student = self.student
        assert isinstance(student, UNet)

        def predict(images: Tensor) -> Tensor:
            features = [
                functional.dropout(feature.repeat(_FACETS, 1, 1, 1), _DROPOUT)
                for feature in student.encode(images)
            ]
            return student.outputs(student.decoder(features)).gates.seg  # (T B, 2, H, W)

        with self.statistics_of_unlabelled(student):
            logits = step.forward(predict, batch.image)
        maps = _gland_probability(logits)
        return maps.view(_FACETS, -1, *maps.shape[1:])

    def _facets_of_snapshots(self, step: Step, batch: Batch) -> Tensor:
        """Gland probability (T - 1, B, H, W) of the snapshots, oldest first."""
        maps = []
        for snapshot in self.snapshots:
            with torch.no_grad(), keep_running_statistics(snapshot):
                outputs: NetworkOutputs = step.forward(snapshot, batch.image)
            maps.append(_gland_probability(outputs.gates.seg))
        return torch.stack(maps)


class Structures(NamedTuple):
    """Structures of one facet of a tile.

    Attributes
    ----------
    pairs : births and deaths
    masks : bool (N, h w)
    shape : h, w
    """

    pairs: PersistencePairs
    masks: NDArray[np.bool_]
    shape: tuple[int, int]

    @property
    def births(self) -> NDArray[np.float64]:
        """Position (y, x) of the births, (N, 2)."""
        return np.stack(np.divmod(self.pairs.birth_pixel, self.shape[1]), 1).astype(float)


def shared_structure_loss(facets: Tensor, *, learning: Sequence[int] | None = None) -> Tensor:
    """Loss of the structures of maps (T, B, h, w), mean over the tiles.

    Parameters
    ----------
    learning : indices of the facets whose pixels move; None: all
    """
    learning = range(len(facets)) if learning is None else learning
    critical = CriticalPixelList()
    maps = facets.detach().cpu().numpy()
    count, tiles = facets.shape[:2]
    for tile in range(tiles):
        structures = [find_structures(maps[facet, tile]) for facet in range(count)]
        shared = match_global(structures)
        for facet in learning:
            offset = (facet * tiles + tile) * maps[0, 0].size
            pairs, is_shared = structures[facet].pairs, shared[facet]
            reliable = pairs.select(is_shared)
            ones = np.ones(len(reliable.birth))
            critical.move(reliable, birth=ones, death=0 * ones, offset=offset)
            critical.join(pairs.select(~is_shared), weight=1.0, offset=offset)
    return critical.on(facets.device).loss(facets) / (tiles * len(learning))


def find_structures(probability: NDArray[np.float32]) -> Structures:
    """Structures of a map (h, w) with the longest persistence, and their masks."""
    pairs = persistence_pairs(probability)
    longest = np.argsort(-pairs.persistence, kind="stable")[:_MOST_STRUCTURES]
    pairs = pairs.select(longest)
    masks = np.zeros((len(longest), probability.size), bool)
    for number, pixel in enumerate(pairs.birth_pixel):
        is_endless = pairs.death_pixel[number] == NO_PIXEL
        level = _ENDLESS_LEVEL if is_endless else pairs.death[number]
        labels, _ = ndimage.label(probability > level, _EIGHT_CONNECTED)
        own = labels.flat[pixel]
        masks[number] = (labels.ravel() == own) & (own > 0)
    return Structures(pairs, masks, probability.shape)


def similarity(first: Structures, second: Structures) -> NDArray[np.float64]:
    """S of the structures of two facets (eq. 2), (N, N'); 0 for noise."""
    masks, others = first.masks.astype(np.float32), second.masks.astype(np.float32)
    common = masks @ others.T
    union = masks.sum(1)[:, None] + others.sum(1) - common
    overlap = common / np.maximum(union, 1)
    distance = np.linalg.norm(first.births[:, None] - second.births, axis=2)
    nearness = 1 - distance / np.hypot(*first.shape)
    score: NDArray[np.float64] = np.outer(_weights(first), _weights(second)) * overlap * nearness
    return score


def _weights(structures: Structures) -> NDArray[np.float64]:
    """Persistence divided by the largest one, (N,); 0 for noise."""
    persistence = structures.pairs.persistence
    persistence = np.where(persistence <= _LARGEST_NOISE, 0.0, persistence)
    weights: NDArray[np.float64] = persistence / max(persistence.max(), _LARGEST_NOISE)
    return weights


def match_pair(first: Structures, second: Structures) -> NDArray[np.intp]:
    """MATCH-Pair: structures of two facets that are the same, (matches, 2)."""
    score = similarity(first, second)
    own, other = linear_sum_assignment(score, maximize=True)
    is_match = score[own, other] >= _LEAST_SIMILARITY
    return np.stack([own[is_match], other[is_match]], axis=1)


def match_global(facets: Sequence[Structures]) -> list[NDArray[np.bool_]]:
    """MATCH-Global: which structures of each facet are found in all facets."""
    sizes = [len(facet.masks) for facet in facets]
    offsets = np.cumsum([0, *sizes])
    edges = [
        match_pair(first, second) + offsets[number : number + 2]
        for number, (first, second) in enumerate(pairwise(facets))
    ]
    start, end = np.concatenate(edges).T
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(offsets[-1],) * 2)
    # The matching of two facets is one to one: a component has one structure of a facet at most.
    _, component = connected_components(graph, directed=False)
    is_shared = np.bincount(component)[component] == len(facets)
    return np.split(is_shared, offsets[1:-1])


def _gland_probability(logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), 1)[:, 1]


def _reduced(facets: Tensor, batch: Batch) -> Tensor:
    """Maps (T, B, H, W) -> (T, B, h, w); pixels without weight are background."""
    return functional.avg_pool2d(facets * batch.weight, _REDUCTION)


METHOD_LEARNER = MatchLearner
