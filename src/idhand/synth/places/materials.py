"""What lies behind hands: wood, cloth, tiles, stone, print, leaves …, made from fixed seeds.

And the photographs that come with the package.
"""

import io
import math
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from jaxtyping import UInt8

from idhand.synth.places.textures import (
    SIZE,
    Albedo,
    Gray,
    Pyramid,
    colour,
    grid,
    mixed,
    noise,
    pyramid,
    relief,
    shifted,
    toned,
)

VARIANTS = 3
"""Of each kind."""
GREY_SURFACES = {
    "brick": (0.42, 0.29, 0.23),
    "grass": (0.27, 0.31, 0.13),
    "gravel": (0.38, 0.36, 0.33),
}
"""Shipped photographs without colour, used as textures of this mean reflectance."""


def wood(rng: np.random.Generator) -> Albedo:
    """Boards with a grain along x, of pine to walnut."""
    high = np.array([0.56, 0.37, 0.21]) * rng.uniform(0.3, 1.15)
    high *= np.exp(rng.normal(0, 0.06, 3))
    rings = noise(rng, 1.8, (12.0, 1.0))
    lines = np.abs((rings * rng.uniform(2, 5)) % 2 - 1)
    grain = 0.25 * lines + 0.1 * noise(rng, 0.4, (30.0, 1.0)) + 0.08 * noise(rng, 1.4, (8.0, 1.0))
    width = rng.choice([90.0, 128.0, 171.0, 600.0])
    board = np.floor(grid(1.0, width)[1]).astype(int)
    grain = np.where(board % 2 > 0, grain[:, ::-1], grain)  # no ring goes on in the next board
    tone = rng.normal(0, 0.16, board.max() + 1)[board]
    seam = np.abs(grid(1.0, width)[1] % 1 - 0.5) > 0.5 - 1.2 / width
    albedo = np.broadcast_to(high.astype(np.float32), (SIZE, SIZE, 3))
    return toned(albedo, grain + tone - 1.1 * seam * (width < SIZE))


def weave(rng: np.random.Generator, thread: float) -> Gray:
    """Log tone of threads that go over and under each other."""
    x, y = grid(thread)
    x, y = x + 0.08 * noise(rng, 1.0), y + 0.08 * noise(rng, 1.0)
    over = (np.floor(x) + np.floor(y)) % 2
    round_x, round_y = np.cos((x % 1 - 0.5) * 2.6), np.cos((y % 1 - 0.5) * 2.6)
    return np.where(over > 0, round_x, round_y) * 0.5 - 0.4 + 0.1 * noise(rng, 0.3)


def folds(rng: np.random.Generator, strength: float) -> Gray:
    """Log tone of cloth that lies in soft folds."""
    height = noise(rng, 2.0, (1.0, rng.uniform(0.25, 0.8)), 60.0)
    bent = shifted(height, 40 * noise(rng, 3.0), 40 * noise(rng, 3.0))
    ridge = np.sqrt(bent**2 + 0.02)
    return relief(height - 0.6 * ridge, strength, rng.uniform(0, 6.3))


def cloth(rng: np.random.Generator) -> Albedo:
    """A sheet, shirt or trousers: one colour, folds, a weave or melange."""
    base = colour(rng)
    albedo = mixed(0.5 + 0.25 * noise(rng, 0.4), base * 0.75, base * 1.15)
    return toned(albedo, folds(rng, rng.uniform(1.5, 7)) + 0.5 * weave(rng, rng.uniform(3, 6)))


def checks(rng: np.random.Generator) -> Albedo:
    """Gingham or plaid: stripes of both directions, woven, a little creased."""
    base, second, third = colour(rng), colour(rng, 0.9), colour(rng, 0.9)
    x, y = grid(rng.uniform(30, 110))
    wide, narrow = rng.uniform(0.25, 0.5), rng.uniform(0.02, 0.12)
    broad = ((x % 1 < wide) + 0.0 + (y % 1 < wide)) / 2
    fine = np.maximum(np.abs(x % 1 - 0.75) < narrow / 2, np.abs(y % 1 - 0.75) < narrow / 2)
    albedo = mixed(broad.astype(np.float32), base, second)
    albedo = albedo + 0.7 * fine[..., None] * (third - albedo) * (rng.random() < 0.6)
    bent = shifted(albedo, 3 * noise(rng, 2.0), 3 * noise(rng, 2.0))
    return toned(bent, 0.6 * weave(rng, rng.uniform(2.5, 5)) + folds(rng, rng.uniform(0.5, 4)))


