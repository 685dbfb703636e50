"""The inner loop of `shading`: radiance of every sample, averaged per pixel."""

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.compiled import compiled_loosely
from idhand.synth.light.maps import KeyShadow
from idhand.synth.people.body import CHILD_WEIGHTS

SKIN_WRAP = np.array([0.32, 0.14, 0.07])
"""How far red, green and blue light creep round an edge, as a cosine: skin scatters red by
millimetres, blue hardly. Source: after Jensen et al., "A Practical Model for Subsurface Light
Transport", 2001, table 1 (skin); set by eye on fingers."""
SKIN_BLEED = np.array([0.6, 0.2, 0.08])
"""The same inside a shadow's soft edge."""
SKIN_REFLECTANCE = 0.028
"""At normal incidence, for a refractive index of 1.4."""
OTHER_REFLECTANCE = 0.04
MATT_ROUGHNESS, GLOSS_ROUGHNESS = 0.62, 0.45
"""Roughness at gloss 0, and how much a gloss of 1 takes off."""
GRAZING = 0.5
"""Share of the sky's mirror image that rough skin keeps at grazing angles (set by eye)."""
LEAST_FACING = 0.12
"""Cosine to the camera below which highlights grow no more; else outlines would glitter."""
MAX_RADIANCE = 3.5
"""Of a sample, times the scene's mean radiance, lest one highlight swallow a soft edge."""
SAME_SURFACE_M = 0.006
"""Samples of one pixel this near in depth lie on one surface, which is lit at one of them."""
SHADOW_OFFSET_M, SHADOW_BIAS_M = 0.003, 0.002
"""A receiver is moved this far along its normal, and may lie this far under the map's surface."""
TAPS = np.array([[-0.7, -0.2], [0.1, -0.8], [0.75, -0.25], [-0.3, 0.45], [0.35, 0.7], [0.15, 0.05]])
"""Where a shadow's edge is looked up, in units of its radius."""
NUM_TURNS = 64
"""Each sample turns the taps otherwise, so that a shadow's edge has grain instead of steps."""


def _turned_taps():
    angles = np.arange(NUM_TURNS) * (2 * np.pi / NUM_TURNS)
    R = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], 1)
    return np.einsum("nab,tb->nta", R.reshape(-1, 2, 2), TAPS)


TURNED_TAPS = _turned_taps()


@compiled_loosely
def _skin_at(skin_tone, skin_gloss, skin_slope, row, child, w1, w2, resolution, out):
    """Paint at a point of a part of a triangle: tone, gloss, slope, linear between three texels."""
    w0 = 1.0 - w1 - w2
    b1 = w0 * CHILD_WEIGHTS[child, 0, 1] + w1 * CHILD_WEIGHTS[child, 1, 1]
    b1 += w2 * CHILD_WEIGHTS[child, 2, 1]
    b2 = w0 * CHILD_WEIGHTS[child, 0, 2] + w1 * CHILD_WEIGHTS[child, 1, 2]
    b2 += w2 * CHILD_WEIGHTS[child, 2, 2]
    x = min(max(b1, 0.0), 1.0) * resolution
    y = min(max(b2, 0.0), 1.0) * resolution
    i, j = int(x), int(y)
    if i + j >= resolution:  # on the far edge: the last cell still holds it
        i, j = (i - 1, j) if i > 0 else (i, j - 1)
    fx, fy = x - i, y - j
    if fx + fy <= 1.0 or i + j == resolution - 1:
        ta = j * (resolution + 1) - j * (j - 1) // 2 + i
        tb, tc = ta + 1, (j + 1) * (resolution + 1) - (j + 1) * j // 2 + i
        wb, wc = fx, fy
    else:
        tc = j * (resolution + 1) - j * (j - 1) // 2 + i + 1
        tb = (j + 1) * (resolution + 1) - (j + 1) * j // 2 + i
        ta = tb + 1
        wb, wc = 1.0 - fx, 1.0 - fy
    wa = 1.0 - wb - wc
    for a in range(3):
        out[a] = wa * skin_tone[row, ta, a] + wb * skin_tone[row, tb, a]
        out[a] += wc * skin_tone[row, tc, a]
    out[3] = wa * skin_gloss[row, ta] + wb * skin_gloss[row, tb] + wc * skin_gloss[row, tc]
    for a in range(2):
        out[4 + a] = wa * skin_slope[row, ta, a] + wb * skin_slope[row, tb, a]
        out[4 + a] += wc * skin_slope[row, tc, a]


