"""What light reaches the surface: a shadow map for the key light, small ones for the whole sky.

The sky is sampled in a few dozen directions; a map per direction says which points see it, so that
palms are darker than knuckles and an object shades the fingers round it. Metres, camera frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.compiled import compiled

SKY_DIRECTIONS = 15
"""More change little at 224 pixels; each costs about 0.06 ms."""
SKY_MAP_SIZE = 48
"""Texels over twice the radius: a little farther apart than the points that are splatted."""
SPLAT_SPACING_M = 0.0075
MAX_STEPS = 40
"""Finest division of a triangle's side, lest a huge one take for ever."""
KEY_MAP_SIZE = 256
SKY_BIAS_M = 0.006
"""A point this little behind another does not lie in its shadow: about one texel of a sky map."""


def sky_directions(rng: np.random.Generator, num: int = SKY_DIRECTIONS) -> Float[np.ndarray, "n 3"]:
    """Evenly spread unit vectors in a random orientation (spherical Fibonacci points)."""
    i = np.arange(num) + 0.5
    z = 1 - 2 * i / num
    turn = i * np.pi * (1 + 5**0.5)
    r = np.sqrt(1 - z * z)
    points = np.stack([r * np.cos(turn), r * np.sin(turn), z], 1)
    Q, triangle = np.linalg.qr(rng.standard_normal((3, 3)))
    return points @ (Q * np.sign(np.diag(triangle)))


