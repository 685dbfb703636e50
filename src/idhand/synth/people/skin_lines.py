"""What runs over a person's hand in lines: creases, palm lines, knuckle wrinkles, veins, tendons.

Each person has courses of their own, drawn once; a kernel then presses them into the skin.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.compiled import compiled
from idhand.synth.people.skin_noise import step

MELANIN, BLOOD, SHADE, RELIEF, GLOSS, HAIR, PLATE, MOON, EDGE = range(9)
"""Layers of paint: melanin as a share more than the skin around has, blood as a share of the
normal amount, darkening as an exponent, relief in metres, gloss; covers of hair and of the nail's
plate, moon and free edge, 0 … 1."""
NUM_LAYERS = 9

CREASE_DEPTH_M = 0.00028
"""Of a flexion crease of strength one, hand open."""
LINE_HALF_WIDTH_M = 0.0006


class _Line(NamedTuple):
    """A line across a finger, in the order in which the kernel reads it."""

    bone: int
    facing: float
    """−1 on the pads' side, 1 on the back."""
    at_m: float
    """From the bone's joint."""
    bow: float
    """Curvature in 1/m."""
    tilt: float
    middle_m: float
    reach_m: float
    """Sideways: where the middle is, and how far it goes to either side."""
    width_m: float
    depth_m: float
    shade: float
    blood: float
    phase: float
    """How it wanders."""


def finger_lines(
    bone_lengths: Float[np.ndarray, "fingers 3"], rng: np.random.Generator, creases: float
) -> Float[np.ndarray, "fingers lines 12"]:
    """Flexion creases on the pads' side of every finger and wrinkles over its joints."""
    tables = [
        _palmar_lines(f, bone_lengths[f], rng, creases) + _dorsal_lines(f, rng, creases)
        for f in range(len(bone_lengths))
    ]
    longest = max(len(table) for table in tables)
    out = np.zeros((len(tables), longest, len(_Line._fields)))
    for f, table in enumerate(tables):
        out[f, : len(table)] = table
    return out


def _palmar_lines(
    finger: int, lengths: Float[np.ndarray, " 3"], rng: np.random.Generator, creases: float
) -> list[_Line]:
    """One or two lines at each joint, two or three where the finger meets the palm, a few more."""
    whole = 0.02
    places: list[tuple[int, float, float, float]] = []  # bone, metres, strength, reach
    for bone, share in ((1, -0.02), (2, -0.06)):
        if finger == 0 and bone == 1:
            continue
        at = share * lengths[bone] + rng.normal(0, 0.0006)
        places.append((bone, at, 1.0, whole))
        if rng.random() < (0.85 if bone == 1 else 0.4):
            gap = rng.uniform(0.0016, 0.0032) * rng.choice((-1, 1))
            places.append((bone, at + gap, rng.uniform(0.35, 0.8), rng.uniform(0.005, 0.02)))
    base = (1, 0.0) if finger == 0 else (0, 0.47 * lengths[0])
    for k in range(rng.integers(1, 4)):
        at = base[1] + 0.0026 * k + rng.normal(0, 0.0007)
        places.append((base[0], at, rng.uniform(0.5, 1.0) * 0.75**k, whole))
    for _ in range(rng.integers(2, 7)):
        bone = int(rng.integers(0 if finger else 1, 3))
        at = rng.uniform(0.15 if bone else 0.6, 0.85) * lengths[bone]
        places.append((bone, at, rng.uniform(0.12, 0.35), rng.uniform(0.002, 0.006)))
    return [
        _Line(
            bone=bone,
            facing=-1.0,
            at_m=at,
            bow=rng.normal(0, 8.0),
            tilt=rng.normal(0, 0.05),
            middle_m=rng.normal(0, 0.002) if reach < whole else 0.0,
            reach_m=reach,
            width_m=LINE_HALF_WIDTH_M * rng.uniform(0.8, 1.25),
            depth_m=CREASE_DEPTH_M * creases * strength,
            shade=0.17 * creases * strength,
            blood=0.45 * strength,
            phase=rng.uniform(0, 2 * np.pi),
        )
        for bone, at, strength, reach in places
    ]


KNUCKLE_WRINKLES = ((1, 0.0062, (4, 8), 0.9), (2, 0.0034, (2, 4), 0.55))
"""Bone at whose joint they lie, half the span in metres, how many, strength."""


