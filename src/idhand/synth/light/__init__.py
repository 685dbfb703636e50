"""Where light comes from and where it gets to."""
