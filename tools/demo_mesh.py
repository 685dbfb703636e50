"""Meshes of the demo pictures: smooth refinement of a coarse hand, a sleeve, noise.

Part of `python tools/build_demo.py` and `python tools/build_photoreal.py`. Pure NumPy. All
positions in metres. "Rest" is the mean hand in its rest pose.
"""

from dataclasses import dataclass

import numpy as np

from idhand.synth.people.body import FOREARM_RINGS_M, ring_faces, smooth_step, unit


def bump(x, width):
    """Gaussian bell of height one."""
    return np.exp(-((x / width) ** 2))


# Not `body.vertex_normals`: `unit` leaves these up to 6e-5 short, which the demo's colours contain.
def vertex_normals(verts, faces):
    """Area-weighted unit normals."""
    a, b, c = (verts[faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(verts)
    for k in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, k], face_normals[:, axis], len(verts))
    return unit(normals)


# --- smooth refinement ---------------------------------------------------------------------------


@dataclass(frozen=True)
class LoopLevel:
    """One step of Loop's subdivision as index arrays (Loop 1987)."""

    edges: np.ndarray
    """(E, 2) ends of each edge."""
    wings: np.ndarray
    """(E, 2) opposite corners; equal to the ends where the edge lies on the border."""
    is_border: np.ndarray
    faces: np.ndarray
    """Of the finer mesh."""
    num_verts: int

    def neighbour_sum(self, x, edges):
        """Sum of the values at the other ends of the edges, and how many there are."""
        total, count = np.zeros_like(x), np.zeros(len(x))
        for a, b in ((0, 1), (1, 0)):
            np.add.at(total, edges[:, a], x[edges[:, b]])
            count += np.bincount(edges[:, a], minlength=len(x))
        return total, count

    def smoothed(self, x, *, limit):
        """Old vertices after one step, or on the limit surface."""
        total, n = self.neighbour_sum(x, self.edges)
        beta = (0.625 - (0.375 + 0.25 * np.cos(2 * np.pi / n)) ** 2) / n
        if limit:
            beta = 1 / (0.375 / beta + n)
        shape = (-1,) + (1,) * (x.ndim - 1)
        out = (1 - n * beta).reshape(shape) * x + beta.reshape(shape) * total
        border = self.edges[self.is_border]
        if len(border):
            total, n = self.neighbour_sum(x, border)
            w = 1 / 6 if limit else 1 / 8
            out = np.where((n > 0).reshape(shape), (1 - 2 * w) * x + w * total, out)
        return out

    def refine(self, x):
        """Values at the finer mesh's vertices: old ones first, then one per edge."""
        ends = x[self.edges[:, 0]] + x[self.edges[:, 1]]
        wings = x[self.wings[:, 0]] + x[self.wings[:, 1]]
        border = self.is_border.reshape((-1,) + (1,) * (x.ndim - 1))
        middle = np.where(border, ends / 2, 0.375 * ends + 0.125 * wings)
        return np.concatenate([self.smoothed(x, limit=False), middle])


