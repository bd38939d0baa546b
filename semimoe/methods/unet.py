"""A plain U-Net, supervised only: what experts, gates, adaptive weights and unlabelled tiles are measured against."""

from semimoe.methods.phase import PhaseLoss, Step, summed, task_log, weighted_sdf
from semimoe.objectives.losses import task_losses


def unet_phase(step: Step) -> PhaseLoss:
    """Mask, distance and boundary from one labelled batch; `aggregate` is the plain sum, as the adaptive weights are part of Semi-MoE."""
    batch = step.labelled
    assert batch.targets is not None  # the loader refuses labelled tiles without labels
    outputs = step.model(batch.image)
    losses = task_losses(outputs.experts, batch.targets, batch.weight).times(
        images=batch.share.images, pixels=batch.share.pixels
    )
    terms = weighted_sdf(losses, step.training)
    return PhaseLoss(
        step.aggregate(terms, batch.share.tiles),
        summed(terms),
        task_log("sup_{}_expert", losses),
        {},
        None,
    )


PHASES = (unet_phase,)
