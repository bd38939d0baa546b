"""Semi-MoE (arXiv 2509.13834, Algorithm 1): the gates' outputs on unlabelled tiles are the experts' pseudo-labels."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semimoe.methods.phase import PhaseLoss, Step, summed, task_log, weighted_sdf
from semimoe.methods.supervised import supervised_phase
from semimoe.networks.mixture import Outputs
from semimoe.objectives.losses import Targets, pseudo_targets, total, unsupervised_terms
from semimoe.objectives.targets import make_targets
from semimoe.settings import TrainingSettings
from semimoe.training.batches import Batch
from tiling.raster.label_numbers import label_components


def unsupervised_phase(step: Step) -> PhaseLoss | None:
    """The experts learn from the pseudo-labels of the unlabelled batch; the gates get no gradient (eqs. 5 and 6).

    Pseudo-labels come from the same forward pass, or are those stored with the tiles.
    """
    weight = unsup_weight(step.share, step.training)
    if step.unlabelled is None or step.training.unsup_max == 0:
        return None
    batch = step.unlabelled
    with kept_statistics(step.model) if step.training.statistics == "labelled" else nullcontext():
        outputs = step.model(batch.image)
    pseudo = batch.targets or _online(outputs, step)
    losses = unsupervised_terms(outputs.experts, pseudo, batch.weight).times(
        images=batch.share.images, pixels=batch.share.pixels
    )
    terms = weighted_sdf(losses, step.training)
    loss = total(
        torch.zeros((), device=batch.image.device), step.aggregate(terms, batch.share.tiles), weight
    )
    return PhaseLoss(
        loss,
        weight * summed(terms),
        task_log("unsup_{}", losses),
        _counts(pseudo.mask, batch),
        None,
    )


PHASES = (supervised_phase, unsupervised_phase)


def unsup_weight(share: float, training: TrainingSettings) -> float:
    """lambda_unsup(t) of eq. 7.

    Parameters
    ----------
    share : t / T, [0, 1]
    """
    if training.unsup_schedule == "linear":
        return training.unsup_max * share
    return training.unsup_max * math.exp(-5 * (1 - share) ** 2)


@contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """A forward pass in training mode that leaves the running statistics of batch normalisation as they are.

    Unlabelled tiles show what nobody outlines (glass, fat, blood). Mixed into the running statistics they move the network at test time
    away from the state in which its supervised loss was computed.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _online(outputs: Outputs, step: Step) -> Targets:
    pseudo = pseudo_targets(outputs.gates)
    judged = all(
        gate is not None
        for expert, gate in zip(outputs.experts, outputs.gates, strict=True)
        if expert is not None
    )
    if step.training.pseudo == "gates" and judged:
        return pseudo
    made = [
        make_targets(
            label_components(mask),
            np.ones(mask.shape, np.uint8),
            mpp_um=step.mpp_um,
            network=step.network,
        )
        for mask in pseudo.mask.cpu().numpy()
    ]
    device = pseudo.mask.device
    sdf = torch.from_numpy(np.stack([one.sdf for one in made]))[:, None].to(device)
    boundary = torch.from_numpy(np.stack([one.boundary for one in made]).astype(np.int64)).to(
        device
    )
    return Targets(pseudo.mask, sdf, boundary)


def _counts(mask: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Parts of the Dice of the pseudo-labels where truth happens to be known."""
    known = (batch.truth_weight > 0) & (batch.weight > 0)
    predicted, true = (mask > 0) & known, (batch.truth > 0) & known
    return {
        "pseudo_overlap": 2 * (predicted & true).sum(),
        "pseudo_size": predicted.sum() + true.sum(),
    }
