"""Supervised-only: the same experts and gates, L_sup alone (eq. 4). The row that every table needs, and Semi-MoE's first phase."""

import torch

from semimoe.losses import supervised_terms, task_losses
from semimoe.methods.phase import PhaseLoss, Step


def supervised_phase(step: Step) -> PhaseLoss:
    """Experts and gates learn from the labelled batch."""
    assert step.labelled.targets is not None  # the loader refuses labelled tiles without labels
    outputs = step.model(step.labelled.image)
    experts = task_losses(outputs.experts, step.labelled.targets, step.labelled.weight)
    gates = task_losses(outputs.gates, step.labelled.targets, step.labelled.weight)
    terms = supervised_terms(experts, gates)
    terms = terms._replace(sdf=step.training.sdf_weight * terms.sdf)
    log = {f"sup_{task}_expert": loss.detach() for task, loss in experts._asdict().items()}
    log |= {f"sup_{task}_gate": loss.detach() for task, loss in gates._asdict().items()}
    plain = torch.stack(terms).sum().detach()
    assert outputs.gate_weights is not None  # of a network with gates
    return PhaseLoss(step.aggregate(terms), plain, log, {}, outputs.gate_weights.detach().float().mean(0))


PHASES = (supervised_phase,)
