"""Trained models as functions of tiles, and of images."""