@compiled_loosely
def _visibility(px, py, pz, axes, centre, scale, heights, radius, turn):
    """Share of the key light that reaches a point, from the shadow map."""
    size = heights.shape[0]
    px, py, pz = px - centre[0], py - centre[1], pz - centre[2]
    u = (px * axes[0, 0] + py * axes[0, 1] + pz * axes[0, 2]) * scale + (size - 1) / 2
    v = (px * axes[1, 0] + py * axes[1, 1] + pz * axes[1, 2]) * scale + (size - 1) / 2
    h = px * axes[2, 0] + py * axes[2, 1] + pz * axes[2, 2] + SHADOW_BIAS_M
    lit = 0.0
    for t in range(TAPS.shape[0]):
        x = int(u + radius * TURNED_TAPS[turn, t, 0] + 0.5)
        y = int(v + radius * TURNED_TAPS[turn, t, 1] + 0.5)
        if x < 0 or y < 0 or x >= size or y >= size or heights[y, x] <= h:
            lit += 1.0
    return lit / TAPS.shape[0]


@compiled_loosely
def _sky_seen(sh, x, y, z, a):
    """Radiance of the sky from its spherical harmonics of order 2."""
    value = 0.282095 * sh[0, a] + 0.488603 * (y * sh[1, a] + z * sh[2, a] + x * sh[3, a])
    value += 1.092548 * (x * y * sh[4, a] + y * z * sh[5, a] + x * z * sh[7, a])
    value += 0.315392 * (3 * z * z - 1) * sh[6, a] + 0.546274 * (x * x - y * y) * sh[8, a]
    return max(value, 0.0)


@compiled_loosely
def _mirrored(reflection, x, y, z, a):
    """Radiance of the blurred surroundings in a direction of the camera frame, nearest texel."""
    rows, columns = reflection.shape[:2]
    column = int((np.arctan2(x, z) / (2 * np.pi) + 0.5) * columns) % columns
    row = int((np.arcsin(min(max(y, -1.0), 1.0)) / np.pi + 0.5) * rows)
    return reflection[min(row, rows - 1), column, a]


@compiled_loosely
def _highlight(roughness, f0, nl, nv, nh, vh):
    """GGX with Smith's masking (Hammon's fit) and Schlick's Fresnel, times the cosine."""
    a = roughness * roughness
    spread = nh * nh * (a * a - 1) + 1
    masking = 0.5 / (nl * (nv * (1 - a) + a) + nv * (nl * (1 - a) + a) + 1e-6)
    fresnel = f0 + (1 - f0) * (1 - vh) ** 5
    return a * a / (np.pi * spread * spread) * masking * fresnel * nl


