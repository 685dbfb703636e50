"""A person's skin as a coloured, glossy relief on the hand's triangles, drawn from its traits."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from idhand.synth.compiled import compiled
from idhand.synth.people.skin_chart import RESOLUTION as RESOLUTION
from idhand.synth.people.skin_chart import SkinChart as SkinChart
from idhand.synth.people.skin_chart import texel_index as texel_index
from idhand.synth.people.skin_chart import texel_steps
from idhand.synth.people.skin_chart import texel_weights as texel_weights
from idhand.synth.people.skin_layers import (
    DRY_GLOSS,
    MOIST_GLOSS,
    NAIL_HALF_WIDTHS_M,
    NAIL_LENGTHS_M,
    blush,
    dot_spots,
    fine_relief,
    flesh,
    hairs,
    nails,
    spots,
    wander_over,
)
from idhand.synth.people.skin_lines import (
    BLOOD,
    EDGE,
    GLOSS,
    HAIR,
    MELANIN,
    MOON,
    NUM_LAYERS,
    PLATE,
    RELIEF,
    SHADE,
    as_segments,
    finger_lines,
    first_segments,
    palm_lines,
    press_curves,
    press_finger_lines,
    veins_and_tendons,
)
from idhand.synth.people.skin_noise import step
from idhand.synth.people.subjects import SkinTraits

MAX_RELIEF_M = 0.0004
"""The picture's surface stays that near to the truth mesh."""

UNPIGMENTED = np.array([0.650, 0.462, 0.384])
"""Linear RGB reflectance of the palest skin at a normal amount of blood: L* 76, a* 7, b* 10."""
SURFACE = np.array([0.055, 0.034, 0.027])
"""What the darkest skins still scatter: their reflectance hardly falls further with melanin."""
MELANIN_EXTINCTION = np.array([2.50, 3.25, 4.10])
"""Per unit of pigment; 1 is the darkest skin. Falls with wavelength as melanin's absorption does,
though less steeply (Jacques, "Optical properties of biological tissues", 2013); fitted so that the
typology angle runs from 66° to −58° over skins as measured by Del Bino and Bernerd, 2013."""
BLOOD_EXTINCTION = np.array([0.06, 0.30, 0.24])
"""Per normal amount of blood: haemoglobin takes green and blue."""
SHADE_EXTINCTION = np.array([0.8, 1.0, 1.1])
"""Light lost in a fold, which comes out redder."""
WARM_EXTINCTION = np.array([-0.02, 0.01, 0.15])
"""Per unit of warmth: carotene takes blue."""
PALM_PIGMENT = (0.015, 0.17)
"""Pigment of the palm: a constant, and the share of the back's. Palms hardly darken."""
PALM_BLOOD = 0.40
"""By how much more blood shows through the palm, as a share of the normal amount."""
NAIL_BLOOD = 0.75
"""By how much more blood a nail's bed shows than skin does, as a share of the normal amount."""
MOON_TONE = np.array([0.66, 0.47, 0.41])
EDGE_TONE = np.array([0.60, 0.50, 0.42])
"""Of a bare nail: moon, free edge."""
NAIL_PIGMENT = 0.2
"""Share of the back's pigment that a bare nail's bed has."""
NAIL_GLOSS, POLISH_GLOSS = 0.68, 0.95
HAIR_COVER, HAIR_SHADOW = 0.75, 0.45
"""Of the skin under a hair, and how much of that is the hair's shadow."""


@dataclass(frozen=True, kw_only=True)
class Skin:
    """Paint of every texel of a hand; the order of texels is that of `texel_index`."""

    tone: Float[np.ndarray, "faces texels 3"]
    """Linear RGB reflectance."""
    gloss: Float[np.ndarray, "faces texels"]
    """0 matt … 1 mirror-like."""
    slope: Float[np.ndarray, "faces texels 2"]
    """How the relief rises, in metres per unit of the second and the third corner's weight."""


def pigment(melanin: float) -> float:
    """Melanin as in `SkinTraits`, linear in the typology angle → pigment of the colour model."""
    amounts = np.linspace(0.0, 1.0, 41)
    tones = SURFACE + (UNPIGMENTED - SURFACE) * np.exp(-amounts[:, None] * MELANIN_EXTINCTION)
    angles = typology_angle_deg(tones)
    return float(np.interp(melanin, (angles - angles[0]) / (angles[-1] - angles[0]), amounts))


