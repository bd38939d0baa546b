"""A plain U-Net, supervised only: what experts, gates, adaptive weights and unlabelled tiles are measured against."""

import torch

from semimoe.losses import task_losses
from semimoe.methods.phase import PhaseLoss, Step


def unet_phase(step: Step) -> PhaseLoss:
    """Mask, distance and boundary from one labelled batch; `aggregate` is the plain sum, as the adaptive weights are part of Semi-MoE."""
    assert step.labelled.targets is not None  # the loader refuses labelled tiles without labels
    outputs = step.model(step.labelled.image)
    terms = task_losses(outputs.experts, step.labelled.targets, step.labelled.weight)
    log = {f"sup_{task}_expert": loss.detach() for task, loss in terms._asdict().items()}
    terms = terms._replace(sdf=step.training.sdf_weight * terms.sdf)
    return PhaseLoss(step.aggregate(terms), torch.stack(terms).sum().detach(), log, {}, None)


PHASES = (unet_phase,)
