"""Who is photographed: shape, skin, and the mesh of hand and forearm."""
