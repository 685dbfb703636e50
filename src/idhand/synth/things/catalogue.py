"""A catalogue of things that hands hold, each put together from solids at a size that fits.

Metres. A thing's z axis is its long axis. Its origin lies in the middle of where the hand grips it;
held across the palm, z points to the thumb and x away from the palm; held between the fingertips, x
points from the thumb to the finger and z outward.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from idhand.synth.things.solids import Bar, Box, Material, Shape, Stretch, Tone, Turned

Grip = Literal["across", "ball", "tips", "laid", "stood"]
"""Across the palm in the curled fingers; round in the hand; between thumb and fingertip; on the
palm, lying (x away from the palm) or standing (z away from the palm)."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One kind of thing: how it can be held, how big it is there, and how it is made."""

    name: str
    grips: tuple[Grip, ...]
    size_m: tuple[float, float]
    """Smallest and largest plausible radius (round) or half thickness at the grip."""
    make: Callable[[np.random.Generator, float], list[Shape]]
    """From that size."""


def painted(rng: np.random.Generator) -> Material:
    """Plastic or lacquer of any colour, often black, white or grey."""
    if rng.random() < 0.4:
        tone = np.full(3, rng.choice([0.02, 0.05, 0.2, 0.45, 0.8]))
    else:
        hue = rng.random() + np.array([0.0, 1 / 3, 2 / 3])
        pure = 0.5 + 0.5 * np.cos(2 * np.pi * hue)
        tone = rng.uniform(0.08, 0.7) * (1 - rng.uniform(0.4, 0.95) * (1 - pure))
    return Material(tone=_tone(tone * rng.uniform(0.85, 1.1, 3)), gloss=rng.uniform(0.2, 0.8))


def metal(rng: np.random.Generator) -> Material:
    """Steel, aluminium or brass."""
    colour = (0.56, 0.57, 0.58) if rng.random() < 0.75 else (0.7, 0.5, 0.2)
    grey = np.array(colour) * rng.uniform(0.5, 1.1)
    return Material(tone=_tone(grey), gloss=rng.uniform(0.7, 1.0))


def wood(rng: np.random.Generator) -> Material:
    """From beech to walnut."""
    light, dark = np.array([0.55, 0.36, 0.19]), np.array([0.12, 0.055, 0.025])
    share = rng.random()
    return Material(tone=_tone(light * share + dark * (1 - share)), gloss=rng.uniform(0.1, 0.4))


def ceramic(rng: np.random.Generator) -> Material:
    """White, or glazed in a colour."""
    if rng.random() < 0.5:
        return Material(tone=_tone(np.array([0.78, 0.76, 0.71])), gloss=rng.uniform(0.5, 0.9))
    return Material(tone=painted(rng).tone, gloss=rng.uniform(0.5, 0.9))


def paper(rng: np.random.Generator) -> Material:
    """White or printed card; matt."""
    tone = (0.8, 0.79, 0.75) if rng.random() < 0.4 else painted(rng).tone
    return Material(tone=tone, gloss=rng.uniform(0.05, 0.3))


def _tone(values: np.ndarray) -> Tone:
    r, g, b = np.clip(values, 0.005, 0.9).tolist()
    return (r, g, b)


def stack(levels: list[tuple[float, float, Material]]) -> Turned:
    """A turned thing of cylinders and cones: (radius, height of the upper end, material) upwards.

    Each level begins at the last one's height; the first gives the foot's radius and height.
    """
    (radius, z, material), *rest = levels
    stretches = [Stretch(points=((0.0, z), (radius, z)), material=material)]
    for upper, height, paint in rest:
        stretches.append(Stretch(points=((radius, z), (upper, height)), material=paint))
        radius, z, material = upper, height, paint
    stretches.append(Stretch(points=((radius, z), (0.0, z)), material=material))
    return Turned(stretches=tuple(stretches))


