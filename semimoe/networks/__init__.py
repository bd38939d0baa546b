"""Networks: encoders, experts, gates, Semi-MoE and the plain U-Net."""