def typology_angle_deg(tone: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """Individual typology angle of linear RGB reflectances under D65.

    Source: Chardon et al., 1991; CIELAB 1976.
    """
    y = tone @ np.array([0.2126, 0.7152, 0.0722])
    z = tone @ np.array([0.0193, 0.1192, 0.9505]) / 1.0888
    lightness = 116 * np.cbrt(y) - 16
    return np.degrees(np.arctan2(lightness - 50, 200 * (np.cbrt(y) - np.cbrt(z))))


def paint(chart: SkinChart, traits: SkinTraits) -> Skin:
    """The skin of a person, everywhere on the hand; the same traits give the same bytes."""
    layers = np.zeros((len(chart.position), NUM_LAYERS), np.float32)
    wander = np.empty((len(layers), 2), np.float32)
    rng = np.random.default_rng(traits.seed)
    wander_over(chart.position, int(rng.integers(2**31)), wander)
    _press_lines(chart, traits, rng, wander, layers)
    _cover(chart, traits, rng, wander, layers)
    relief = np.clip(layers[:, RELIEF], -MAX_RELIEF_M, MAX_RELIEF_M)
    tone = np.empty((len(layers), 3), np.float32)
    _mix(chart.dorsal, layers, pigment(traits.melanin), *_tones(traits), tone)
    return Skin(
        tone=tone[chart.point],
        gloss=np.clip(layers[:, GLOSS], 0.0, 1.0)[chart.point],
        slope=_slopes(chart, relief),
    )


def plain_skin(chart: SkinChart, traits: SkinTraits) -> Skin:
    """The same person without any detail: one tone, one gloss, no relief."""
    layers = np.zeros((1, NUM_LAYERS), np.float32)
    tone = np.empty((1, 3), np.float32)
    _mix(np.ones(1, np.float32), layers, pigment(traits.melanin), *_tones(traits), tone)
    shape = chart.point.shape
    return Skin(
        tone=np.broadcast_to(tone[0], (*shape, 3)).copy(),
        gloss=np.full(shape, DRY_GLOSS + MOIST_GLOSS * traits.shine, np.float32),
        slope=np.zeros((*shape, 2), np.float32),
    )


def _press_lines(
    chart: SkinChart,
    traits: SkinTraits,
    rng: np.random.Generator,
    wander: Float[np.ndarray, "points 2"],
    layers: Float[np.ndarray, "points layers"],
) -> None:
    """Everything that has a course."""
    lines = finger_lines(chart.bone_lengths, rng, traits.creases)
    press_finger_lines(
        chart.finger, chart.own, chart.dorsal, chart.axial, chart.side, chart.texel, wander,
        lines, layers,
    )  # fmt: skip
    size = chart.palm_half, chart.palm_length
    curves = palm_lines(*size, rng, traits.creases)
    curves += veins_and_tendons(*size, rng, traits.veins, traits.age)
    segments, table = as_segments(curves)
    press_curves(
        chart.position, chart.dorsal, chart.finger, chart.own, chart.texel, wander,
        chart.palm_middle, segments, first_segments(curves), table, layers,
    )  # fmt: skip


def _cover(
    chart: SkinChart,
    traits: SkinTraits,
    rng: np.random.Generator,
    wander: Float[np.ndarray, "points 2"],
    layers: Float[np.ndarray, "points layers"],
) -> None:
    """Everything that covers an area."""
    seed = int(rng.integers(2**31))
    flesh(
        chart.position, chart.dorsal, traits.blotches, traits.freckles, traits.shine, seed, layers
    )
    blush(
        chart.position, chart.dorsal, chart.own, chart.axial, chart.side, chart.arm, wander,
        chart.knuckles, chart.palm_half, chart.palm_length, layers,
    )  # fmt: skip
    fine_relief(
        chart.position, chart.dorsal, chart.own, chart.texel, wander, traits.creases, traits.age,
        seed, layers,
    )  # fmt: skip
    hairs(
        chart.position, chart.dorsal, chart.finger, chart.own, chart.axial, chart.side,
        chart.arm, chart.bone_lengths, chart.texel, traits.hair, seed, layers,
    )  # fmt: skip
    outside = chart.position[(chart.dorsal > 0.3) & (chart.arm < 0.1)]
    dot_spots(chart.position, wander, spots(outside, rng, traits.age, traits.freckles), layers)
    nails(
        chart.dorsal, chart.finger, chart.own, chart.axial, chart.side, chart.back,
        chart.bone_lengths, np.array(NAIL_HALF_WIDTHS_M) * rng.uniform(0.92, 1.04),
        np.array(NAIL_LENGTHS_M) * rng.uniform(0.88, 1.06), traits.nail_length_m,
        NAIL_GLOSS if traits.nail_tone is None else POLISH_GLOSS, wander, layers,
    )  # fmt: skip


def _tones(
    traits: SkinTraits,
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"], float]:
    """Of skin without pigment; of the nail's bed, moon and edge; of hair; how far nails pale."""
    flush = (traits.blood - 1) * BLOOD_EXTINCTION + traits.warmth * WARM_EXTINCTION
    hair = np.array(traits.hair_tone)
    base = UNPIGMENTED * np.exp(-flush)
    if traits.nail_tone is not None:
        return base, np.tile(np.array(traits.nail_tone), (3, 1)), hair, 0.0
    return (
        base,
        np.stack([base * np.exp(-NAIL_BLOOD * BLOOD_EXTINCTION), MOON_TONE, EDGE_TONE]),
        hair,
        1.0,
    )


@compiled
def _mix(dorsal, layers, pigment, base, nail, hair, bare, out):
    """Layers of paint → linear RGB (points, 3): blood, then melanin above it, then what covers."""
    for p in range(layers.shape[0]):
        palmar = step(-dorsal[p], -0.42, 0.38)
        amount = pigment + palmar * (PALM_PIGMENT[0] + (PALM_PIGMENT[1] - 1.0) * pigment)
        amount = max(amount * (1.0 + layers[p, MELANIN]) + 0.03 * layers[p, MELANIN], 0.0)
        blood = max(layers[p, BLOOD] + PALM_BLOOD * palmar, -0.9)
        plate, moon, edge = layers[p, PLATE], 0.5 * layers[p, MOON], layers[p, EDGE]
        for a in range(3):
            flesh = max(base[a] * np.exp(-blood * BLOOD_EXTINCTION[a]) - SURFACE[a], 0.0)
            tone = SURFACE[a] + flesh * np.exp(-amount * MELANIN_EXTINCTION[a])
            cover = nail[0, a] + moon * (nail[1, a] - nail[0, a])
            under = NAIL_PIGMENT * pigment * MELANIN_EXTINCTION[a]
            under += 0.3 * layers[p, BLOOD] * BLOOD_EXTINCTION[a]
            cover *= np.exp(-bare * under)
            cover += 0.8 * edge * (nail[2, a] - cover)
            tone += plate * (cover - tone)
            tone *= np.exp(-max(layers[p, SHADE], -0.3) * SHADE_EXTINCTION[a])
            streak = hair[a] + HAIR_SHADOW * (0.4 * tone - hair[a])
            tone += HAIR_COVER * layers[p, HAIR] * (streak - tone)
            out[p, a] = min(max(tone, 0.004), 0.95)


def _slopes(
    chart: SkinChart, relief: Float[np.ndarray, " points"]
) -> Float[np.ndarray, "faces texels 2"]:
    """Derivatives of the relief along the triangles' sides, without a jump between neighbours."""
    gradient = np.zeros((len(relief), 4))
    slope = np.empty((*chart.point.shape, 2), np.float32)
    _differentiate(chart.point, chart.sides, relief, texel_steps(), gradient, slope)
    return slope


@compiled
def _differentiate(point, sides, relief, steps, gradient, slope):
    """Differences within each triangle → mean gradient at each point → back to the triangles.

    Gradient (points, 4): sum in the rest frame, and of how many. Slope as in `Skin`.
    """
    n = RESOLUTION
    for f in range(point.shape[0]):
        u, v = sides[f, 0], sides[f, 1]
        uu = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
        uv = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
        vv = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
        area = uu * vv - uv * uv + 1e-20
        for t in range(point.shape[1]):
            i, j = steps[t]
            du = _difference(relief, point[f], i, j, 1, 0)
            dv = _difference(relief, point[f], i, j, 0, 1)
            if i == n:  # at these corners one difference runs along the third side
                dv = du + relief[point[f, _place(n - 1, 1)]] - relief[point[f, t]]
            elif j == n:
                du = dv + relief[point[f, _place(1, n - 1)]] - relief[point[f, t]]
            p = point[f, t]
            for a in range(3):
                along_u = (vv * u[a] - uv * v[a]) / area
                along_v = (uu * v[a] - uv * u[a]) / area
                gradient[p, a] += n * (du * along_u + dv * along_v)
            gradient[p, 3] += 1.0
    for f in range(point.shape[0]):
        for t in range(point.shape[1]):
            g = gradient[point[f, t]]
            for k in range(2):
                e = sides[f, k]
                slope[f, t, k] = (g[0] * e[0] + g[1] * e[1] + g[2] * e[2]) / g[3]


_place = compiled(texel_index)


@compiled
def _difference(relief, point, i, j, di, dj):
    """Change of the relief per step (di, dj) at a texel, from the texels that the triangle has."""
    before = 1 if i >= di and j >= dj else 0
    after = 1 if i + j < RESOLUTION else 0
    if before + after == 0:
        return 0.0
    low = _place(i - before * di, j - before * dj)
    high = _place(i + after * di, j + after * dj)
    return (relief[point[high]] - relief[point[low]]) / (before + after)
