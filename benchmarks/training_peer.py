"""A training step of Semi-MoE in the style of the paper's code: the peer of `training_step.py`.

B batch, C width, K classes of a task, H, W sides.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.methods.semimoe import SemiMoELearner
from semimoe.networks.unet_blocks import UNetDecoder, UNetEncoder
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets

LR, MOMENTUM, WEIGHT_DECAY, GAMMA, LOSS_SCALE_LR = 0.02, 0.9, 5e-5, 0.4, 0.05
PROGRESS, UNSUP_MAX = 0.5, 0.5
MEAN, STD = 0.5, 0.25
_CLASSES = (2, 1, 2)


class PeerUNet(nn.Module):
    """One of the three models of the peer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = UNetEncoder(width), UNetDecoder(width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> last feature (B, C, H, W), logits (B, K, H, W)."""
        feature = self.decoder(self.encoder(x))
        return feature, self.head(feature)


class PeerGating(nn.Module):
    """Eqs. 8 and 9 as written.

    For each task, features are concatenated, pooled, weighted and added at full resolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(self._gate(width) for _ in _CLASSES)
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for classes in _CLASSES)

    @staticmethod
    def _gate(width: int) -> nn.ModuleDict:
        hidden = 3 * width // 2
        mlp = nn.Sequential(nn.Linear(3 * width, hidden), nn.ReLU())
        attention = nn.Sequential(
            nn.Linear(hidden, hidden // 4), nn.Dropout(0.1), nn.Linear(hidden // 4, 3)
        )
        return nn.ModuleDict({"mlp": mlp, "attention": attention})

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three features (B, C, H, W) -> logits of the three tasks."""
        concatenated = torch.cat(features, 1)  # (B, 3 C, H, W)
        logits = []
        for gate, head in zip(self.gates, self.heads, strict=True):
            pooled = functional.adaptive_avg_pool2d(concatenated, 1).flatten(1)
            weights = torch.softmax(gate["attention"](gate["mlp"](pooled)), 1)  # (B, 3)
            mixed = sum(
                weights[:, i, None, None, None] * feature
                for i, feature in enumerate(concatenated.chunk(3, 1))
            )
            logits.append(head(mixed))
        return logits


def dice_loss(logits: Tensor, target: Tensor, *, power: int, smoothing: float) -> Tensor:
    """Soft Dice loss of both classes."""
    p = torch.softmax(logits, 1).flatten(2)
    y = functional.one_hot(target, 2).permute(0, 3, 1, 2).float().flatten(2)
    overlap, size = (p * y).sum(2), (p**power).sum(2) + (y**power).sum(2)
    return (1 - (2 * overlap + smoothing) / (size + smoothing)).mean()


def peer_losses(logits: list[Tensor], targets: Targets) -> Tensor:
    """Losses of mask, distance and boundary, (3,)."""
    seg, sdf, bnd = logits
    return torch.stack(
        [
            dice_loss(seg, targets.mask, power=2, smoothing=1.0),
            functional.mse_loss(torch.tanh(sdf), targets.sdf),
            dice_loss(bnd, targets.boundary, power=1, smoothing=1e-8),
        ]
    )


class PeerContender:
    """The loop in the style of the paper's code."""

    def __init__(self, learner: SemiMoELearner, device: torch.device) -> None:
        self.device = device
        width = learner.context.network.width
        self.models = [PeerUNet(width, classes) for classes in _CLASSES]
        self.gating = PeerGating(width)
        self._copy_weights(learner)
        self.s = nn.Parameter(torch.ones(3, device=self.device))
        self.optimizers: list[torch.optim.Optimizer] = []
        for module in (*self.models, self.gating):
            module.to(self.device).train()
            optimizer = torch.optim.SGD(
                module.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
            )
            self.optimizers.append(optimizer)
        scales = torch.optim.Adam([self.s], lr=LOSS_SCALE_LR, weight_decay=WEIGHT_DECAY)
        self.optimizers.append(scales)

    def _copy_weights(self, learner: SemiMoELearner) -> None:
        network = learner.network
        for i, model in enumerate(self.models):
            pairs = [
                (model.encoder, network.features.encoders[i]),
                (model.decoder, network.features.decoders[i]),
                (model.head, network.expert_heads[i]),
                (self.gating.gates[i]["mlp"], network.gates[i].mlp),
                (self.gating.gates[i]["attention"], network.gates[i].attention),
                (self.gating.heads[i], network.gate_heads[i]),
            ]
            for module, source in pairs:
                module.load_state_dict(source.state_dict())

    def step(self, labelled: Batch, unlabelled: Batch) -> float:
        """Two forward and two backward passes, then each optimiser; returns the loss."""
        labelled, unlabelled = labelled.to(self.device), unlabelled.to(self.device)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        experts, gates = self._forward(labelled.image)
        assert labelled.targets is not None
        losses = peer_losses(experts, labelled.targets) + peer_losses(gates, labelled.targets)
        supervised = self._adaptive_loss(losses)
        supervised.backward()
        experts, gates = self._forward(unlabelled.image)
        pseudo = Targets(
            gates[0].argmax(1).detach(), torch.tanh(gates[1]).detach(), gates[2].argmax(1).detach()
        )
        weight = PROGRESS * UNSUP_MAX
        unsupervised = weight * self._adaptive_loss(peer_losses(experts, pseudo))
        unsupervised.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return float(supervised.item() + unsupervised.item())

    def _forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits of experts and of gates."""
        x = (images.float() / 255 - MEAN) / STD
        features, logits = zip(*(model(x) for model in self.models), strict=True)
        return list(logits), self.gating(list(features))

    def _adaptive_loss(self, losses: Tensor) -> Tensor:
        """Eq. 11."""
        return (torch.exp(-self.s) * losses + GAMMA * torch.exp(self.s)).sum()
