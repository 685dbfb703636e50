"""Trained networks: one crop of a right hand → rotations, shape, uncertainty."""
