"""From the outputs of a network to maps and gate weights.

B batch, H, W height and width of a tile in px.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from semimoe.networks.mixture import NetworkOutputs
    from semimoe.settings import NetworkSettings

# sigmoid(s / 0.1) turns a signed distance s in [-1, 1] into a gland probability.
_SDF_SOFTNESS = 0.1


def maps_from_outputs(outputs: "NetworkOutputs") -> "Tensor":
    """Maps of a batch, float32 (B, 4, H, W): gland, sdf, boundary, disagreement.

    The gland map is the probability of the segmentation gate. Where the sdf or boundary task has
    no gate, its map comes from the expert of the task; without an expert the map is 0.

    Disagreement is max - min of three gland probabilities: that of the segmentation gate, that of
    the segmentation expert, and sigmoid(s / 0.1) of the signed distance s of the sdf expert (left
    out without such an expert).
    """
    import torch

    from semimoe.networks.mixture import signed_distance

    gates, experts = outputs.gates, outputs.experts
    gland = torch.softmax(gates.seg.float(), 1)[:, 1]  # (B, H, W)
    zeros = torch.zeros_like(gland)
    boundary_logits = experts.bnd if gates.bnd is None else gates.bnd
    boundary = zeros if boundary_logits is None else torch.softmax(boundary_logits.float(), 1)[:, 1]
    sdf_output = experts.sdf if gates.sdf is None else gates.sdf
    sdf = zeros if sdf_output is None else signed_distance(sdf_output)[:, 0]
    probabilities = [gland, torch.softmax(experts.seg.float(), 1)[:, 1]]
    if experts.sdf is not None:
        expert_sdf = signed_distance(experts.sdf)[:, 0]
        probabilities.append(torch.sigmoid(expert_sdf / _SDF_SOFTNESS))
    stacked = torch.stack(probabilities)  # (2 or 3, B, H, W)
    disagreement = stacked.amax(0) - stacked.amin(0)
    return torch.stack([gland, sdf, boundary, disagreement], dim=1)


def gate_weights_by_task(
    gate_weights: "Tensor | None", settings: "NetworkSettings", maps: "Tensor"
) -> "Tensor":
    """Gate weights, float32 (B, 3 tasks, 3 experts), tasks and experts in the order of `TASKS`.

    The weight of a gate or of an expert that the network does not have is 0.

    Parameters
    ----------
    gate_weights : of the gates and experts that the network has; None: it has no gates
    maps : of the same tiles, (B, 4, H, W)
    """
    import torch

    from semimoe.networks.mixture import TASKS

    weights = torch.zeros((len(maps), len(TASKS), len(TASKS)), device=maps.device)
    if gate_weights is not None:
        gates = torch.tensor([TASKS.index(task) for task in settings.gate_tasks])
        experts = torch.tensor([TASKS.index(task) for task in settings.expert_tasks])
        weights[:, gates[:, None], experts] = gate_weights.float()
    return weights
