"""Small functions of the skin's kernels: soft steps, bells and noise. Compiled by numba."""

import numpy as np

from idhand.synth.compiled import compiled


@compiled
def step(x, low, high):
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@compiled
def bell(x, width):
    """A bump of height one, near exp(−(x/width)²), zero beyond 2.5 widths."""
    q = (x / (2.5 * width)) ** 2
    if q >= 1.0:
        return 0.0
    return (1.0 - q) ** 6


@compiled
def at_corner(x, y, z, seed):
    """A number in −1 … 1 that belongs to a lattice point."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791) ^ (seed * 2654435761)
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFF) / 32767.5 - 1.0


@compiled
def lattice(x, y, z, seed):
    """Smooth value noise in −1 … 1 of lattice spacing one. Source: Perlin 1985, 2002 (fade)."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u = u * u * u * (u * (6.0 * u - 15.0) + 10.0)
    v = v * v * v * (v * (6.0 * v - 15.0) + 10.0)
    w = w * w * w * (w * (6.0 * w - 15.0) + 10.0)
    total = 0.0
    for c in range(2):
        near = at_corner(i, j, k + c, seed)
        near += u * (at_corner(i + 1, j, k + c, seed) - near)
        far = at_corner(i, j + 1, k + c, seed)
        far += u * (at_corner(i + 1, j + 1, k + c, seed) - far)
        total += (w if c == 1 else 1.0 - w) * (near + v * (far - near))
    return total


@compiled
def clouds(x, y, z, cells_per_m, octaves, seed):
    """Fractal noise, about −1 … 1, of a point in metres."""
    total, size, scale = 0.0, 1.0, cells_per_m
    for k in range(octaves):
        total += size * lattice(x * scale + 5.3 * k, y * scale, z * scale - 3.1 * k, seed + 17 * k)
        size *= 0.55
        scale *= 2.03
    return total / 0.8
