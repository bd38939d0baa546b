"""What the training of one method depends on."""
