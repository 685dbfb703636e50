"""Procedural skin of the demo pictures, painted once on the mean hand in its rest pose.

Part of `python tools/build_demo.py`. Pure NumPy, metres. The paint sticks to the vertices, so it
moves with every shape and pose: tone (linear RGB), roughness, and a relief of at most 0.3 mm along
the normal for creases and tendons.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from demo_mesh import bump, cloud_noise, vertex_normals

from idhand.synth.people.body import INDEX, LITTLE, MIDDLE, AnatomicalFrame, smooth_step, unit

RING = 10
"""First joint of the ring finger."""


@dataclass(frozen=True)
class FingerChart:
    """Where each skin point lies on one finger."""

    weight: np.ndarray
    """How much of the point belongs to the finger, 0..1."""
    axial: np.ndarray
    """(N, 3) signed distance along each bone from its joint, metres."""
    side: np.ndarray
    """(N, 3) sideways distance from each bone."""
    back: np.ndarray
    """(N, 3) height above each bone on the dorsal side."""
    dorsal: np.ndarray
    """-1 on the palmar side … 1 on the dorsal side, from the normal."""
    lengths: np.ndarray
    """Of the three bones."""


@dataclass(frozen=True)
class SkinChart:
    """All coordinates in which the skin is painted."""

    points: np.ndarray
    dorsal: np.ndarray
    """-1 palm … 1 back of the hand."""
    palm_px: np.ndarray
    """(N, 2) across and along, metres from the wrist."""
    palm_size: np.ndarray
    """Half breadth at the knuckles, length to the middle knuckle."""
    palm_weight: np.ndarray
    fingers: list
    knuckles: np.ndarray
    """(4, 3) positions of the four knuckles."""


def finger_chart(f, points, normals, weights, joints, tips, palmar):
    """Chart of finger `f` (0 = thumb); `palmar` is where its pads look."""
    chain = np.concatenate([joints[1 + 3 * f : 4 + 3 * f], tips[f : f + 1]])
    along = unit(np.diff(chain, axis=0))
    inward = unit(palmar - (along @ palmar)[:, None] * along)
    offset = points[:, None] - chain[None, :3]
    return FingerChart(
        weight=weights[:, 1 + 3 * f : 4 + 3 * f].sum(1),
        axial=np.einsum("nka,ka->nk", offset, along),
        side=np.einsum("nka,ka->nk", offset, np.cross(along, inward)),
        back=-np.einsum("nka,ka->nk", offset, inward),
        dorsal=-normals @ inward[1:].mean(0),
        lengths=np.linalg.norm(np.diff(chain, axis=0), axis=1),
    )


def skin_chart(points, faces, weights, joints, tips, palmar_of_finger):
    """Chart of the whole rest hand."""
    frame = AnatomicalFrame.of(joints)
    normals = vertex_normals(points, faces)
    local = frame.coordinates(points - joints[0])
    half = frame.coordinates(joints[INDEX] - joints[LITTLE])[0] / 2
    middle = frame.coordinates(joints[[INDEX, LITTLE]] - joints[0])[:, 0].mean()
    length = frame.coordinates(joints[MIDDLE] - joints[0])[1]
    return SkinChart(
        points=points,
        dorsal=-normals @ frame.palmar,
        palm_px=local[:, :2] - np.array([middle, 0.0]),
        palm_size=np.array([half, length]),
        palm_weight=weights[:, 0],
        fingers=[
            finger_chart(f, points, normals, weights, joints, tips, palmar_of_finger[f])
            for f in range(5)
        ],
        knuckles=joints[[INDEX, MIDDLE, RING, LITTLE]],
    )


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one person's skin differs from another's; as it stands, the demo's person."""

    back_tone: tuple[float, float, float] = (0.47, 0.245, 0.155)
    palm_tone: tuple[float, float, float] = (0.60, 0.335, 0.245)
    """Linear RGB reflectance outside and inside of the hand: fair to medium skin."""
    forearm_pale: float = 1.0
    """How far the inside of the forearm has the palm's tone."""
    nail_tone: tuple[float, float, float] = (0.62, 0.345, 0.27)
    moon_tone: tuple[float, float, float] = (0.70, 0.50, 0.43)
    edge_tone: tuple[float, float, float] = (0.66, 0.50, 0.40)
    nail_rough: float = 0.27
    creases: float = 1.0
    """Strength of lines and wrinkles."""
    veins: float = 1.0
    blotches: float = 1.0
    """Unevenness of the blood's colour."""
    moles: int = 26
    rough: float = 0.5
    """Roughness of the skin: moist below, dry above."""


