"""Scores of predicted glands, and tables of the scores of several models, without torch."""
