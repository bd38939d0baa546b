"""Supervised-only: the network of Semi-MoE, trained with L_sup alone (eq. 4).

Every table of results has a row of this method. Semi-MoE continues a run of it.
"""

from semimoe.methods.learner import (
    Learner,
    Phase,
    PhaseLoss,
    Step,
    detached_sum,
    task_log,
    weight_sdf_loss,
)
from semimoe.objectives.gate_balance import gate_balance
from semimoe.objectives.losses import supervised_losses, task_losses


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
        experts, gates = (
            task_losses(logits, batch.targets, batch.weight, training=training).times(batch.share)
            for logits in (outputs.experts, outputs.gates)
        )
        weighted_losses = weight_sdf_loss(supervised_losses(experts, gates), training)
        log = task_log("sup_{}_expert", experts) | task_log("sup_{}_gate", gates)
        assert outputs.gate_weights is not None  # a network with gates
        weights = batch.share.tiles * outputs.gate_weights.detach().float().mean(0)
        loss = self.aggregate(weighted_losses, batch.share.tiles)
        if training.gate_balance:
            balance = gate_balance(outputs.gate_weights)
            loss = loss + training.gate_balance * batch.share.tiles * balance
        return PhaseLoss(
            loss,
            detached_sum(weighted_losses),
            log,
            {},
            weights,
        )


METHOD_LEARNER = SupervisedLearner