def axes_to(directions: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rows: two axes across each direction and the direction itself, all unit.

    Source: Duff et al., "Building an Orthonormal Basis, Revisited", 2017.
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    second = np.stack([b, sign + y * y * a, -y], -1)
    return np.stack([first, second, directions], -2)


@dataclass(frozen=True, kw_only=True)
class KeyShadow:
    """Depth towards the key light over a square around the hand."""

    axes: Float[np.ndarray, "3 3"]
    """Rows in the camera frame; the last points to the light."""
    centre_cam: Float[np.ndarray, " 3"]
    scale: float
    """Texels per metre."""
    height_m: Float[np.ndarray, "size size"]
    """Farthest extent towards the light above the centre; −inf for nothing."""
    radius_texels: float
    """Of the blur at the shadow's edge."""


def key_shadow(
    verts_cam: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    direction: Float[np.ndarray, " 3"],
    angular_radius: float,
    centre_cam: Float[np.ndarray, " 3"],
    radius_m: float,
) -> KeyShadow:
    """Rasterise everything as the key light sees it (Williams, "Casting curved shadows", 1978).

    Args:
        verts_cam: Of all surfaces.
        faces: Their triangles.
        direction: Unit vector to the light.
        angular_radius: Of the light in radians; larger lights have softer shadows.
        centre_cam: Of the region that matters.
        radius_m: Of it.
    """
    axes = axes_to(direction)
    scale = KEY_MAP_SIZE / (2 * radius_m)
    points = (verts_cam - centre_cam) @ axes.T
    points[:, :2] = points[:, :2] * scale + (KEY_MAP_SIZE - 1) / 2
    height_m = np.full((KEY_MAP_SIZE, KEY_MAP_SIZE), -np.inf, np.float32)
    _fill_heights(points, faces, height_m)
    # A shadow's edge widens with the distance between blocker and receiver: about 4 cm in a hand.
    radius_texels = float(np.clip(0.04 * np.tan(angular_radius) * scale, 0.7, 5.0))
    return KeyShadow(
        axes=axes,
        centre_cam=centre_cam,
        scale=scale,
        height_m=height_m,
        radius_texels=radius_texels,
    )


def sky_light(
    points_cam: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    casters_cam: Float[np.ndarray, "casters 3"],
    directions: Float[np.ndarray, "sky 3"],
    radiance: Float[np.ndarray, "sky 3"],
    centre_cam: Float[np.ndarray, " 3"],
    radius_m: float,
) -> Float[np.ndarray, "points 4"]:
    """Irradiance from the sky in RGB at each point, and the share of its open sky (0..1).

    Args:
        points_cam: Receivers.
        normals: Of the receivers.
        casters_cam: Points on everything that stands in the way, `SPLAT_SPACING_M` apart.
        directions: Unit vectors to the sky, evenly spread.
        radiance: Of the sky there, linear RGB.
        centre_cam: Of the region that matters.
        radius_m: Of it; what lies outside casts no shadow.
    """
    out = np.zeros((len(points_cam), 4), np.float32)
    scale = SKY_MAP_SIZE / (2 * radius_m)
    _gather_sky(
        _planes(points_cam - centre_cam), normals.astype(np.float32),
        _planes(casters_cam - centre_cam), axes_to(directions).astype(np.float32),
        radiance.astype(np.float32), np.float32(scale), out,
    )  # fmt: skip
    return out


def _planes(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "3 points"]:
    """One array per coordinate, which the processor takes several at a time."""
    return np.ascontiguousarray(points.T, np.float32)


def surface_points(
    verts: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    centre: Float[np.ndarray, " 3"],
    radius_m: float,
    spacing_m: float = SPLAT_SPACING_M,
) -> Float[np.ndarray, "points 3"]:
    """Points on every triangle near a centre, not farther apart than the spacing."""
    steps = np.empty(len(faces), np.int64)
    out = np.empty((_count_points(verts, faces, centre, radius_m, spacing_m, steps), 3))
    _spread_points(verts, faces, steps, out)
    return out


@compiled
def _count_points(verts, faces, centre, radius_m, spacing_m, steps):
    """Fill in how finely each triangle is divided, 0 for far ones; returns the sum of points."""
    total = 0
    for f in range(faces.shape[0]):
        steps[f] = 0
        away = longest = 0.0
        for a in range(3):
            away += (verts[faces[f, 0], a] - centre[a]) ** 2
        for c in range(3):
            i, j = faces[f, c], faces[f, (c + 1) % 3]
            side = 0.0
            for a in range(3):
                side += (verts[i, a] - verts[j, a]) ** 2
            longest = max(longest, side)
        if np.sqrt(away) > radius_m + np.sqrt(longest):
            continue
        n = min(max(int(np.ceil(np.sqrt(longest) / spacing_m)), 1), MAX_STEPS)
        steps[f] = n
        total += n * (n + 1) // 2
    return total


@compiled
def _spread_points(verts, faces, steps, out):
    """Middles of the upright small triangles of each triangle's grid."""
    at = 0
    for f in range(faces.shape[0]):
        n = steps[f]
        p, q, r = faces[f, 0], faces[f, 1], faces[f, 2]
        for i in range(n):
            for j in range(n - i):
                wb, wc = (i + 1 / 3) / n, (j + 1 / 3) / n
                for a in range(3):
                    start = verts[p, a]
                    out[at, a] = start + wb * (verts[q, a] - start) + wc * (verts[r, a] - start)
                at += 1


@compiled
def _fill_heights(points, faces, height):
    """Orthographic z-buffer that keeps the largest z. Points are x, y in texels and z in metres."""
    rows, columns = height.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        bu, bv = (cy - ay) / area, (cx - ax) / area
        cu, cv = (by - ay) / area, (bx - ax) / area
        left = max(0, int(np.ceil(min(ax, bx, cx))))
        right = min(columns - 1, int(np.floor(max(ax, bx, cx))))
        top = max(0, int(np.ceil(min(ay, by, cy))))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                wb = (x - ax) * bu - (y - ay) * bv
                wc = (y - ay) * cv - (x - ax) * cu
                if min(wb, wc, 1.0 - wb - wc) < 0.0:
                    continue
                z = az + wb * (bz - az) + wc * (cz - az)
                height[y, x] = max(height[y, x], z)


@compiled
def _project(planes, axes, scale, x, y, h):
    """Texel coordinates and heights of points as a map with these axes sees them.

    Coordinates are clamped to the border of the map, which nobody looks at.
    """
    last = np.float32(SKY_MAP_SIZE + 1)
    middle = np.float32((SKY_MAP_SIZE + 1) / 2)
    low = np.float32(0.0)
    for i in range(planes.shape[1]):
        px, py, pz = planes[0, i], planes[1, i], planes[2, i]
        u = (px * axes[0, 0] + py * axes[0, 1] + pz * axes[0, 2]) * scale + middle
        v = (px * axes[1, 0] + py * axes[1, 1] + pz * axes[1, 2]) * scale + middle
        x[i] = min(max(u, low), last)
        y[i] = min(max(v, low), last)
        h[i] = px * axes[2, 0] + py * axes[2, 1] + pz * axes[2, 2]


@compiled
def _gather_sky(points, normals, casters, axes, radiance, scale, out):
    """Per direction: splat the casters into a small map, then look every point up in it."""
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    size = SKY_MAP_SIZE + 2  # with a border
    heights = np.empty((size + 1, size + 1), np.float32)
    x, y, h = np.empty((3, casters.shape[1]), np.float32)
    u, v, limit = np.empty((3, points.shape[1]), np.float32)
    weight = np.float32(4 * np.pi / axes.shape[0])
    for d in range(axes.shape[0]):
        heights[:] = -1e9
        _project(casters, axes[d], scale, x, y, h)
        for c in range(x.shape[0]):
            row, column = int(y[c] + half), int(x[c] + half)
            heights[row, column] = max(heights[row, column], h[c])
        heights[0], heights[size - 1], heights[size] = -1e9, -1e9, -1e9
        heights[:, 0], heights[:, size - 1], heights[:, size] = -1e9, -1e9, -1e9
        _project(points, axes[d], scale, u, v, limit)
        for p in range(u.shape[0]):
            cosine = normals[p, 0] * axes[d, 2, 0] + normals[p, 1] * axes[d, 2, 1]
            cosine += normals[p, 2] * axes[d, 2, 2]
            if cosine <= 0.0:
                continue
            row, column = int(v[p]), int(u[p])
            fx, fy = u[p] - column, v[p] - row
            level = limit[p] + np.float32(SKY_BIAS_M)
            first = (one - fx) if heights[row, column] <= level else zero
            first += fx if heights[row, column + 1] <= level else zero
            second = (one - fx) if heights[row + 1, column] <= level else zero
            second += fx if heights[row + 1, column + 1] <= level else zero
            share = weight * cosine * (first + fy * (second - first))
            for a in range(3):
                out[p, a] += share * radiance[d, a]
            out[p, 3] += share * np.float32(1 / np.pi)
