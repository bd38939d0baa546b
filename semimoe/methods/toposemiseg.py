"""TopoSemiSeg (Xu et al. 2024, ECCV, arXiv 2311.16447): consistent components of maps.

A Mean Teacher whose student also learns the topology of the teacher's gland probability. The
student predicts the strongly augmented tile, the teacher the weakly augmented one. Persistent
homology (`semimoe.objectives.persistence`) finds the components of both maps. Those with a
persistence above phi are signal, the others noise (eq. 3). The signal of the student is matched to
that of the teacher by the Wasserstein distance of the diagrams (eq. 4), and

    L = L_sup + lambda_1 L_pixel + lambda_2 (L_signal + L_noise)
    L_signal = sum over the student's signal |(b, d) - match of (b, d)|^2    (eq. 5)
    L_noise = sum over the student's noise (b - d)^2                         (eq. 7)

with b, d the probabilities at birth and death; a signal without partner is matched to the diagonal.
L_pixel is the cross-entropy with the teacher's probability. The sums are per tile; the loss is
their mean. The highest component of a map has no death: only its birth moves, and it is never noise
to be removed. Pixels without weight count as background.

The paper's text was not at hand: numbers of equations and defaults are those that public
implementations name. Defaults: phi = 0.7, lambda_1 up to 0.1 (Gaussian ramp), lambda_2 = 0.002,
decay of the moving average 0.999; 12,000 iterations without the topological loss, then 500 epochs
with it (on GlaS about a quarter of all iterations). Here lambda_1 is `unsup_max` over the schedule,
with the same ratio lambda_2 / lambda_1; the topological loss begins at three quarters of the
schedule; the decay is that of Mean Teacher, because the runs are a tenth as long. The teacher,
which is a moving average already, predicts, and `ema_decay` has no effect.

Differences of the public code (the loss only): it computes squares of 100 px, here the whole tile;
4-connected components, here 8-connected as in all masks; the Wasserstein distance of order 1 with
the largest coordinate, here the sum of squares that the loss consists of; a signal without partner
moves twice as far there, as noise does; a matched signal moves to 1 minus the probabilities of its
partner there, because diagrams of 1 - p are compared with p.

B batch, H, W sides. The training needs the package gudhi.
"""

import numpy as np
import torch
from torch import Tensor

from semimoe.methods import METHODS
from semimoe.methods.learner import (
    LearnerContext,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.mean_teacher import MeanTeacherLearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import pixel_mean
from semimoe.objectives.persistence import (
    CriticalPixelList,
    PersistencePairs,
    match_diagrams,
    persistence_pairs,
)

_LEAST_SIGNAL = 0.7  # phi
_TOPOLOGY_RATIO = 0.002 / 0.1  # lambda_2 / lambda_1
_TOPOLOGY_START = 0.75  # part of the schedule


class TopoSemiSegLearner(MeanTeacherLearner):
    """A student that learns the components of the teacher's map."""

    is_recordable = False  # persistent homology is computed on the CPU

    def __init__(self, context: LearnerContext) -> None:
        METHODS["toposemiseg"].check_package()
        super().__init__(context)

    def consistency_phase(self, step: Step) -> PhaseLoss:
        """The student learns the probability of the teacher, and its components."""
        batch = step.unlabelled_batch
        assert batch.weakly_augmented is not None  # the table of methods asks for it
        with torch.no_grad(), keep_running_statistics(self.network):
            outputs: NetworkOutputs = step.forward(self.network, batch.weakly_augmented)
            target = torch.softmax(outputs.gates.seg.float(), 1)  # (B, 2, H, W)
        logits = self.forward_unlabelled(step, self.student, batch.image).gates.seg.float()
        error = -(target * torch.log_softmax(logits, 1)).sum(1)  # (B, H, W)
        consistency = batch.share.pixels * pixel_mean(error, batch.weight)
        if float(step.progress) >= _TOPOLOGY_START:
            student = torch.softmax(logits, 1)[:, 1]
            topology = self.topological_loss(step, batch, student, target[:, 1])
            consistency = consistency + batch.share.tiles * _TOPOLOGY_RATIO * topology
        counts = pseudo_label_counts(target.argmax(1), batch)
        return self.unsupervised_mask_loss(step, consistency, counts)

    def topological_loss(
        self, step: Step, batch: Batch, student: Tensor, teacher: Tensor
    ) -> Tensor:
        """Mean over the tiles of the loss of their components.

        Parameters
        ----------
        student, teacher : gland probability (B, H, W), that of the student with gradient
        """
        return noise_aware_loss(student * batch.weight, teacher * batch.weight)


def noise_aware_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Eqs. 5 and 7, mean over the maps (B, H, W); only the student gets a gradient."""
    critical = CriticalPixelList()
    maps = zip(_arrays(student), _arrays(teacher), strict=True)
    for number, (student_map, teacher_map) in enumerate(maps):
        offset = number * student_map.size
        own, other = persistence_pairs(student_map), persistence_pairs(teacher_map)
        is_signal = own.persistence > _LEAST_SIGNAL
        critical.join(own.select(~is_signal), weight=1.0, offset=offset)
        signal = own.select(is_signal)
        target = other.select(other.persistence > _LEAST_SIGNAL)
        _move_to_partners(critical, signal, target, offset=offset)
    return critical.on(student.device).loss(student) / len(student)


def _move_to_partners(
    critical: CriticalPixelList, own: PersistencePairs, other: PersistencePairs, *, offset: int
) -> None:
    partner = match_diagrams(own, other)
    has_partner = partner >= 0
    matched = other.select(partner[has_partner])
    critical.move(own.select(has_partner), birth=matched.birth, death=matched.death, offset=offset)
    # The squared distance to the diagonal is half the squared persistence.
    critical.join(own.select(~has_partner), weight=0.5, offset=offset)


def _arrays(probability: Tensor) -> list[np.ndarray]:
    return list(probability.detach().float().cpu().numpy())


METHOD_LEARNER = TopoSemiSegLearner