def print_cloth(rng: np.random.Generator) -> Albedo:
    """Cloth or wallpaper printed with motifs or stripes."""
    base, ink = colour(rng), [colour(rng, 0.9) for _ in range(3)]
    albedo = np.full((SIZE, SIZE, 3), base, np.float32)
    if rng.random() < 0.35:
        x, _ = grid(rng.uniform(16, 80))
        albedo = mixed(((x % 1) < rng.uniform(0.2, 0.6)).astype(np.float32), base, ink[0])
    else:
        cell = int(rng.choice([32, 64, 128]))
        petals, size = rng.integers(1, 7), rng.uniform(0.1, 0.24) * cell
        for row in range(-1, SIZE // cell + 1):
            for column in range(-1, SIZE // cell + 1):
                middle = np.array([column + 0.5 * (row % 2), row]) * cell + rng.normal(0, 2, 2)
                for petal in range(petals):
                    turn = petal / petals * 2 * math.pi + rng.normal(0, 0.1)
                    at = middle + np.array([math.cos(turn), math.sin(turn)]) * size * (petals > 1)
                    _ellipse(albedo, at, (size, size * 0.6), math.degrees(turn), ink[petal % 2])
                _ellipse(albedo, middle, (size * 0.4, size * 0.4), 0.0, ink[2])
    return toned(albedo, folds(rng, rng.uniform(0.5, 5)) + 0.4 * weave(rng, 3.5))


def _ellipse(picture, middle, axes, angle_deg, tone):
    """Fill a soft-edged ellipse; middle and axes in texels."""
    box = ((float(middle[0]), float(middle[1])), (2 * float(axes[0]), 2 * float(axes[1])))
    cv2.ellipse(picture, (*box, float(angle_deg)), [float(c) for c in tone], -1, cv2.LINE_8)


def tiles(rng: np.random.Generator) -> Albedo:
    """Tiles or bricks, each of its own tone, with joints."""
    base, joint = colour(rng), np.full(3, rng.uniform(0.15, 0.6), np.float32)
    high = rng.uniform(36, 130)
    ratio, bond = rng.choice([1.0, 1.0, 2.0, 3.0]), rng.choice([0.0, 0.5])
    bend = 0.015 * noise(rng, 1.6)
    x, y = grid(high * ratio, high)
    y = y + bend
    x = x + bond * (np.floor(y) % 2) + bend / ratio
    cell = (np.floor(x) * 7 + np.floor(y) * 131).astype(int) % 997
    tone = rng.normal(0, rng.uniform(0.02, 0.25), 997)[cell]
    edge = np.minimum(0.5 - np.abs(x % 1 - 0.5), (0.5 - np.abs(y % 1 - 0.5)) / ratio) * high * ratio
    face = np.clip((edge - rng.uniform(0.8, 2.5)) / 1.5, 0, 1).astype(np.float32)
    rough = rng.uniform(0.02, 0.2) * noise(rng, 0.9)
    albedo = mixed(face, joint, base)
    return toned(albedo, (tone + rough) * face + relief(face, 0.25) + 0.08 * noise(rng, 1.8))


def carpet(rng: np.random.Generator) -> Albedo:
    """Tufts of two or three yarns, trodden in places; towels and fleece, too."""
    tuft = noise(rng, -0.2, finest=rng.uniform(4, 9))
    albedo = mixed(0.5 + 0.6 * noise(rng, rng.uniform(0.2, 1.4)), colour(rng), colour(rng))
    return toned(albedo, 0.3 * tuft + relief(tuft, 0.25) + 0.12 * noise(rng, 1.8))


def stone(rng: np.random.Generator) -> Albedo:
    """Marble veins, terrazzo chips, concrete or granite."""
    base = colour(rng, 0.2, 0.15)
    kind = rng.integers(3)
    if kind == 0:
        bent = shifted(noise(rng, 1.7), 40 * noise(rng, 2.0), 40 * noise(rng, 2.0))
        vein = np.exp(-np.abs(bent) * rng.uniform(6, 20))
        return toned(mixed(vein, base, colour(rng, 0.3) * 0.6), 0.07 * noise(rng, 1.3))
    if kind == 1:
        albedo = np.full((SIZE, SIZE, 3), base, np.float32)
        chips = [colour(rng, 0.4) for _ in range(5)]
        for _ in range(rng.integers(300, 1200)):
            at, size = rng.uniform(0, SIZE, 2), rng.gamma(2.0, 2.5) + 1
            corners = rng.normal(0, size, (6, 2)) + at
            hull = cv2.convexHull(corners.astype(np.float32)).astype(np.int32)
            cv2.fillConvexPoly(albedo, hull, [float(c) for c in chips[rng.integers(5)]])
        return toned(cv2.GaussianBlur(albedo, (0, 0), 0.7), 0.05 * noise(rng, 0.8))
    speck = noise(rng, rng.uniform(0.0, 0.7), finest=rng.uniform(2, 6))
    return toned(mixed(0.5 + 0.4 * noise(rng, 1.6), base * 0.8, base * 1.2), 0.2 * speck)


def plaster(rng: np.random.Generator) -> Albedo:
    """A painted wall or desk: nearly even, faint bumps and stains."""
    base = colour(rng, 0.35, 0.1)
    bumps = relief(noise(rng, 0.6, finest=4.0), rng.uniform(0.0, 0.08))
    albedo = np.broadcast_to(base, (SIZE, SIZE, 3))
    return toned(albedo, bumps + 0.06 * noise(rng, 1.8) + 0.01 * noise(rng, 0.0))


LETTERS = "etaoinshrdlcumwfgypbvk"


def words(rng: np.random.Generator, length: int) -> str:
    """Nonsense that looks like a line of print."""
    sizes = rng.integers(2, 10, length // 3)
    return " ".join("".join(rng.choice(list(LETTERS), n)) for n in sizes)[:length]


def page(rng: np.random.Generator) -> Albedo:
    """Print on paper, or light on a dark screen: paragraphs, headings, pictures."""
    paper = np.full((SIZE, SIZE), 255, np.uint8)
    y, left = 20, int(rng.integers(10, 50))
    scale = rng.uniform(0.32, 0.6)
    while y < SIZE:
        kind = rng.random()
        if kind < 0.06:
            tall = int(rng.integers(50, 140))
            picture = 128 + 70 * noise(rng, 1.6)[:tall, left : SIZE - left]
            paper[y : y + tall, left : SIZE - left] = np.clip(picture, 10, 245)[: SIZE - y]
            y += tall + 20
        else:
            big = 2.0 if kind < 0.14 else 1.0
            y += int(34 * scale * big)
            line = words(rng, int((SIZE - 2 * left) / (19 * scale * big)))
            if kind < 0.8:
                font = cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(paper, line, (left, y), font, scale * big, 30, 1, cv2.LINE_AA)
    ink = 1 - paper.astype(np.float32) / 255
    sheet, print_ = np.array([0.8, 0.79, 0.75]) * rng.uniform(0.75, 1.0), np.full(3, 0.04)
    if rng.random() < 0.3:
        sheet, print_ = np.array([0.03, 0.035, 0.045]), colour(rng, 0.8, 0.4)
    return toned(mixed(ink, sheet, print_), 0.04 * noise(rng, 1.8) + folds(rng, 0.6))


def spines(rng: np.random.Generator) -> Albedo:
    """A shelf of books, boxes and files, seen from the front."""
    albedo = np.full((SIZE, SIZE, 3), 0.03, np.float32)
    rows = int(rng.integers(2, 4))
    tall = SIZE // rows
    for row in range(rows):
        x, bottom = 0, (row + 1) * tall - 12
        while x < SIZE:
            wide, top = int(rng.integers(12, 52)), bottom - int(tall * rng.uniform(0.55, 0.88))
            tone = colour(rng, 0.9)
            round_ = 0.55 + 0.45 * np.sin(np.linspace(0.3, 2.9, wide))[: SIZE - x]
            albedo[top:bottom, x : x + wide] = tone * round_[None, :, None]
            if wide > 18:
                _write(albedo[top:bottom, x : x + wide].swapaxes(0, 1), rng, colour(rng, 0.6))
            x += wide + int(rng.integers(0, 3)) + int(60 * (rng.random() < 0.04))
        albedo[bottom : bottom + 12] = colour(rng, 0.3, 0.1)
    return toned(albedo, 0.06 * noise(rng, 0.8) + 0.1 * noise(rng, 2.0))


def _write(albedo, rng, ink, length=14, scale=0.45):
    """Print a few words along the middle of a strip, in place."""
    tall, wide, _ = albedo.shape
    strip = np.zeros((tall, wide), np.uint8)
    at = (8, tall // 2 + int(10 * scale))
    cv2.putText(strip, words(rng, length), at, cv2.FONT_HERSHEY_DUPLEX, scale, 255, 1, cv2.LINE_AA)
    albedo += (strip.astype(np.float32) / 255)[..., None] * (ink - albedo)


def keys(rng: np.random.Generator) -> Albedo:
    """A keyboard."""
    cap = colour(rng, 0.15, 0.02)
    body = cap * np.float32(rng.uniform(0.2, 0.8))
    albedo = np.full((SIZE, SIZE, 3), body, np.float32)
    marks = np.zeros((SIZE, SIZE), np.uint8)
    size = int(rng.integers(38, 62))
    for row in range(-1, SIZE // size + 1):
        for column in range(-1, SIZE // size + 1):
            x, y = int((column + 0.28 * (row % 3)) * size) + 3, row * size + 3
            outer = ((x, y), (x + size - 6, y + size - 6))
            inner = ((x + 3, y + 2), (x + size - 10, y + size - 12))
            for corners, tone in ((outer, cap * 0.7), (inner, cap)):
                cv2.rectangle(albedo, *corners, [float(c) for c in tone], -1)
            letter, at = str(rng.choice(list(LETTERS))).upper(), (x + 8, y + size // 2)
            cv2.putText(marks, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    ink = np.full(3, 0.8 if cap.mean() < 0.3 else 0.05, np.float32)
    albedo += (marks.astype(np.float32) / 255)[..., None] * (ink - albedo)
    return toned(cv2.GaussianBlur(albedo, (0, 0), 0.6), 0.05 * noise(rng, 0.6))


def slats(rng: np.random.Generator) -> Albedo:
    """Blinds, a radiator, a corrugated wall or a grille."""
    _, y = grid(1.0, rng.uniform(14, 60))
    y = y + 0.02 * noise(rng, 2.2)
    profile = (y % 1) ** rng.uniform(0.4, 2.0)
    gap = np.clip((0.06 - np.abs(y % 1 - 0.03)) * 30, 0, 1)
    albedo = mixed(profile.astype(np.float32), colour(rng, 0.3) * 0.5, colour(rng, 0.3, 0.2))
    return toned(albedo, -1.2 * gap + 0.05 * noise(rng, 1.5))


def leaves(rng: np.random.Generator) -> Albedo:
    """A hedge, a lawn, ivy or fallen leaves: dark below, lighter and sharper above."""
    hue = np.array([0.16, 0.24, 0.06]) if rng.random() < 0.7 else np.array([0.34, 0.2, 0.08])
    albedo = np.full((SIZE, SIZE, 3), hue * 0.08, np.float32)
    count, size = int(rng.integers(900, 2200)), rng.uniform(7, 20)
    slim = rng.uniform(0.12, 0.5)
    for n in range(count):
        depth = (n / count) ** 1.5
        tone = hue * (0.15 + 1.1 * depth) * np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.12, 3))
        at, turn = rng.uniform(0, SIZE, 2), rng.uniform(0, 180)
        long = size * rng.lognormal(0, 0.3)
        _ellipse(albedo, at, (long, long * slim), turn, tone)
        _ellipse(albedo, at, (long * 0.9, 1.0), turn, tone * 1.3)
    return toned(albedo, 0.2 * noise(rng, 1.2) + 0.25 * noise(rng, 2.0))


KINDS: dict[str, Callable[[np.random.Generator], Albedo]] = {
    "wood": wood,
    "cloth": cloth,
    "checks": checks,
    "print_cloth": print_cloth,
    "tiles": tiles,
    "carpet": carpet,
    "stone": stone,
    "plaster": plaster,
    "page": page,
    "spines": spines,
    "keys": keys,
    "slats": slats,
    "leaves": leaves,
}


@cache
def texture(kind: str, variant: int) -> Pyramid:
    """A surface, the same on every call."""
    return pyramid(KINDS[kind](np.random.default_rng([*kind.encode(), variant])))


@cache
def photographs() -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """The shipped photographs, sRGB by name."""
    data = files("idhand.assets").joinpath("data/light.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {
            key.split("/")[1]: np.asarray(cv2.imdecode(arrays[key], cv2.IMREAD_COLOR), np.uint8)[
                ..., ::-1
            ]
            for key in arrays.files
            if key.startswith("photograph/")
        }


def draw_surface(rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[Pyramid, np.ndarray]:
    """A material and a tint for it."""
    kind = kinds[rng.integers(len(kinds))]
    tint = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.1, 3))
    if kind in GREY_SURFACES:
        return _grey_surface(kind), tint
    return texture(kind, int(rng.integers(VARIANTS))), tint


@cache
def _grey_surface(name: str) -> Pyramid:
    """A photograph without colour as a texture."""
    linear = (photographs()[name] / 255) ** 2.2
    return pyramid((linear / linear.mean() * GREY_SURFACES[name]).astype(np.float32))
