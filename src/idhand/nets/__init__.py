"""Networks that learn: one crop of a right hand → rotations, shape, uncertainty."""
