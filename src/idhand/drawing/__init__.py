"""Hands as pixels: shaded meshes, skeletons, boxes and labels on pictures. Knows no result."""
