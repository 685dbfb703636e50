"""Sleeves: cloth round the lofted forearm, with a cuff and folds."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.people.body import FOREARM_RINGS_M, ring_faces, smooth_step, unit, vertex_normals
from idhand.synth.things.solids import Solid, Tone

NUM_AROUND = 44
CUFF_M = 0.055
RIBS = 11
"""Ribs of a knitted cuff: what the mesh can hold of some forty."""
NUM_FOLDS = 7

Cloth = Literal["knit", "shirt", "jacket"]
Pattern = Literal["plain", "stripes", "rings"]


@dataclass(frozen=True, kw_only=True)
class Sleeve:
    """What somebody wears on the forearm."""

    cloth: Cloth
    start_m: float
    """Where the cuff begins, from the end of the hand model's stub; not negative."""
    tone: Tone
    second_tone: Tone
    pattern: Pattern
    seed: int
    """Of the folds."""


def draw_sleeve(rng: np.random.Generator) -> Sleeve:
    """A garment in a plausible colour: dark, white, grey and blue ones are the most common."""
    hue = rng.dirichlet((1.2, 1.2, 1.4))
    level = rng.choice([0.03, 0.1, 0.25, 0.6], p=[0.35, 0.25, 0.2, 0.2]) * rng.uniform(0.7, 1.4)
    strength = rng.beta(1, 2)
    tone = np.clip(level * (1 - strength + 3 * strength * hue), 0.01, 0.85)
    other = np.clip(tone * rng.uniform(0.3, 3.0) + rng.uniform(0, 0.1), 0.01, 0.85)
    return Sleeve(
        cloth=("knit", "shirt", "jacket")[rng.integers(3)],
        start_m=float(rng.uniform(0.0, 0.09)),
        tone=(float(tone[0]), float(tone[1]), float(tone[2])),
        second_tone=(float(other[0]), float(other[1]), float(other[2])),
        pattern=("plain", "plain", "plain", "stripes", "rings")[rng.integers(5)],
        seed=int(rng.integers(1 << 31)),
    )


def sleeve_solid(sleeve: Sleeve, rings_cam: Float[np.ndarray, "rings loop 3"]) -> Solid:
    """The sleeve's mesh round a forearm.

    Args:
        sleeve: What is worn.
        rings_cam: The forearm's rings, with the wrist's border first.
    """
    rng = np.random.default_rng(sleeve.seed)
    length = np.concatenate(
        [[0, 0.004, 0.012, 0.024, 0.038, 0.05, CUFF_M, 0.062], np.linspace(0.07, 0.25, 22)]
    )
    at = np.concatenate([[0.0], FOREARM_RINGS_M])
    s = np.clip(length + sleeve.start_m, 0.0, at[-1])
    middle = rings_cam.mean(1)
    around = np.arange(NUM_AROUND) / NUM_AROUND * 2 * np.pi
    loop = _resampled(rings_cam - middle[:, None], NUM_AROUND)
    index = np.clip(np.searchsorted(at, s, side="right") - 1, 0, len(at) - 2)
    share = ((s - at[index]) / (at[index + 1] - at[index]))[:, None]
    centres = middle[index] * (1 - share) + middle[index + 1] * share
    section = loop[index] * (1 - share[..., None]) + loop[index + 1] * share[..., None]
    gap = {"knit": 0.003, "shirt": 0.004, "jacket": 0.006}[sleeve.cloth]
    gap = gap + (0.010 if sleeve.cloth == "knit" else 0.014) * smooth_step(length, 0.02, 0.10)
    height = gap[:, None] + _folds(length, around, rng)
    if sleeve.cloth == "knit":
        rib = 0.0009 * np.cos(RIBS * around) * (1 - smooth_step(length, 0.045, CUFF_M))[:, None]
        height = height + rib - 0.002 * _bump(length - CUFF_M, 0.006)[:, None]
    out = unit(section)
    verts = centres[:, None] + section + out * height[..., None]
    lip = centres[:1, None] + section[:1] + out[:1] * 0.0005
    verts = np.concatenate([lip, verts]).reshape(-1, 3)
    faces = _tube_faces(len(s))
    normals = vertex_normals(verts, faces)
    if ((verts - np.repeat(centres[[0, *range(len(s))]], NUM_AROUND, 0)) * normals).sum() < 0:
        faces, normals = faces[:, [0, 2, 1]], -normals
    tone = _tones(sleeve, np.concatenate([length[:1], length]), around, rng)
    return Solid(
        verts=verts,
        faces=faces,
        normals=normals,
        tone=tone,
        gloss=np.full(len(verts), 0.25 if sleeve.cloth == "jacket" else 0.0, np.float32),
    )


@cache
def _tube_faces(num_rings: int) -> Int[np.ndarray, "faces 3"]:
    return ring_faces(np.arange(NUM_AROUND), NUM_AROUND, num_rings)


def _bump(x: Float[np.ndarray, "*batch"], width: float) -> Float[np.ndarray, "*batch"]:
    return np.exp(-((x / width) ** 2))


def _resampled(
    loops: Float[np.ndarray, "rings loop 3"], num: int
) -> Float[np.ndarray, "rings num 3"]:
    """Closed loops with another number of points, by their Fourier series without the finest."""
    length = loops.shape[1]
    spectrum = np.fft.rfft(loops, axis=1)[:, : length // 3]
    return np.fft.irfft(spectrum, num, axis=1) * (num / length)


def _folds(
    length: Float[np.ndarray, " along"],
    around: Float[np.ndarray, " around"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "along around"]:
    """Height of gathered cloth: rings that wander round the arm, metres."""
    phase, tilt = rng.uniform(0, 2 * np.pi, (2, NUM_FOLDS, 1))
    lobes = rng.integers(1, 4, (NUM_FOLDS, 1))
    wander = rng.uniform(0.005, 0.02, (NUM_FOLDS, 1)) * np.cos(around + tilt)
    place = rng.uniform(0.05, 0.24, (NUM_FOLDS, 1)) + wander
    strength = rng.uniform(0.0015, 0.005, (NUM_FOLDS, 1))
    strength = strength * (0.5 + 0.5 * np.cos(lobes * around + phase))
    width = rng.uniform(0.007, 0.014, (NUM_FOLDS, 1, 1))
    waves = strength[:, None] * np.exp(-(((length[:, None] - place[:, None]) / width) ** 2))
    return waves.sum(0) * smooth_step(length, 0.03, 0.08)[:, None]


def _tones(
    sleeve: Sleeve,
    length: Float[np.ndarray, " along"],
    around: Float[np.ndarray, " around"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "verts 3"]:
    """Colours of the vertices: pattern, and the unevenness of cloth."""
    first, second = np.array(sleeve.tone), np.array(sleeve.second_tone)
    match sleeve.pattern:
        case "stripes":
            mix = np.broadcast_to(np.cos(RIBS * around) > 0.2, (len(length), len(around)))
        case "rings":
            mix = np.broadcast_to((length // 0.018 % 2 == 1)[:, None], (len(length), len(around)))
        case "plain":
            mix = np.zeros((len(length), len(around)))
    uneven = np.exp(0.08 * rng.standard_normal((len(length), len(around), 1)))
    tone = (first + mix[..., None] * (second - first)) * uneven
    return np.clip(tone, 0.01, 0.9).reshape(-1, 3).astype(np.float32)
