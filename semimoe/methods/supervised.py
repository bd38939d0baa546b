"""Supervised-only: the same experts and gates, L_sup alone (eq. 4). The row that every table needs, and Semi-MoE's first phase."""

from semimoe.methods.phase import PhaseLoss, Step, summed, task_log, weighted_sdf
from semimoe.objectives.losses import supervised_terms, task_losses


def supervised_phase(step: Step) -> PhaseLoss:
    """Experts and gates learn from the labelled batch."""
    batch = step.labelled
    assert batch.targets is not None  # the loader refuses labelled tiles without labels
    outputs = step.model(batch.image)
    experts = task_losses(outputs.experts, batch.targets, batch.weight).times(
        images=batch.share.images, pixels=batch.share.pixels
    )
    gates = task_losses(outputs.gates, batch.targets, batch.weight).times(
        images=batch.share.images, pixels=batch.share.pixels
    )
    terms = weighted_sdf(supervised_terms(experts, gates), step.training)
    log = task_log("sup_{}_expert", experts) | task_log("sup_{}_gate", gates)
    weights = batch.share.tiles * outputs.gate_weights.detach().float().mean(0)
    return PhaseLoss(step.aggregate(terms, batch.share.tiles), summed(terms), log, {}, weights)


PHASES = (supervised_phase,)
