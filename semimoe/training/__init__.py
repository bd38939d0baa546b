"""What a training run is made of: batches, targets, losses, steps, validation, state."""
