"""How the picture is taken: framing, rasterising, shading, sensor."""
