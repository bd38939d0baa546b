"""The gates: networks that compute the weight of each expert, per task and tile or pixel (eq. 8).

E experts, C channels of an expert's feature. A gate takes the channels of all experts in the last
dimension: of the mean over a tile (B, E C), or of each pixel (B, H, W, E C).
"""

import torch
from torch import Tensor, nn


class PaperGate(nn.Module):
    """softmax(LinearAttn(MLP(AvgPool(X_c)))), LinearAttn = FC (reduction) + dropout + FC.

    The paper does not state the widths. The MLP halves the E C channels, and the attention divides
    them by four.
    """

    def __init__(self, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        pooled, hidden = experts * width, experts * width // 2
        self.mlp = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU())
        reduced = max(hidden // 4, 1)
        self.attention = nn.Sequential(
            nn.Linear(hidden, reduced), nn.Dropout(dropout), nn.Linear(reduced, experts)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., E C) -> weights (..., E) with sum 1."""
        return torch.softmax(self.attention(self.mlp(features)), dim=-1)


class PublicCodeGate(nn.Module):
    """The gate of the public code: a softmax over the hidden units weights these units.

    The softmax has E C / 2 units, so its values are small. The weights of the experts are therefore
    nearly uniform at the start.
    """

    def __init__(self, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        pooled, hidden = experts * width, experts * width // 2
        self.reduce = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU())
        self.attend = nn.Linear(hidden, hidden)
        self.choose = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, experts))

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., E C) -> weights (..., E) with sum 1."""
        hidden = self.reduce(features)
        attention = torch.softmax(self.attend(hidden), dim=-1)
        return torch.softmax(self.choose(hidden * attention), dim=-1)
