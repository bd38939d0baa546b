"""Networks: experts, gates, Semi-MoE, and the plain U-Net beside it."""