@compiled_loosely
def shade_samples(
    face, depth_m, weights, samples, faces, normals, sky, tone, gloss, texel_face, child,
    dual_face, skin_tone, skin_gloss, skin_slope, duals, camera, key, key_colour, axes, centre,
    scale, heights, radius, sh, reflection, resolution, part, out, parts, depth_out,
):  # fmt: skip
    """Fill three pictures: radiance times coverage with the coverage, parts, and depth.

    Part and depth are the nearest sample's, where at least half of the samples are covered.
    """
    paint, other = np.empty(6), np.empty(6)
    colour = np.empty(3)
    mean_sky = 0.282095 * (sh[0, 0] + sh[0, 1] + sh[0, 2]) / 3
    mean_sky += (key_colour[0] + key_colour[1] + key_colour[2]) / (3 * np.pi)
    limit = MAX_RADIANCE * mean_sky
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            covered, front, nearest, farthest = 0, 0, np.inf, 0.0
            for s in range(samples * samples):
                y, x = row * samples + s // samples, column * samples + s % samples
                if face[y, x] >= 0:
                    covered += 1
                    if depth_m[y, x] < nearest:
                        nearest, front = depth_m[y, x], face[y, x]
                    farthest = max(farthest, depth_m[y, x])
            if covered == 0:
                continue
            if 2 * covered >= samples * samples:
                parts[row, column] = part[front]
                depth_out[row, column] = nearest
            flat = covered == samples * samples and farthest - nearest < SAME_SURFACE_M
            step = samples * samples if flat else 1
            shaded = 0
            total0 = total1 = total2 = 0.0
            for s in range(0, samples * samples, step):
                y, x = row * samples + s // samples, column * samples + s % samples
                f = face[y, x]
                if f < 0:
                    continue
                shaded += 1
                w1, w2 = weights[y, x, 0], weights[y, x, 1]
                w0 = 1.0 - w1 - w2
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                nx = w0 * normals[i, 0] + w1 * normals[j, 0] + w2 * normals[k, 0]
                ny = w0 * normals[i, 1] + w1 * normals[j, 1] + w2 * normals[k, 1]
                nz = w0 * normals[i, 2] + w1 * normals[j, 2] + w2 * normals[k, 2]
                z = depth_m[y, x]
                vx = ((x + 0.5) / samples - 0.5 - camera[2]) / camera[0]
                vy = ((y + 0.5) / samples - 0.5 - camera[3]) / camera[1]
                px, py, pz = vx * z, vy * z, z
                q = -1.0 / np.sqrt(vx * vx + vy * vy + 1.0)
                vx, vy, vz = vx * q, vy * q, q
                skin = texel_face[f] >= 0
                if skin:
                    _skin_at(
                        skin_tone, skin_gloss, skin_slope, texel_face[f], child[f], w1, w2,
                        resolution, paint,
                    )  # fmt: skip
                    if flat and samples > 1:  # lit once, but painted from two corners
                        last = samples * samples - 1
                        y2, x2 = row * samples + last // samples, column * samples + last % samples
                        f2 = face[y2, x2]
                        if texel_face[f2] >= 0:
                            _skin_at(
                                skin_tone, skin_gloss, skin_slope, texel_face[f2], child[f2],
                                weights[y2, x2, 0], weights[y2, x2, 1], resolution, other,
                            )  # fmt: skip
                            for a in range(4):
                                paint[a] = 0.5 * (paint[a] + other[a])
                    d = dual_face[f]
                    nx -= paint[4] * duals[d, 0, 0] + paint[5] * duals[d, 1, 0]
                    ny -= paint[4] * duals[d, 0, 1] + paint[5] * duals[d, 1, 1]
                    nz -= paint[4] * duals[d, 0, 2] + paint[5] * duals[d, 1, 2]
                else:
                    for a in range(3):
                        paint[a] = w0 * tone[i, a] + w1 * tone[j, a] + w2 * tone[k, a]
                    paint[3] = w0 * gloss[i] + w1 * gloss[j] + w2 * gloss[k]
                q = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-20)
                nx, ny, nz = nx * q, ny * q, nz * q
                nv = nx * vx + ny * vy + nz * vz
                if nv < LEAST_FACING:  # the smooth normal turns away at an outline
                    nv = LEAST_FACING
                nl = nx * key[0] + ny * key[1] + nz * key[2]
                lit = 0.0
                if nl > -SKIN_WRAP[0] and (skin or nl > 0):
                    turn = ((x * 73856093) ^ (y * 19349663)) & (NUM_TURNS - 1)
                    lit = _visibility(
                        px + SHADOW_OFFSET_M * nx, py + SHADOW_OFFSET_M * ny,
                        pz + SHADOW_OFFSET_M * nz, axes, centre, scale, heights, radius,
                        turn,
                    )  # fmt: skip
                roughness = MATT_ROUGHNESS - GLOSS_ROUGHNESS * paint[3]
                f0 = SKIN_REFLECTANCE if skin else OTHER_REFLECTANCE
                shine = 0.0
                if nl > 0.0 and lit > 0.0:
                    hx, hy, hz = key[0] + vx, key[1] + vy, key[2] + vz
                    q = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                    nh = max((nx * hx + ny * hy + nz * hz) * q, 0.0)
                    vh = max((vx * hx + vy * hy + vz * hz) * q, 0.0)
                    shine = _highlight(roughness, f0, nl, nv, nh, vh) * lit
                rx, ry, rz = 2 * nv * nx - vx, 2 * nv * ny - vy, 2 * nv * nz - vz
                mirror = f0 + (max(1 - roughness, f0) - f0) * (1 - nv) ** 5 * GRAZING
                for a in range(3):
                    if skin:
                        wrap = SKIN_WRAP[a]
                        key_cosine = max((nl + wrap) / ((1 + wrap) * (1 + wrap)), 0.0)
                        key_lit = lit + SKIN_BLEED[a] * lit * (1 - lit)
                    else:
                        key_cosine, key_lit = max(nl, 0.0), lit
                    light = w0 * sky[i, a] + w1 * sky[j, a] + w2 * sky[k, a]
                    light += key_colour[a] * key_cosine * key_lit
                    if paint[3] > 0.5:
                        seen = _mirrored(reflection, rx, ry, rz, a)
                    else:
                        seen = _sky_seen(sh, rx, ry, rz, a)
                    open_sky = w0 * sky[i, 3] + w1 * sky[j, 3] + w2 * sky[k, 3]
                    colour[a] = paint[a] * light / np.pi + shine * key_colour[a]
                    colour[a] = min(
                        colour[a] + mirror * seen * min(open_sky * open_sky, 1.0), limit
                    )
                total0 += colour[0]
                total1 += colour[1]
                total2 += colour[2]
            share = covered / (samples * samples)
            out[row, column, 0] = total0 / shaded * share
            out[row, column, 1] = total1 / shaded * share
            out[row, column, 2] = total2 / shaded * share
            out[row, column, 3] = share