def loop_level(faces, num_verts):
    """Index arrays for one subdivision step of a triangle mesh."""
    corners = np.concatenate([faces[:, [0, 1, 2]], faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])
    edges, inverse = np.unique(np.sort(corners[:, :2], 1), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    count = np.bincount(inverse, minlength=len(edges))
    order = np.argsort(inverse, kind="stable")
    first = order[np.cumsum(count) - count]
    last = order[np.cumsum(count) - 1]
    wings = np.stack([corners[first, 2], corners[last, 2]], 1)
    e = (num_verts + inverse).reshape(3, -1)
    a, b, c = faces.T
    fine = np.concatenate(
        [
            np.stack([a, e[0], e[2]], 1),
            np.stack([e[0], b, e[1]], 1),
            np.stack([e[2], e[1], c], 1),
            np.stack([e[0], e[1], e[2]], 1),
        ]
    )
    return LoopLevel(edges, wings, count == 1, fine, num_verts)


class Refiner:
    """Loop subdivision whose surface passes through the coarse vertices.

    Plain subdivision shrinks fingertips by a millimetre; the control points are therefore moved
    until the limit surface interpolates (progressive interpolation, Cheng et al. 2009).
    """

    def __init__(self, faces, num_verts, num_levels):
        """Index arrays of all levels."""
        self.levels = []
        for _ in range(num_levels):
            level = loop_level(faces, num_verts)
            self.levels.append(level)
            faces, num_verts = level.faces, num_verts + len(level.edges)
        self.faces, self.num_verts = faces, num_verts

    def smooth(self, values):
        """Refine values that need not be met exactly (weights, masks)."""
        for level in self.levels:
            values = level.refine(values)
        return values

    def through(self, points, num_rounds=14):
        """Refine points so that the surface passes through them (to about a hundredth mm)."""
        control = points.copy()
        for _ in range(num_rounds):
            control += points - self.levels[0].smoothed(control, limit=True)
        return self.smooth(control)


# --- sleeve --------------------------------------------------------------------------------------


# Not `sleeves.sleeve_solid`: that one is coarse and draws its folds in another order.
def sleeve_mesh(rings, start_m, rng, kind):
    """A sleeve round the forearm's rings from `start_m` on: verts, faces, rest coordinates.

    Args:
        rings: (R, L, 3) forearm rings, with the loop itself first.
        start_m: Where the cuff begins, from the end of the model's stub.
        rng: For the folds.
        kind: `knit` has a ribbed cuff, `shirt` a smooth stiff one.
    """
    at = np.concatenate([[0.0], FOREARM_RINGS_M])
    s = np.concatenate([start_m + np.linspace(0, 0.055, 40), np.linspace(0.06, 0.25, 70) + start_m])
    s = s[s < at[-1]]
    num_around = 160
    centres = np.stack([np.interp(s, at, rings.mean(1)[:, k]) for k in range(3)], 1)
    loop = resample_loops(rings - rings.mean(1, keepdims=True), num_around)
    section = np.stack(
        [[np.interp(s, at, loop[:, j, k]) for k in range(3)] for j in range(num_around)]
    ).transpose(2, 0, 1)
    length = s - start_m
    around = np.arange(num_around) / num_around * 2 * np.pi
    out = unit(section)
    gap = 0.003 + 0.010 * smooth_step(length, 0.03, 0.10)
    folds = sleeve_folds(length, around, rng)
    if kind == "knit":
        rib = 0.0007 * np.cos(40 * around)[None] * (1 - smooth_step(length, 0.045, 0.055))[:, None]
        folds = folds + rib - 0.002 * bump(length - 0.055, 0.006)[:, None]
    verts = centres[:, None] + section + out * (gap[:, None, None] + folds[..., None])
    lip = centres[:1, None] + section[:1] + out[:1] * 0.0005
    verts = np.concatenate([lip, verts[:1] - 0.0006 * out[:1], verts])
    faces = ring_faces(np.arange(num_around), num_around, len(verts) - 1)
    rest = np.stack(
        np.broadcast_arrays(
            np.cos(around) * 0.04, np.r_[-0.003, -0.002, length][:, None], np.sin(around) * 0.04
        ),
        -1,
    )
    return verts.reshape(-1, 3), faces, rest.reshape(-1, 3)


def resample_loops(loops, num_points):
    """Closed loops (R, L, 3) → `num_points` points each, by their Fourier series."""
    length = loops.shape[1]
    spectrum = np.fft.rfft(loops, axis=1)[:, : length // 3]
    return np.fft.irfft(spectrum, num_points, axis=1) * (num_points / length)


def sleeve_folds(length, around, rng):
    """Height of a sleeve's folds: rings of gathered cloth that wander round the arm."""
    total = np.zeros((len(length), len(around)))
    for _ in range(9):
        phase, tilt = rng.uniform(0, 2 * np.pi, 2)
        lobes = rng.integers(1, 4)
        centre = rng.uniform(0.05, 0.24) + rng.uniform(0.005, 0.02) * np.cos(around + tilt)
        strength = rng.uniform(0.001, 0.0035) * (0.5 + 0.5 * np.cos(lobes * around + phase))
        total += strength * bump(length[:, None] - centre, rng.uniform(0.006, 0.012))
    return total * smooth_step(length, 0.04, 0.08)[:, None]


# --- noise ---------------------------------------------------------------------------------------


def lattice_noise(points, cells_per_m, seed):
    """Smooth value noise in -1..1, one lattice."""
    p = points * cells_per_m
    base = np.floor(p).astype(np.int64)
    f = p - base
    f = f * f * f * (f * (6 * f - 15) + 10)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        c = base + np.array(corner)
        h = c[:, 0] * 73856093 ^ c[:, 1] * 19349663 ^ c[:, 2] * 83492791 ^ seed * 2654435761
        h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
        h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
        value = ((h ^ (h >> 15)) & 0xFFFF) / 32767.5 - 1
        weight = np.prod(np.where(np.array(corner) == 1, f, 1 - f), 1)
        total += weight * value
    return total


# Not `skin_noise.clouds`: other octaves would move every blotch of the demo's skin.
def cloud_noise(points, cells_per_m, seed, octaves=4):
    """Fractal noise, about -1..1."""
    total = np.zeros(len(points))
    for k in range(octaves):
        total += 0.55**k * lattice_noise(points + 0.37 * k, cells_per_m * 2.03**k, seed + 17 * k)
    return total / 1.4
