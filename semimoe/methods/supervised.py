"""Supervised-only: the experts and gates of Semi-MoE with L_sup alone (eq. 4).

Every table needs this row, and Semi-MoE continues it.
"""

from semimoe.methods.learner import (
    Learner,
    Phase,
    PhaseLoss,
    Step,
    detached_sum,
    task_log,
    weighted_sdf,
)
from semimoe.objectives.losses import supervised_terms, task_losses


class SupervisedLearner(Learner):
    """Experts and gates that learn from labelled tiles."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return (self.supervised_phase,)

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """Experts and gates learn from the labelled batch."""
        batch, training = step.labelled, self.context.training
        assert batch.targets is not None  # the loader refuses labelled tiles without labels
        outputs = step.forward(self.network, batch.image)
        experts = task_losses(outputs.experts, batch.targets, batch.weight).times(batch.share)
        gates = task_losses(outputs.gates, batch.targets, batch.weight).times(batch.share)
        terms = weighted_sdf(supervised_terms(experts, gates), training)
        log = task_log("sup_{}_expert", experts) | task_log("sup_{}_gate", gates)
        assert outputs.gate_weights is not None  # a network with gates
        weights = batch.share.tiles * outputs.gate_weights.detach().float().mean(0)
        return PhaseLoss(
            self.aggregate(terms, batch.share.tiles), detached_sum(terms), log, {}, weights
        )


METHOD_LEARNER = SupervisedLearner