def _rod(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A stick, pipe, rail or broom handle."""
    paint = (wood, metal, painted)[rng.integers(3)](rng)
    low, high = -rng.uniform(0.07, 0.4), rng.uniform(0.07, 0.4)
    return [stack([(radius, low, paint), (radius, high, paint)])]


def _screwdriver(rng: np.random.Generator, radius: float) -> list[Shape]:
    grip, cap, steel = painted(rng), painted(rng), metal(rng)
    half, thin = rng.uniform(0.045, 0.055), rng.uniform(0.0025, 0.004)
    levels = [(radius * 0.8, -half, cap), (radius, -0.8 * half, cap), (radius, 0.5 * half, grip)]
    levels += [(radius * 0.65, 0.7 * half, grip), (radius * 0.75, half, grip), (thin, half, steel)]
    return [stack([*levels, (thin, half + rng.uniform(0.06, 0.16), steel)])]


def _hammer(rng: np.random.Generator, radius: float) -> list[Shape]:
    grip, steel = (wood if rng.random() < 0.6 else painted)(rng), metal(rng)
    top, head = rng.uniform(0.14, 0.22), rng.uniform(0.010, 0.014)
    handle = [(radius, -0.07, grip), (radius, 0.05, grip), (0.7 * radius, top, grip)]
    half = (rng.uniform(0.04, 0.055), head, head)
    block = Box(half=half, bevel=0.3 * head, centre=(0.01, 0.0, top), material=steel)
    return [stack(handle), block]


def _knife(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A knife: the handle's section is inscribed in the grip's circle."""
    grip, steel = (wood if rng.random() < 0.5 else painted)(rng), metal(rng)
    wide, thick, blade = 0.85 * radius, 0.5 * radius, rng.uniform(0.05, 0.1)
    handle = Box(half=(wide, thick, 0.055), bevel=0.4 * thick, material=grip)
    half = (rng.uniform(0.6, 1.1) * wide, 0.001, blade)
    return [handle, Box(half=half, bevel=0.0005, centre=(0.0, 0.0, 0.05 + blade), material=steel)]


def _spoon(rng: np.random.Generator, half: float) -> list[Shape]:
    """A spoon or brush, as a flat handle with a bowl at its end."""
    paint = (metal if rng.random() < 0.7 else wood)(rng)
    out, wide = rng.uniform(0.06, 0.11), rng.uniform(0.003, 0.006)
    handle = Box(
        half=(half, wide, 0.07), bevel=0.5 * half, centre=(0.0, 0.0, out - 0.07), material=paint
    )
    bowl = Box(
        half=(half + 0.002, 3.0 * wide, 0.024),
        bevel=half + 0.001,
        centre=(0.0, 0.0, out + 0.022),
        material=paint,
    )
    return [handle, bowl]


def _slab(rng: np.random.Generator, radius: float, thick: tuple[float, float]) -> list[float]:
    """Half extents of a slab whose section is inscribed in the grip's circle: x, y, z."""
    half = min(rng.uniform(*thick), 0.7 * radius)
    return [half, math.sqrt(radius**2 - half**2), rng.uniform(1.7, 2.3) * radius]


def _phone(rng: np.random.Generator, radius: float) -> list[Shape]:
    x, y, z = _slab(rng, radius, (0.0035, 0.0055))
    case = painted(rng)
    lit = rng.uniform(0.005, 0.5, 3) if rng.random() < 0.4 else np.full(3, 0.006)
    screen = Material(tone=_tone(lit), gloss=1.0)
    front = x if rng.random() < 0.5 else -x
    glass = Box(
        half=(0.0004, 0.93 * y, 0.96 * z), bevel=0.0002, centre=(front, 0.0, 0.0), material=screen
    )
    body = Box(half=(x, y, z), bevel=0.45 * x, centre=(0.0, 0.0, 0.0), material=case)
    return [body, glass]


def _remote(rng: np.random.Generator, radius: float) -> list[Shape]:
    x, y, z = _slab(rng, radius, (0.007, 0.011))
    body, keys = painted(rng), painted(rng)
    shapes: list[Shape] = [Box(half=(x, y, 1.8 * z), bevel=0.4 * x, material=body)]
    for row in np.linspace(-0.6, 1.4, int(rng.integers(3, 7))) * z:
        for column in (-0.45 * y, 0.45 * y):
            half = (0.001, 0.2 * y, 0.15 * y)
            centre = (x, column, float(row))
            shapes.append(Box(half=half, bevel=0.0006, centre=centre, material=keys))
    return shapes


def _carton(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A box of cardboard with a label, or a book."""
    x, y, z = _slab(rng, radius, (0.3 * radius, 0.75 * radius))
    label = Box(
        half=(1.01 * x, 1.01 * y, rng.uniform(0.2, 0.5) * z), bevel=0.001, material=paper(rng)
    )
    return [Box(half=(x, y, z), bevel=0.0015, material=paper(rng)), label]


def _book(rng: np.random.Generator, half: float) -> list[Shape]:
    """A book or a tablet: its cover, and its pages a little smaller."""
    y, z = rng.uniform(0.035, 0.065), rng.uniform(0.06, 0.1)
    edge = min(0.0015, 0.4 * half)
    pages = Box(
        half=(half - edge, y - 0.002, z),
        bevel=0.5 * edge,
        material=paper(rng),
        centre=(0.0, 0.0, 0.002),
    )
    cover = paper(rng)
    sides = [
        Box(half=(edge, y, z), bevel=0.4 * edge, centre=(x, 0.0, 0.0), material=cover)
        for x in (edge - half, half - edge)
    ]
    return [pages, *sides]


def _bottle(rng: np.random.Generator, radius: float) -> list[Shape]:
    body, label, cap = painted(rng), paper(rng), painted(rng)
    low, high = -rng.uniform(0.06, 0.11), rng.uniform(0.05, 0.09)
    neck, top = rng.uniform(0.3, 0.5) * radius, high + rng.uniform(0.02, 0.07)
    shoulder = tuple(
        (neck + (radius - neck) * math.cos(t), high + (top - high) * math.sin(t) * 0.8)
        for t in np.linspace(0, math.pi / 2, 5).tolist()
    )
    foot = Stretch(points=((0.0, low), (0.9 * radius, low)), material=body)
    side = ((0.9 * radius, low), (radius, low + 0.006), (radius, 0.5 * low))
    stretches = [foot, Stretch(points=side, material=body)]
    stretches.append(Stretch(points=((radius, 0.5 * low), (radius, 0.5 * high)), material=label))
    stretches.append(Stretch(points=((radius, 0.5 * high), *shoulder), material=body))
    end = shoulder[-1]
    lid = ((end[0], end[1]), (neck * 1.15, end[1]), (neck * 1.15, end[1] + 0.015))
    stretches += [Stretch(points=pair, material=cap) for pair in pairwise(lid)]
    stretches.append(Stretch(points=(lid[-1], (0.0, end[1] + 0.015)), material=cap))
    return [Turned(stretches=tuple(stretches))]


def _can(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A drink or spray can."""
    steel, print_ = metal(rng), painted(rng)
    stripe = print_ if rng.random() < 0.5 else painted(rng)
    low, high = -rng.uniform(0.05, 0.07), rng.uniform(0.05, 0.07)
    levels = [(0.85 * radius, low, steel), (radius, low + 0.006, steel)]
    levels += [(radius, 0.3 * low, print_), (radius, 0.3 * high, stripe)]
    levels += [(radius, high - 0.01, print_), (0.87 * radius, high, steel)]
    if rng.random() < 0.4:
        cap = painted(rng)
        levels += [(0.5 * radius, high + 0.004, cap), (0.45 * radius, high + 0.03, cap)]
    return [stack(levels)]


def _cup(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A tumbler or paper cup, hollow; as wide as the grip at its widest."""
    paint, low, high = ceramic(rng), -rng.uniform(0.04, 0.06), rng.uniform(0.04, 0.06)
    inside = paint if rng.random() < 0.5 else ceramic(rng)
    foot, wall = rng.uniform(0.7, 1.0) * radius, 0.002
    return [
        Turned(
            stretches=(
                Stretch(points=((0.0, low), (foot, low)), material=paint),
                Stretch(points=((foot, low), (radius, high)), material=paint),
                Stretch(points=((radius, high), (radius - wall, high)), material=paint),
                Stretch(
                    points=((radius - wall, high), (foot - wall, low + 0.004)), material=inside
                ),
                Stretch(points=((foot - wall, low + 0.004), (0.0, low + 0.004)), material=inside),
            )
        )
    ]


def _mug(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A cup with a handle, which stands away from the palm where the hand is open."""
    body = _cup(rng, radius)
    assert isinstance(body[0], Turned)
    height, reach = rng.uniform(0.024, 0.032), rng.uniform(0.025, 0.035)
    turn = rng.uniform(-1.2, 1.2)
    path = tuple(
        (r * math.cos(turn), r * math.sin(turn), height * math.sin(t))
        for t in np.linspace(-math.pi / 2, math.pi / 2, 9).tolist()
        for r in (0.88 * radius + reach * math.cos(t),)
    )
    paint = body[0].stretches[0].material
    return [*body, Bar(path=path, radius=rng.uniform(0.004, 0.006), is_ring=False, material=paint)]


def _ball(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A ball of two halves, or of one colour."""
    paint = painted(rng)
    other = paint if rng.random() < 0.6 else painted(rng)
    angles = np.linspace(-math.pi / 2, math.pi / 2, 13).tolist()
    arc = [(radius * math.cos(t), radius * math.sin(t)) for t in angles]
    arc[0], arc[-1] = (0.0, -radius), (0.0, radius)
    halves = (
        Stretch(points=tuple(arc[:7]), material=paint),
        Stretch(points=tuple(arc[6:]), material=other),
    )
    whole = (Stretch(points=tuple(arc), material=paint),)
    return [Turned(stretches=whole if other is paint else halves)]


def _fruit(rng: np.random.Generator, radius: float) -> list[Shape]:
    """An apple, orange or lemon: a ball with dents or points at its poles, and a stalk."""
    tones = [(0.45, 0.03, 0.02), (0.35, 0.42, 0.05), (0.75, 0.28, 0.02), (0.75, 0.55, 0.06)]
    skin = Material(tone=tones[rng.integers(4)], gloss=rng.uniform(0.3, 0.7))
    dent = rng.uniform(-0.15, 0.25)
    arc = []
    for t in np.linspace(-math.pi / 2, math.pi / 2, 15).tolist():
        shrink = 1 - dent * abs(math.sin(t)) ** 8 if dent > 0 else 1.0
        arc.append((radius * math.cos(t), radius * math.sin(t) * shrink * 0.95))
    arc[0], arc[-1] = (0.0, arc[0][1]), (0.0, arc[-1][1])
    top = arc[-1][1]
    stalk = stack([(0.001, top - 0.002, wood(rng)), (0.0015, top + 0.012, wood(rng))])
    return [Turned(stretches=(Stretch(points=tuple(arc), material=skin),)), stalk]


def _pen(rng: np.random.Generator, radius: float) -> list[Shape]:
    """A pen, pencil or marker, gripped near its tip, which points to −z."""
    barrel, tip, end = painted(rng), painted(rng), painted(rng)
    length, low = rng.uniform(0.1, 0.15), -rng.uniform(0.025, 0.035)
    levels = [(0.001, low, tip), (0.95 * radius, low + 0.015, tip), (radius, low + 0.02, barrel)]
    levels += [(radius, low + 0.8 * length, barrel), (0.97 * radius, low + length, end)]
    return [stack(levels)]


def _card(rng: np.random.Generator, half: float) -> list[Shape]:
    """A card or note, held near one edge, with a printed field."""
    y, z = rng.uniform(0.025, 0.045), rng.uniform(0.035, 0.06)
    centre = (0.0, rng.uniform(-0.3, 0.3) * y, z - rng.uniform(0.008, 0.015))
    field = Box(
        half=(half + 0.0002, 0.8 * y, rng.uniform(0.1, 0.3) * z),
        bevel=0.0001,
        centre=(centre[0], centre[1], centre[2] + 0.3 * z),
        material=paper(rng),
    )
    return [Box(half=(half, y, z), bevel=0.3 * half, centre=centre, material=paper(rng)), field]


def _key(rng: np.random.Generator, half: float) -> list[Shape]:
    """A key: a round bow to hold, and a blade with teeth."""
    steel = metal(rng)
    bow = Box(half=(half, 0.011, 0.012), bevel=0.8 * half, material=steel)
    blade = Box(
        half=(half, 0.004, 0.018), bevel=0.4 * half, centre=(0.0, 0.0, 0.028), material=steel
    )
    teeth = [
        Box(half=(half, 0.0015, 0.002), bevel=0.2 * half, centre=(0.0, 0.005, z), material=steel)
        for z in (0.026, 0.033, 0.041)
    ]
    return [bow, blade, *teeth]


def _cube(rng: np.random.Generator, half: float) -> list[Shape]:
    """A die, match box or toy brick."""
    y, z = rng.uniform(0.8, 1.6) * half + 0.004, rng.uniform(0.8, 2.0) * half + 0.004
    return [Box(half=(half, y, z), bevel=0.15 * half, material=painted(rng))]


THINGS = (
    Thing(name="rod", grips=("across",), size_m=(0.006, 0.022), make=_rod),
    Thing(name="screwdriver", grips=("across",), size_m=(0.011, 0.019), make=_screwdriver),
    Thing(name="hammer", grips=("across",), size_m=(0.011, 0.019), make=_hammer),
    Thing(name="knife", grips=("across",), size_m=(0.010, 0.018), make=_knife),
    Thing(name="phone", grips=("across", "laid"), size_m=(0.032, 0.041), make=_phone),
    Thing(name="remote", grips=("across",), size_m=(0.017, 0.027), make=_remote),
    Thing(name="carton", grips=("across", "laid"), size_m=(0.018, 0.05), make=_carton),
    Thing(name="book", grips=("laid", "tips"), size_m=(0.003, 0.016), make=_book),
    Thing(name="bottle", grips=("across", "tips", "stood"), size_m=(0.022, 0.046), make=_bottle),
    Thing(name="can", grips=("across", "tips", "stood"), size_m=(0.022, 0.038), make=_can),
    Thing(name="cup", grips=("across", "tips", "stood"), size_m=(0.028, 0.046), make=_cup),
    Thing(name="mug", grips=("across",), size_m=(0.034, 0.046), make=_mug),
    Thing(name="ball", grips=("ball", "tips"), size_m=(0.008, 0.055), make=_ball),
    Thing(name="fruit", grips=("ball", "tips", "stood"), size_m=(0.022, 0.042), make=_fruit),
    Thing(name="pen", grips=("across", "tips"), size_m=(0.0035, 0.007), make=_pen),
    Thing(name="spoon", grips=("tips",), size_m=(0.0008, 0.004), make=_spoon),
    Thing(name="card", grips=("tips", "laid"), size_m=(0.0003, 0.0015), make=_card),
    Thing(name="key", grips=("tips",), size_m=(0.0008, 0.002), make=_key),
    Thing(name="cube", grips=("tips", "stood"), size_m=(0.004, 0.02), make=_cube),
)
"""All kinds; the sizes are those of everyday things."""