class Paint:
    """Layers of the skin being painted: colour multipliers, relief, roughness."""

    def __init__(self, num_points, look):
        """Blank skin."""
        self.look = look
        self.dark = np.zeros(num_points)
        self.red = np.zeros(num_points)
        self.relief = np.zeros(num_points)
        self.rough = np.full(num_points, look.rough)
        self.nail = np.zeros(num_points)
        self.nail_tone = np.zeros((num_points, 3))

    def groove(self, amount, depth_m, dark=0.35, red=0.35):
        """Press a crease into the skin where `amount` is near one."""
        amount = amount * self.look.creases
        self.relief -= depth_m * amount
        self.dark += dark * amount
        self.red += red * amount


def paint_finger_creases(paint, chart, seed, is_thumb):
    """Flexion creases on the pads' side and the wrinkles over the knuckles of one finger."""
    wander = 0.0006 * cloud_noise(
        np.stack([chart.side[:, 0], chart.back[:, 0]] * 2, 1)[:, :3], 220, seed
    )
    palmar = chart.weight * smooth_step(-chart.dorsal, -0.35, 0.35)
    dorsal = chart.weight * smooth_step(chart.dorsal, 0.1, 0.6)
    first = 1 if is_thumb else 0
    for k in range(first, 3):
        at = chart.axial[:, k] + wander
        lines = {0: (0.47, 0.52), 1: (-0.03, 0.04), 2: (-0.07, 0.0)}[k]
        for i, share in enumerate(lines):
            strength = (1.0, 0.55)[i] if k < 2 else (1.0, 0.35)[i]
            shift = share * chart.lengths[k] + 0.0008 * np.sin(chart.side[:, k] * 500 + i + k)
            line = bump(at - shift, 0.0006) + 0.4 * bump(at - shift, 0.002)
            paint.groove(strength * palmar * line, 0.0003, 0.15, 0.42)
    for k in (1, 2):
        span, step = ((0.0062, 0.0021), (0.0036, 0.0017))[k - 1]
        arc = chart.axial[:, k] - np.sign(chart.axial[:, k]) * 12 * chart.side[:, k] ** 2
        arc = arc + 0.7 * wander + 0.001 * (k == 1)
        wave = (0.5 + 0.5 * np.cos(2 * np.pi * arc / step)) ** 3
        reach = bump(arc, span) * smooth_step(-np.abs(chart.side[:, k]), -0.0085, -0.003)
        paint.groove(dorsal * wave * reach, 0.00022, 0.3, 0.2)
        paint.dark += 0.10 * dorsal * bump(chart.axial[:, k], 0.008)
        paint.red += 0.35 * dorsal * bump(chart.axial[:, k], 0.008)


def paint_nail(paint, chart, width_m, seed):
    """A nail: smooth plate, paler moon and free edge, cuticle and side folds."""
    length = chart.lengths[2]
    plate_length = 0.0118 if width_m < 0.0068 else 0.0135
    tip_gap = 0.0008
    along = chart.axial[:, 2] - (length - tip_gap - plate_length)
    across = chart.side[:, 2] / width_m
    y = along / plate_length
    round_root = 0.22 * across**2
    is_back = smooth_step(chart.back[:, 2], 0.0, 0.002) * smooth_step(chart.dorsal, -0.25, 0.15)
    inside = np.minimum(np.minimum(1 - np.abs(across), 2.2 * (y - round_root)), 2.2 * (1.12 - y))
    inside = np.where(chart.weight > 0.5, inside, -1.0)
    plate = smooth_step(inside, 0.0, 0.10) * is_back
    fold = bump(inside + 0.05, 0.10) * is_back * (chart.weight > 0.5) * (y < 0.95)
    moon = smooth_step(0.20 - (y + 0.35 * across**2), -0.03, 0.03) * (width_m > 0.0058)
    edge = smooth_step(y + 0.10 * across**2, 0.96, 1.0)
    streak = 0.03 * np.cos(across * 16 + seed)
    look = paint.look
    tone = np.array(look.nail_tone)[None] * (1 + streak)[:, None]
    tone = tone * (1 - 0.45 * moon[:, None]) + 0.45 * moon[:, None] * np.array(look.moon_tone)
    tone = tone * (1 - edge[:, None]) + edge[:, None] * np.array(look.edge_tone)
    paint.nail_tone = paint.nail_tone * (1 - plate[:, None]) + tone * plate[:, None]
    paint.nail = np.maximum(paint.nail, plate)
    paint.relief += 0.00012 * plate + 0.00015 * bump(inside + 0.16, 0.1) * is_back * (y < 0.9)
    paint.groove(fold, 0.00022, 0.22, 0.5)
    paint.rough = paint.rough * (1 - plate) + look.nail_rough * plate