@compiled_loosely
def lay_over(radiance, coverage, behind, shade, out):
    """Premultiplied radiance over a background times its shade (or none: 1×1)."""
    is_shaded = shade.shape[0] > 1
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(3):
                through = (1.0 - coverage[y, x]) * behind[y, x, c]
                if is_shaded:
                    through *= shade[y, x, c]
                out[y, x, c] = radiance[y, x, c] + through


def dual_vectors(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 2 3"]:
    """Gradients of each triangle's second and third barycentric weight, 1/m."""
    out = np.empty((len(faces), 2, 3), np.float32)
    _fill_duals(verts, faces, out)
    return out


@compiled_loosely
def _fill_duals(verts, faces, out):
    """Invert the metric of the two sides from the first corner."""
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        uu = uv = vv = 0.0
        for a in range(3):
            u, v = verts[j, a] - verts[i, a], verts[k, a] - verts[i, a]
            uu, uv, vv = uu + u * u, uv + u * v, vv + v * v
        scale = 1.0 / max(uu * vv - uv * uv, 1e-18)
        for a in range(3):
            u, v = verts[j, a] - verts[i, a], verts[k, a] - verts[i, a]
            out[f, 0, a] = (vv * u - uv * v) * scale
            out[f, 1, a] = (uu * v - uv * u) * scale


def key_visibility(
    points_cam: Float[np.ndarray, "points 3"], shadow: KeyShadow
) -> Float[np.ndarray, " points"]:
    """Share of the key light that reaches points on surfaces without normals, 0..1."""
    lit = np.empty(len(points_cam), np.float32)
    _look_up(
        points_cam, shadow.axes, shadow.centre_cam, shadow.scale, shadow.height_m,
        shadow.radius_texels, lit,
    )  # fmt: skip
    return lit


@compiled_loosely
def _look_up(points, axes, centre, scale, heights, radius, lit):
    """The shadow map at many points, each with its own turn of the taps."""
    for p in range(points.shape[0]):
        turn = (p * 73856093) & (NUM_TURNS - 1)
        lit[p] = _visibility(
            points[p, 0], points[p, 1], points[p, 2], axes, centre, scale, heights, radius,
            turn,
        )  # fmt: skip
