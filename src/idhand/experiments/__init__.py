"""Whole experiments on data sets: what the net saw, predictions, refinement, the paper's tables."""