def distance_to_curve(points, knots):
    """Distance of 2D points to a smooth curve through knots, and the place along it (0..1)."""
    knots = np.asarray(knots, float)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        )
    curve = np.concatenate([*pieces, knots[-1:]])
    best, place = np.full(len(points), np.inf), np.zeros(len(points))
    for i, (a, b) in enumerate(itertools.pairwise(curve)):
        s = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a) + 1e-12), 0, 1)
        gap = np.linalg.norm(points - a - s[:, None] * (b - a), axis=1)
        nearer = gap < best
        best = np.where(nearer, gap, best)
        place = np.where(nearer, (i + s) / len(curve), place)
    return best, place


PALM_LINES = (
    # (knots as across / half breadth and along / length to the knuckles, strength)
    (((1.22, 0.70), (0.75, 0.70), (0.32, 0.52), (0.06, 0.27), (0.10, 0.02)), 1.0),
    (((1.22, 0.71), (0.60, 0.72), (-0.10, 0.58), (-0.80, 0.36)), 0.9),
    (((-1.40, 0.62), (-0.75, 0.70), (-0.10, 0.82), (0.30, 1.00)), 1.0),
    (((-0.10, 0.12), (-0.08, 0.40), (-0.12, 0.66)), 0.35),
    (((0.95, -0.04), (0.0, -0.075), (-0.95, -0.035)), 0.8),
    (((0.95, -0.11), (0.0, -0.135), (-0.95, -0.10)), 0.6),
    (((-0.95, 0.30), (-0.65, 0.22), (-0.35, 0.20)), 0.3),
    (((0.80, 0.52), (0.55, 0.42), (0.45, 0.22)), 0.3),
    (((0.45, 0.83), (0.10, 0.90), (-0.30, 0.92)), 0.25),
)
"""Life, head, heart and fate line, two wrist creases, small ones. Drawn from common palms."""


def paint_palm(paint, chart, seed):
    """The lines of the palm and fine criss-cross wrinkles."""
    palmar = smooth_step(-chart.dorsal, 0.05, 0.5)
    shift = np.stack([cloud_noise(chart.points + k, 90, seed + k) for k in range(2)], 1)
    at = (chart.palm_px + 0.0009 * shift) / chart.palm_size
    fingers = np.sum([c.weight for c in chart.fingers[1:]], axis=0)
    on_palm = palmar * (1 - smooth_step(fingers, 0.5, 0.95))
    some = np.flatnonzero(on_palm > 0.01)
    uneven = 0.72 + 0.5 * cloud_noise(chart.points, 130, seed + 5)
    for knots, strength in PALM_LINES:
        metres = np.asarray(knots) * chart.palm_size
        gap, place = distance_to_curve(at[some] * chart.palm_size, metres)
        fade = smooth_step(place, 0.0, 0.10) * smooth_step(1 - place, 0.0, 0.25)
        line = np.zeros(len(at))
        line[some] = fade * (bump(gap, 0.00075) + 0.45 * bump(gap, 0.0024))
        paint.groove(strength * uneven * on_palm * line, 0.00032, 0.13, 0.42)
    for k, cells in enumerate((60, 100, 170)):
        web = np.abs(
            cloud_noise(chart.points * np.array([1.0, 0.6, 1.0]) + k, cells, seed + 31 + k)
        )
        paint.groove(0.4 * on_palm * uneven * bump(web, 0.03), 0.00014, 0.10, 0.25)


def paint_back(paint, chart, frame_points, seed):
    """Tendons, veins, loose skin over the knuckles, and fine lines on the back of the hand."""
    back = smooth_step(chart.dorsal, 0.35, 0.8) * smooth_step(chart.palm_weight, 0.4, 0.9)
    u, v = (chart.palm_px / chart.palm_size).T
    for k, end in enumerate((0.98, 0.32, -0.36, -0.98)):
        path = 0.25 * end + 0.75 * end * np.clip(v, 0, 1.1)
        ridge = bump((u - path) * chart.palm_size[0], 0.0021) * smooth_step(v, 0.15, 0.6)
        paint.relief += (
            0.00028 * ridge * back * smooth_step(-v, -1.02, -0.85) * (1.0, 1.0, 0.9, 0.7)[k]
        )
    some = np.flatnonzero(back > 0.01)
    for k, knots in enumerate(VEINS):
        wobble = 0.0022 * cloud_noise(chart.points, 70, seed + 50 + k, 2)
        at = (chart.palm_px + wobble[:, None])[some]
        gap, place = distance_to_curve(at, np.asarray(knots) * chart.palm_size)
        fade = smooth_step(place, 0.0, 0.15) * smooth_step(1 - place, 0.0, 0.25) * back[some]
        fade = fade * paint.look.veins
        paint.relief[some] += 0.00022 * fade * bump(gap, 0.0017)
        paint.red[some] -= 0.32 * fade * bump(gap, 0.0026)
        paint.dark[some] += 0.06 * fade * bump(gap, 0.0026)
    for k, knuckle in enumerate(chart.knuckles):
        near = bump(np.linalg.norm(frame_points - knuckle, axis=1), 0.013)
        near = near * smooth_step(chart.dorsal, 0.3, 0.8)
        crinkle = np.abs(cloud_noise(chart.points * np.array([0.6, 1.6, 1.0]), 190, seed + 70 + k))
        paint.groove(near * bump(crinkle, 0.12), 0.00012, 0.16, 0.1)
        paint.red += 0.40 * near
        paint.dark += 0.06 * near
    web = np.abs(cloud_noise(chart.points, 260, seed + 90, 2))
    paint.groove(0.5 * back * bump(web, 0.07), 0.00005, 0.10, 0.0)


