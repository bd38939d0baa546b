"""The gates: which expert is listened to, per image and task (eq. 8).

B batch, E experts, C channels of an expert's feature.
"""

import torch
from torch import Tensor, nn


class PaperGate(nn.Module):
    """softmax(LinearAttn(MLP(AvgPool(X_c)))), LinearAttn = FC (reduction) + dropout + FC.

    The paper names no widths: the MLP halves E C channels, the attention reduces by four.
    """

    def __init__(self, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        pooled, hidden = experts * width, experts * width // 2
        self.mlp = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU())
        reduced = max(hidden // 4, 1)
        self.attention = nn.Sequential(
            nn.Linear(hidden, reduced), nn.Dropout(dropout), nn.Linear(reduced, experts)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, E C) -> weights (B, E) that add up to 1."""
        return torch.softmax(self.attention(self.mlp(pooled)), dim=1)


class CodeGate(nn.Module):
    """The public code's gate: the hidden units are weighted by a softmax over themselves.

    That softmax over 3 C / 2 units divides them by about their number, so the expert weights start nearly uniform.
    """

    def __init__(self, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        pooled, hidden = experts * width, experts * width // 2
        self.reduce = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU())
        self.attend = nn.Linear(hidden, hidden)
        self.choose = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, experts))

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, E C) -> weights (B, E) that add up to 1."""
        hidden = self.reduce(pooled)
        return torch.softmax(self.choose(hidden * torch.softmax(self.attend(hidden), dim=1)), dim=1)