def _dorsal_lines(finger: int, rng: np.random.Generator, creases: float) -> list[_Line]:
    """Loose skin over the joints: arcs round the joint's middle, each of its own length."""
    lines = []
    for bone, span, (fewest, most), strength in KNUCKLE_WRINKLES:
        count = int(rng.integers(fewest, most + 1))
        middle = rng.normal(0.0, 0.0007) + (0.0005 if bone == 1 else 0.0)
        for k in range(count):
            share = (k + rng.uniform(0.2, 0.8)) / count * 2 - 1
            here = strength * rng.uniform(0.35, 1.0) * (1 - 0.55 * share * share)
            if finger == 0:
                here *= 0.5 if bone == 1 else 1.1
            lines.append(
                _Line(
                    bone=bone,
                    facing=1.0,
                    at_m=middle + share * span,
                    bow=-28.0 * share + rng.normal(0, 6.0),
                    tilt=rng.normal(0, 0.10),
                    middle_m=rng.normal(0, 0.0012),
                    reach_m=rng.uniform(0.0035, 0.008) * (1 - 0.35 * abs(share)),
                    width_m=0.00045 * rng.uniform(0.9, 1.5),
                    depth_m=0.00034 * creases * here,
                    shade=0.42 * creases * here,
                    blood=0.3 * here,
                    phase=rng.uniform(0, 2 * np.pi),
                )
            )
    return lines


class Curve(NamedTuple):
    """A line on the palm or the back, in the plane of the hand."""

    knots: Float[np.ndarray, "knots 2"]
    """Across and along, metres from the wrist."""
    facing: float
    """−1 palm, 1 back."""
    width_m: float
    relief_m: float
    shade: float
    blood: float
    melanin: float


PALM_LINES = (
    # chance, strength, knots as across / half breadth and along / length to the knuckles
    (1.00, 1.00, ((1.22, 0.70), (0.75, 0.70), (0.32, 0.52), (0.06, 0.27), (0.10, 0.02))),  # life
    (1.00, 0.90, ((1.22, 0.71), (0.60, 0.72), (-0.10, 0.58), (-0.80, 0.36))),  # head
    (1.00, 1.00, ((-1.40, 0.62), (-0.75, 0.70), (-0.10, 0.82), (0.30, 1.00))),  # heart
    (0.60, 0.45, ((-0.10, 0.12), (-0.08, 0.40), (-0.12, 0.66))),  # fate
    (0.40, 0.35, ((-0.55, 0.35), (-0.48, 0.55), (-0.45, 0.75))),  # sun
    (0.40, 0.30, ((-0.95, 0.30), (-0.65, 0.22), (-0.35, 0.20))),
    (0.60, 0.35, ((0.80, 0.52), (0.55, 0.42), (0.45, 0.22))),
    (0.50, 0.30, ((0.45, 0.83), (0.10, 0.90), (-0.30, 0.92))),
    (0.35, 0.30, ((0.95, 0.42), (0.75, 0.30), (0.62, 0.10))),
    (0.35, 0.30, ((-1.25, 0.50), (-0.95, 0.46), (-0.70, 0.47))),
    (1.00, 0.80, ((0.95, -0.04), (0.0, -0.075), (-0.95, -0.035))),  # wrist
    (0.80, 0.60, ((0.95, -0.11), (0.0, -0.135), (-0.95, -0.10))),  # wrist
)
"""Drawn from common palms."""
BACK_VEINS = (
    ((0.45, -0.25), (0.35, 0.25), (0.62, 0.55), (0.66, 0.92)),
    ((0.35, 0.25), (0.02, 0.48), (-0.04, 0.72), (0.02, 0.95)),
    ((-0.55, -0.20), (-0.45, 0.30), (-0.62, 0.60), (-0.68, 0.92)),
    ((-0.45, 0.30), (-0.15, 0.55), (-0.04, 0.72)),
    ((0.62, 0.55), (0.30, 0.66), (0.02, 0.60)),
    ((0.45, -0.25), (0.55, -0.9), (0.15, -1.7), (0.30, -3.0)),
    ((-0.55, -0.20), (-0.35, -1.1), (0.15, -1.7)),
)
WRIST_VEINS = (
    ((0.10, 0.05), (0.18, -0.35), (0.05, -0.9), (0.20, -1.8), (0.1, -3.0)),
    ((-0.50, 0.0), (-0.35, -0.5), (-0.45, -1.2), (-0.2, -2.4)),
    ((0.18, -0.35), (-0.15, -0.55), (-0.35, -0.5)),
)
"""Courses in the same units as the palm lines; the second set runs on the inner side."""
TENDON_ENDS = (0.98, 0.32, -0.36, -0.98)
"""Where the four extensor tendons reach the knuckles, as across / half breadth."""
VEIN_HALF_WIDTH_M = 0.0022


