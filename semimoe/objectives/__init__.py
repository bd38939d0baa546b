"""What the networks are trained for: targets, losses, and the weight of the unsupervised loss."""
