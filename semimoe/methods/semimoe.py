"""Semi-MoE (arXiv 2509.13834, Algorithm 1): the gates' outputs are the experts' pseudo-labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    detached_sum,
    pseudo_label_counts,
    task_log,
    weight_sdf_loss,
)
from semimoe.methods.supervised import SupervisedLearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import (
    Targets,
    pixel_cross_entropy,
    pseudo_targets,
    total_loss,
    unsupervised_losses,
)
from semimoe.objectives.skeleton_distance import QUANTISED_MAX, skeleton_distance
from semimoe.objectives.targets import make_targets
from semimoe.objectives.teacher_targets import (
    PseudoTiles,
    TeacherMaps,
    certain_pixels,
    exchange_rectangles,
    flipped_back,
    glands_of_maps,
    targets_of_maps,
    teacher_maps,
)
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.split_choice import default_split
from tiling.raster.label_numbers import label_components

# The teacher's pseudo-labels are means over these flips (axes of (B, C, H, W)).
_TEACHER_FLIPS = ((), (2, 3))


class SemiMoELearner(SupervisedLearner):
    """Experts and gates; the experts learn from pseudo-labels of the gates."""

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        # Otherwise targets are made from glands on the CPU.
        self.is_recordable = context.training.pseudo == "teacher-mask" or (
            context.training.pseudo in ("gates", "teacher") and context.network.gates == "multi"
        )

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.unsupervised_phase

    def unsupervised_phase(self, step: Step) -> PhaseLoss:
        """The experts learn from pseudo-labels of the unlabelled batch (eqs. 5 and 6).

        The gates get no gradient, except with `teacher-mask`. Pseudo-labels come from the same
        forward pass, from the moving average, or are stored with the tiles.
        """
        batch = step.unlabelled_batch
        batch = self._labelled_by_teacher(step, batch, most_tiles=len(batch.image))
        outputs = self.forward_unlabelled(step, self.network, batch.image)
        if self.context.training.pseudo == "teacher-mask":
            return self._mask_consistency(step, outputs, batch)
        pseudo = batch.targets or self._online_pseudo_labels(outputs)
        weight = unsupervised_weight(step.progress, self.context.training)
        return self._unsupervised_loss(outputs, pseudo, batch, weight)

    def labelled_before_division(self, step: Step, *, most_tiles: int) -> Step:
        """See `Learner`: the teacher decides which pixels count."""
        batch = step.unlabelled
        if batch is None:
            return step
        return step._replace(
            unlabelled=self._labelled_by_teacher(step, batch, most_tiles=most_tiles)
        )

    def _unsupervised_loss(
        self,
        outputs: NetworkOutputs,
        pseudo: Targets,
        batch: Batch,
        weight: Tensor,
    ) -> PhaseLoss:
        """Eq. 6 for the outputs of tiles with pseudo-labels, times `weight`."""
        training, share = self.context.training, batch.share
        losses = unsupervised_losses(
            outputs.experts, pseudo, batch.weight, training=training
        ).times(share)
        weighted_losses = weight_sdf_loss(losses, training)
        no_supervised_loss = torch.zeros((), device=batch.image.device)
        loss = total_loss(no_supervised_loss, self.aggregate(weighted_losses, share.tiles), weight)
        return PhaseLoss(
            loss,
            weight * detached_sum(weighted_losses),
            task_log("unsup_{}", losses),
            pseudo_label_counts(pseudo.mask, batch),
            None,
        )

    def _mask_consistency(self, step: Step, outputs: NetworkOutputs, batch: Batch) -> PhaseLoss:
        """The masks of expert and gate learn the teacher's mask; distance and boundary do not.

        Mean of the cross-entropy over all pixels of the tiles, 0 where the teacher is not certain,
        similar to UniMatch: few certain pixels have little weight. The features of all experts get
        a gradient, through the mask gate.
        """
        assert batch.targets is not None  # of the teacher
        mask = batch.targets.mask
        errors = [
            pixel_cross_entropy(logits.seg, mask) for logits in (outputs.experts, outputs.gates)
        ]
        error = (torch.stack(errors).mean(0) * batch.weight).mean()
        counts = pseudo_label_counts(mask, batch)
        return self.unsupervised_mask_loss(step, batch.share.tiles * error, counts)

    def _labelled_by_teacher(self, step: Step, batch: Batch, *, most_tiles: int) -> Batch:
        """Mixed tiles with labels of the gates of the moving average (`teacher_maps`).

        A batch with labels, and every batch with another setting of `pseudo`, stays as it is.
        """
        if not self.context.training.has_teacher or batch.targets is not None:
            return batch
        assert batch.weakly_augmented is not None  # the loader makes it for this setting
        parts = [
            self._labels_of_teacher(step, images)
            for images in torch.split(batch.weakly_augmented, most_tiles)
        ]
        pseudo = Targets(
            *(torch.cat(arrays) for arrays in zip(*(p for p, _ in parts), strict=True))
        )
        counts = torch.cat([certain for _, certain in parts])
        weight = (counts & (batch.weight > 0)).float()
        tiles = exchange_rectangles(
            PseudoTiles(batch.image, pseudo, weight, batch.truth, batch.truth_weight)
        )
        return batch._replace(**tiles._asdict(), weakly_augmented=None)

    def _labels_of_teacher(self, step: Step, images: Tensor) -> tuple[Targets, Tensor]:
        """Pseudo-labels of weakly augmented images, and where they count, see `certain_pixels`."""
        assert self.average is not None  # the settings demand it
        self.average.eval()
        with torch.no_grad():
            views = [
                flipped_back(step.forward(self.average, images.flip(axes)), axes)
                for axes in _TEACHER_FLIPS
            ]
        maps = teacher_maps(views)
        pseudo, counts = targets_of_maps(maps), certain_pixels(maps, views)
        if self.context.training.pseudo == "teacher-glands":
            mask = pseudo.mask
            pseudo = self._targets_of_glands(self._split(maps), mask.device)
            # What the rule drops (small objects, pixels far from a seed) may be a part of a gland.
            counts &= pseudo.mask == mask
        elif self.context.training.pseudo == "teacher" and not _every_expert_has_a_gate(views[0]):
            pseudo = self._targets_from_mask(pseudo.mask)
        return pseudo, counts

    def _split(self, maps: TeacherMaps) -> list[NDArray[np.int32]]:
        """Glands of each tile, by the split rule of the model with its default parameters."""
        context = self.context
        split = default_split(context.training.split_rule, sdf_um=context.network.sdf_um)
        parameters = split.parameters(
            threshold=0.5,
            min_area_um2=context.training.min_area_um2,
            sdf_um=context.network.sdf_um,
            use_sdf=context.network.splits_by_distance,
        )
        return glands_of_maps(maps, mpp_um=context.mpp_um, parameters=parameters)

    def _online_pseudo_labels(self, outputs: NetworkOutputs) -> Targets:
        """Predictions of all gates, or targets computed from the mask of its gate (Table 4)."""
        pseudo = pseudo_targets(outputs.gates)
        if self.context.training.pseudo == "gates" and _every_expert_has_a_gate(outputs):
            return pseudo
        return self._targets_from_mask(pseudo.mask)

    def _targets_from_mask(self, mask: Tensor) -> Targets:
        """Targets whose glands are the 8-connected components of a mask int64 (B, H, W)."""
        labels = [label_components(image) for image in mask.cpu().numpy()]
        return self._targets_of_glands(labels, mask.device)

    def _targets_of_glands(self, labels: list[NDArray[np.int32]], device: torch.device) -> Targets:
        """Targets of tiles with these glands, int32 (H, W)."""
        network = self.context.network
        arrays = [
            make_targets(
                image, np.ones(image.shape, np.uint8), mpp_um=self.context.mpp_um, network=network
            )
            for image in labels
        ]
        sdf = torch.from_numpy(np.stack([one.sdf for one in arrays]))[:, None]
        mask, boundary = (
            torch.from_numpy(np.stack(maps).astype(np.int64))
            for maps in ([one.mask for one in arrays], [one.boundary for one in arrays])
        )
        targets = Targets(mask.to(device), sdf.to(device), boundary.to(device))
        if network.sdf_scale != "skeleton":
            return targets
        skeleton = np.stack([skeleton_distance(image) for image in labels])
        return targets.with_skeleton_distance(torch.from_numpy(skeleton).to(device) / QUANTISED_MAX)


def _every_expert_has_a_gate(outputs: NetworkOutputs) -> bool:
    return all(
        gate is not None
        for expert, gate in zip(outputs.experts, outputs.gates, strict=True)
        if expert is not None
    )


METHOD_LEARNER = SemiMoELearner