def palm_lines(
    half_m: float, length_m: float, rng: np.random.Generator, creases: float
) -> list[Curve]:
    """The person's own lines of the palm, with fine ones beside them."""
    size = np.array([half_m, length_m])
    warp = np.eye(2) + rng.normal(0, 0.06, (2, 2))  # of all lines, so that few cross
    curves = []
    for chance, strength, knots in PALM_LINES:
        if rng.random() >= chance:
            continue
        drawn = np.array(knots) @ warp + rng.normal(0, 0.025, 2)
        drawn += rng.normal(0, 0.022, drawn.shape)
        here = strength * rng.uniform(0.6, 1.1)
        curves.append(_palm_line(drawn * size, here, creases))
        for _ in range(rng.poisson(0.7)):  # a short line beside the long one
            k = rng.integers(0, len(knots) - 1)
            ends = drawn[k] + rng.uniform(0.1, 0.9, (2, 1)) * (drawn[k + 1] - drawn[k])
            ends = ends + rng.normal(0, 0.045, 2) + rng.normal(0, 0.02, (2, 2))
            curves.append(_palm_line(ends * size, 0.45 * here, creases))
    for _ in range(rng.integers(6, 16)):
        start = rng.uniform((-0.9, 0.1), (0.9, 0.95))
        ends = np.stack([start, start + rng.normal(0, (0.22, 0.14))])
        curves.append(_palm_line(ends * size, rng.uniform(0.1, 0.3), creases))
    return curves


def _palm_line(knots: Float[np.ndarray, "knots 2"], strength: float, creases: float) -> Curve:
    return Curve(
        knots=knots,
        facing=-1.0,
        width_m=LINE_HALF_WIDTH_M * (0.8 + 0.4 * strength),
        relief_m=-0.0003 * creases * strength,
        shade=0.17 * creases * strength,
        blood=0.45 * strength,
        melanin=0.5 * strength,
    )


def veins_and_tendons(
    half_m: float, length_m: float, rng: np.random.Generator, veins: float, thinness: float
) -> list[Curve]:
    """What shows through the skin of the back and of the wrist; `thinness` comes with age."""
    size = np.array([half_m, length_m])
    curves = []
    for facing, courses in ((1.0, BACK_VEINS), (-1.0, WRIST_VEINS)):
        shift = rng.normal(0, 0.06, 2)
        for course in courses:
            if rng.random() < 0.2:
                continue
            here = veins * rng.uniform(0.5, 1.0)
            knots = np.array(course) + shift + rng.normal(0, 0.05, (len(course), 2))
            curves.append(
                Curve(
                    knots=knots * size,
                    facing=facing,
                    width_m=VEIN_HALF_WIDTH_M * rng.uniform(0.7, 1.15),
                    relief_m=0.00045 * here * (1.0 if facing > 0 else 0.3),
                    shade=0.26 * here,
                    blood=-0.42 * here,
                    melanin=0.0,
                )
            )
    for end in TENDON_ENDS:
        course = np.array([(0.25 * end, 0.15), (0.62 * end, 0.55), (end, 0.97)])
        height = 0.0004 * (0.5 + thinness) * rng.uniform(0.5, 1.1)
        curves.append(Curve(course * size, 1.0, 0.0024, height, -0.05, -0.1, 0.0))
    return curves


SPANS = 8
"""Straight pieces between two knots."""


def as_segments(
    curves: list[Curve],
) -> tuple[Float[np.ndarray, "segments 4"], Float[np.ndarray, "curves 10"]]:
    """Smooth curves through their knots as straight pieces, and what the kernel asks of each.

    The second holds: box (four), facing, width, relief, shade, blood, melanin.
    Source: Catmull and Rom, 1974.
    """
    t = np.linspace(0, 1, SPANS, endpoint=False)[:, None]
    pieces, table = [], []
    for curve in curves:
        p = curve.knots
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
        line = [
            b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
            for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
        ]
        line = np.concatenate([*line, curve.knots[-1:]])
        pieces.append(np.concatenate([line[:-1], line[1:]], 1))
        margin = 4 * curve.width_m
        table.append([*(line.min(0) - margin), *(line.max(0) + margin), *curve[1:]])
    return np.concatenate(pieces), np.array(table)