VEINS = (
    ((0.45, -0.15), (0.35, 0.25), (0.62, 0.55), (0.66, 0.92)),
    ((0.35, 0.25), (0.02, 0.48), (-0.04, 0.72), (0.02, 0.95)),
    ((-0.55, -0.10), (-0.45, 0.30), (-0.62, 0.60), (-0.68, 0.92)),
    ((-0.45, 0.30), (-0.15, 0.55), (-0.04, 0.72)),
)
"""Courses of the dorsal veins, in the same units as the palm lines."""


def paint_skin(chart, seed=7, look=Look()):
    """All layers → dict of tone (linear RGB), rough, relief (metres along the normal)."""
    paint = Paint(len(chart.points), look)
    for f, finger in enumerate(chart.fingers):
        paint_finger_creases(paint, finger, seed + 11 * f, f == 0)
    paint_palm(paint, chart, seed)
    paint_back(paint, chart, chart.points, seed)
    for f, (finger, width) in enumerate(zip(chart.fingers, NAIL_HALF_WIDTHS_M, strict=True)):
        paint_nail(paint, finger, width, f)
        pad = finger.weight * smooth_step(finger.axial[:, 2], 0.002, 0.014)
        paint.red += 0.35 * pad
    dorsal = chart.dorsal.copy()
    for finger in chart.fingers:
        share = smooth_step(finger.weight, 0.2, 0.8)
        dorsal = dorsal * (1 - share) + finger.dorsal * share
    return finish_paint(paint, chart, dorsal, seed)


NAIL_HALF_WIDTHS_M = (0.0072, 0.0058, 0.0061, 0.0058, 0.0049)


MAX_RELIEF_M = 0.0003
"""Keeps the picture's surface that near to the truth mesh."""


def finish_paint(paint, chart, dorsal, seed):
    """Mix the layers into colours, with blotches of blood and melanin and a few moles."""
    p, look = chart.points, paint.look
    inside = smooth_step(-dorsal, -0.35, 0.45)[:, None]
    forearm = smooth_step(-chart.palm_px[:, 1:], 0.0, 0.03)
    pale = inside * (1 - (1 - look.forearm_pale) * forearm)
    tone = np.array(look.back_tone) * (1 - pale) + np.array(look.palm_tone) * pale
    melanin = 0.07 * cloud_noise(p, 45, seed + 1) + 0.045 * cloud_noise(p, 320, seed + 2, 3)
    blood = 0.28 * cloud_noise(p, 75, seed + 3) + 0.20 * cloud_noise(p, 420, seed + 4, 3)
    rng = np.random.default_rng(seed)
    outside = np.flatnonzero((dorsal > 0.4) & (paint.nail < 0.1))
    for spot in p[rng.choice(outside, look.moles)]:
        size = rng.choice([0.0005, 0.0007, 0.0011], p=[0.5, 0.4, 0.1])
        melanin = melanin + rng.uniform(0.15, 0.5) * bump(np.linalg.norm(p - spot, axis=1), size)
    dark = paint.dark + melanin
    red = paint.red + look.blotches * blood * (0.5 + 0.8 * inside[:, 0])
    tone = tone * np.exp(-np.outer(dark, [0.75, 1.0, 1.15]) - np.outer(red, [0.06, 0.30, 0.24]))
    tone = tone * (1 - paint.nail[:, None]) + paint.nail_tone
    rough = paint.rough + (1 - paint.nail) * (
        0.06 * cloud_noise(p, 150, seed + 5) + 0.03 * inside[:, 0]
    )
    relief = np.clip(paint.relief, -MAX_RELIEF_M, MAX_RELIEF_M)
    return {"tone": np.clip(tone, 0.01, 0.9), "rough": np.clip(rough, 0.2, 0.8), "relief": relief}
