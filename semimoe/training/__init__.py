"""Training runs: batches, optimiser steps, validation, checkpoints and the log."""