def first_segments(curves: list[Curve]) -> Int[np.ndarray, " bounds"]:
    """Where the pieces of each curve begin, and the end."""
    return np.cumsum([0, *(SPANS * (len(curve.knots) - 1) for curve in curves)])


@compiled
def press_finger_lines(finger, own, dorsal, axial, side, texel, wander, lines, layers):
    """Press lines (fingers, lines, 12) into the skin; all else is per point."""
    for p in range(finger.shape[0]):
        if own[p] <= 0.0:
            continue
        table = lines[finger[p]]
        palmar = own[p] * step(-dorsal[p], -0.35, 0.35)
        dorsally = own[p] * step(dorsal[p], 0.0, 0.55)
        for k in range(table.shape[0]):
            bone, facing = int(table[k, 0]), table[k, 1]
            share = dorsally if facing > 0 else palmar
            depth = table[k, 8]
            if share < 0.01 or depth == 0.0:
                continue
            gap = axial[p, bone] - table[k, 2]
            width = max(table[k, 7], 0.8 * texel[p])
            if abs(gap) > 0.006:
                continue
            x = side[p, bone]
            c, s = np.cos(table[k, 11]), np.sin(table[k, 11])
            gap -= table[k, 3] * x * x + table[k, 4] * x
            gap -= 0.0009 * (c * wander[p, 0] + s * wander[p, 1])
            q = (gap / (3.0 * width)) ** 2
            if q >= 1.0:
                continue
            reach = abs(x - table[k, 5]) / table[k, 6]
            share *= 1.0 - step(reach, 0.55, 1.0)
            share *= (0.75 + 0.5 * (s * wander[p, 0] - c * wander[p, 1])) * table[k, 7] / width
            wide = (1.0 - q) ** 3
            narrow = wide * wide * wide
            layers[p, RELIEF] -= share * depth * narrow
            tint = share * (narrow + 0.4 * wide)
            layers[p, SHADE] += table[k, 9] * tint
            layers[p, BLOOD] += table[k, 10] * tint
            if facing < 0:
                layers[p, MELANIN] += 0.4 * table[k, 10] * tint


@compiled
def press_curves(
    position, dorsal, finger, own, texel, wander, middle, segments, first, curves, layers
):
    """Press curves on palm and back (as of `as_segments`) into the skin; all else is per point."""
    for p in range(position.shape[0]):
        hand = 1.0 - own[p]
        palmar = step(-dorsal[p], 0.0, 0.5)
        if finger[p] > 0:  # the thumb's ball is part of the palm
            palmar *= hand
        back = hand * step(dorsal[p], 0.1, 0.6)
        for k in range(curves.shape[0]):
            facing = curves[k, 4]
            share = back if facing > 0 else palmar
            if share < 0.01:
                continue
            shaky = 1.0 if curves[k, 6] < 0.0 else 0.25  # creases more than veins and tendons
            wobble = 0.0007 * shaky
            x = position[p, 0] - middle + wobble * wander[p, 0]
            y = position[p, 1] + wobble * wander[p, 1]
            if x < curves[k, 0] or y < curves[k, 1] or x > curves[k, 2] or y > curves[k, 3]:
                continue
            nearest, place = 1.0, 0.0
            for s in range(first[k], first[k + 1]):
                dx, dy = segments[s, 2] - segments[s, 0], segments[s, 3] - segments[s, 1]
                ax, ay = x - segments[s, 0], y - segments[s, 1]
                t = min(max((ax * dx + ay * dy) / (dx * dx + dy * dy + 1e-12), 0.0), 1.0)
                far = (ax - t * dx) ** 2 + (ay - t * dy) ** 2
                if far < nearest:
                    nearest, place = far, (s - first[k] + t) / (first[k + 1] - first[k])
            width = max(curves[k, 5], 0.8 * texel[p])
            q = nearest / (9.0 * width * width)
            if q >= 1.0:
                continue
            share *= step(place, 0.0, 0.12) * step(1.0 - place, 0.0, 0.2)
            share *= (0.8 + 0.45 * shaky * wander[p, 1]) * min(curves[k, 5] / width, 1.0)
            wide = (1.0 - q) ** 3
            narrow = wide * wide * wide
            layers[p, RELIEF] += share * curves[k, 6] * narrow
            tint = share * (narrow + 0.4 * wide)
            layers[p, SHADE] += curves[k, 7] * tint
            layers[p, BLOOD] += curves[k, 8] * tint
            layers[p, MELANIN] += curves[k, 9] * tint
