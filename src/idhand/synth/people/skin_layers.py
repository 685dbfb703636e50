"""What covers a person's hand in areas: blood and melanin, fine relief, hair, spots, nails."""

import numpy as np
from jaxtyping import Float

from idhand.synth.people.skin_lines import (
    BLOOD,
    EDGE,
    GLOSS,
    HAIR,
    MELANIN,
    MOON,
    PLATE,
    RELIEF,
    SHADE,
)
from idhand.synth.people.skin_noise import at_corner, bell, clouds, compiled, lattice, step

NAIL_HALF_WIDTHS_M = (0.0066, 0.0049, 0.0052, 0.0049, 0.0042)
NAIL_LENGTHS_M = (0.0135, 0.0118, 0.0122, 0.0118, 0.0102)
"""Of the mean hand, thumb to little finger, from the fold to where the finger's flesh ends."""
NAIL_TIP_GAP_M = 0.0008
"""From there to the fingertip of the model."""
FREE_EDGE_SHARE = 0.45
"""Share of a free edge that is painted over the flesh, as the mesh ends at the fingertip."""
HAIR_CELL_M = (0.0009, 0.0065)
"""Across and along: a thick coat of hair has one hair and a half in each."""
HAIR_HALF_WIDTH_M = 0.0003
"""As painted; a hair and its shadow."""
DRY_GLOSS, MOIST_GLOSS = 0.16, 0.26
"""Of dry skin, and what moisture adds."""
KNUCKLE_M = 0.013
"""Radius of the reddened skin round a knuckle."""
SPOT_KINDS = (
    # expected number at age 0 and at age 1, radius from … to in m, melanin, blood
    (4.0, 6.0, 0.0005, 0.0011, 1.6, 0.0),  # moles
    (0.0, 22.0, 0.0012, 0.0042, 0.75, 0.0),  # age spots
    (0.5, 3.0, 0.0006, 0.0016, 0.0, 1.2),  # scratches, angiomas
)


def spots(
    places: Float[np.ndarray, "places 3"], rng: np.random.Generator, age: float, freckles: float
) -> Float[np.ndarray, "spots 6"]:
    """Position, radius, melanin and blood of a person's spots, on some of the places."""
    rows = []
    for young, old, smallest, largest, melanin, blood in SPOT_KINDS:
        for _ in range(rng.poisson(young + (old - young) * age**2 + 4 * freckles * (young > 1))):
            radius = smallest + (largest - smallest) * rng.random() ** 2
            strength = rng.uniform(0.35, 1.0)
            place = places[rng.integers(len(places))]
            rows.append((*place, radius, strength * melanin, strength * blood))
    return np.array(rows).reshape(-1, 6)


@compiled
def wander_over(position, seed, wander):
    """Two clouds that bend every line, and so make it a person's own."""
    for p in range(position.shape[0]):
        x, y, z = position[p]
        wander[p, 0] = clouds(x, y, z, 160.0, 2, seed)
        wander[p, 1] = clouds(x, y, z, 210.0, 2, seed + 101)


@compiled
def flesh(position, dorsal, blotches, freckles, shine, seed, layers):
    """Blotches of blood and melanin at several scales, freckles, shine."""
    for p in range(position.shape[0]):
        x, y, z = position[p]
        palmar = step(-dorsal[p], -0.3, 0.4)
        coarse = clouds(x, y, z, 42.0, 1, seed + 1)
        middle = clouds(x, y, z, 120.0, 2, seed + 2)
        fine = clouds(x, y, z, 420.0, 1, seed + 3)
        layers[p, MELANIN] += (0.10 + 0.12 * blotches) * (0.8 * coarse + 0.5 * middle)
        layers[p, MELANIN] += 0.10 * fine * (1.0 - 0.4 * palmar)
        mottle = 0.6 * clouds(x, y, z, 75.0, 1, seed + 4)
        mottle += 0.6 * clouds(x, y, z, 210.0, 1, seed + 5)
        layers[p, BLOOD] += (0.14 + 0.32 * blotches) * (0.55 + 0.75 * palmar) * mottle
        layers[p, BLOOD] += 0.14 * fine - 0.10 * coarse
        layers[p, SHADE] += 0.03 * fine
        layers[p, GLOSS] += DRY_GLOSS + MOIST_GLOSS * shine - 0.05 * palmar
        layers[p, GLOSS] += 0.05 * fine + 0.05 * middle
        back = step(dorsal[p], 0.1, 0.7)
        if freckles > 0.0 and back > 0.0:
            dots = clouds(x, y, z, 390.0, 2, seed + 6) + 0.35 * coarse
            cover = back * step(dots, 0.75 - 0.25 * freckles, 1.15 - 0.15 * freckles)
            layers[p, MELANIN] += (0.5 + 0.5 * freckles) * cover


@compiled
def blush(position, dorsal, own, axial, side, arm, wander, knuckles, half, length, layers):
    """Where hands are red, and knuckles darker besides; knuckles (4, 3), palm's size in metres."""
    for p in range(position.shape[0]):
        x, y, z = position[p]
        palmar = step(-dorsal[p], -0.3, 0.4)
        back = step(dorsal[p], 0.1, 0.7) * (1.0 + 0.3 * wander[p, 0])
        if own[p] > 0.0:
            pad = own[p] * palmar * step(axial[p, 2], 0.002, 0.013)
            layers[p, BLOOD] += 0.45 * pad
            layers[p, BLOOD] += 0.16 * own[p] * back * step(axial[p, 2], 0.0, 0.008)
            for k in range(1, 3):
                over = own[p] * back * bell(axial[p, k], 0.0085 - 0.0015 * k)
                over *= bell(side[p, k], 0.008)
                layers[p, BLOOD] += 0.50 * over
                layers[p, MELANIN] += 0.30 * over
                layers[p, GLOSS] -= 0.05 * over
        for k in range(4):
            dx, dy, dz = x - knuckles[k, 0], y - knuckles[k, 1], z - knuckles[k, 2]
            over = back * bell(np.sqrt(dx * dx + dy * dy + dz * dz), KNUCKLE_M)
            layers[p, BLOOD] += 0.42 * over
            layers[p, MELANIN] += 0.16 * over
        if palmar > 0.0 and own[p] < 1.0 and arm[p] < 0.03:
            # heels of thumb and little finger are red, the hollow between them is pale
            u, v = x / half, y / length
            red = 0.30 * bell(u - 0.75, 0.55) * bell(v - 0.35, 0.3)
            red += 0.36 * bell(u + 1.1, 0.5) * bell(v - 0.3, 0.4)
            red -= 0.25 * bell(u + 0.2, 0.5) * bell(v - 0.45, 0.3)
            red += 0.22 * bell(v - 0.92, 0.16)
            layers[p, BLOOD] += (1.0 - own[p]) * palmar * red


@compiled
def _net(x, y, z, cells_per_m, seed):
    """1 on the lines of an irregular net, falling to 0 between them."""
    return max(
        0.0, 1.0 - 5.0 * abs(lattice(x * cells_per_m, y * cells_per_m, z * cells_per_m, seed))
    )


@compiled
def fine_relief(position, dorsal, own, texel, wander, creases, age, seed, layers):
    """Criss-cross lines: lozenges on the back, a finer net on the palm, pores everywhere."""
    for p in range(position.shape[0]):
        x, y, z = position[p]
        x += 0.0012 * wander[p, 0]
        y += 0.0012 * wander[p, 1]
        sharp = step(-texel[p], -0.0016, -0.0007)
        pores = lattice(x * 1500.0, y * 1500.0, z * 1500.0, seed + 11)
        layers[p, RELIEF] += 0.000035 * sharp * pores
        layers[p, SHADE] += 0.022 * sharp * pores
        if sharp == 0.0:
            continue
        back = step(dorsal[p], 0.0, 0.5)
        if back > 0.0:
            aged = creases * (0.5 + 1.1 * age)
            a, b = 0.80 * x + 0.60 * y, 0.60 * x - 0.80 * y
            lines = max(
                _net(0.30 * a, b, z, 400.0, seed + 12), _net(a, 0.30 * b, z, 400.0, seed + 13)
            )
            broad = _net(0.35 * x, y, 0.5 * z, 210.0, seed + 14)  # across the back, from ageing
            press = sharp * back * aged * (lines + 1.3 * age * broad)
            layers[p, RELIEF] -= 0.00008 * press
            layers[p, SHADE] += 0.075 * press
        if back < 1.0:
            along = 0.4 if own[p] > 0.5 else 0.75
            lines = max(
                _net(x, along * y, z, 330.0, seed + 15), 0.8 * _net(0.5 * x, y, z, 170.0, seed + 16)
            )
            press = sharp * (1.0 - back) * creases * lines * (0.7 + 0.4 * wander[p, 0])
            press *= 1.0 + 0.8 * age
            layers[p, RELIEF] -= 0.00007 * press
            layers[p, SHADE] += 0.05 * press
            layers[p, BLOOD] += 0.10 * press


@compiled
def _hair_at(u, v, half_width, density, seed):
    """Cover of the hairs at a place, across and along them in metres: at most one per cell."""
    i, j = int(np.floor(u / HAIR_CELL_M[0])), int(np.floor(v / HAIR_CELL_M[1]))
    cover = 0.0
    for di in range(-1, 2):
        for dj in range(-1, 1):
            luck = at_corner(i + di, j + dj, 1, seed)
            if 0.5 + 0.5 * luck > density:
                continue
            across, start = at_corner(i + di, j + dj, 2, seed), at_corner(i + di, j + dj, 3, seed)
            t = v / HAIR_CELL_M[1] - (j + dj) - 0.5 - 0.5 * start
            t /= 0.65 - 0.35 * across  # its length in cells
            if t < 0.0 or t > 1.0:
                continue
            bend = luck * start * t * t - 0.25 * t
            gap = u / HAIR_CELL_M[0] - (i + di) - 0.5 - 0.5 * across - bend
            thick = half_width * (1.0 - 0.6 * t)
            cover = max(cover, bell(gap * HAIR_CELL_M[0], thick) * step(t, 0.0, 0.1))
    return cover


@compiled
def hairs(position, dorsal, finger, own, axial, side, arm, lengths, texel, density, seed, layers):
    """Hairs lean to the little finger; on back, forearm, first and second phalanges.

    Density is 0 … 1; lengths are the bones' (fingers, 3).
    """
    for p in range(position.shape[0]):
        back = step(dorsal[p], -0.05 - 8.0 * min(arm[p], 0.08), 0.6)
        if back <= 0.0 or density <= 0.0:
            continue
        x, y, z = position[p]
        ulnar = step(-x, -0.025, 0.03)
        there = (0.25 + 0.5 * ulnar) * step(-y, -0.085, -0.03)  # few near the knuckles
        there += (1.2 - there) * step(arm[p], -0.01, 0.05)
        turn = min(max(x / 0.012, -1.0), 1.0)
        u, v = (
            x + turn * max(z + 0.008, 0.0) + 0.55 * max(y, -0.02),
            y,
        )  # along the skin, round the sides
        if own[p] > 0.5:
            f = finger[p]
            if f == 0:
                continue
            there = 0.9 * bell(axial[p, 0] / lengths[f, 0] - 0.64, 0.15)
            there = max(there, 0.35 * bell(axial[p, 1] / lengths[f, 1] - 0.5, 0.14))
            u, v = side[p, 0] + 0.3 * axial[p, 0], axial[p, 0] + 0.05 * f
        there *= back * density
        if there < 0.01:
            continue
        there *= 1.0 + 0.4 * lattice(x * 60.0, y * 60.0, z * 60.0, seed + 21)
        u += 0.0022 * lattice(x * 70.0, y * 50.0, z * 70.0, seed + 22)
        half_width = min(max(HAIR_HALF_WIDTH_M, 0.5 * texel[p]), HAIR_CELL_M[0])
        cover = 0.0
        for k in range(2):
            cover = max(cover, _hair_at(u + 0.2 * k * v, v, half_width, there, seed + 23 + k))
        layers[p, HAIR] += cover * HAIR_HALF_WIDTH_M / half_width


@compiled
def dot_spots(position, wander, spots, layers):
    """Spots (spots, 6) with frayed edges."""
    for k in range(spots.shape[0]):
        reach = 1.9 * spots[k, 3]
        for p in range(position.shape[0]):
            dx = abs(position[p, 0] - spots[k, 0])
            dy = abs(position[p, 1] - spots[k, 1])
            dz = abs(position[p, 2] - spots[k, 2])
            if dx > reach or dy > reach or dz > reach:
                continue
            far = np.sqrt(dx * dx + dy * dy + dz * dz) / spots[k, 3]
            cover = step(-far - 0.35 * wander[p, 0], -1.35, -0.65)
            layers[p, MELANIN] += cover * spots[k, 4]
            layers[p, BLOOD] += cover * spots[k, 5]


@compiled
def nails(
    dorsal, finger, own, axial, side, back, lengths, half_widths, plate_lengths, free_edge_m,
    gloss, wander, layers,
):  # fmt: skip
    """Plates with moon, free edge, cuticle and side folds."""
    for p in range(own.shape[0]):
        if own[p] < 0.5 or axial[p, 2] < 0.0:
            continue
        f = finger[p]
        above = step(back[p, 2], 0.0, 0.002) * step(dorsal[p], -0.25, 0.15)
        if above == 0.0:
            continue
        long = plate_lengths[f]
        across = side[p, 2] / half_widths[f]
        y = (axial[p, 2] - (lengths[f, 2] - NAIL_TIP_GAP_M - long)) / long
        root = y - 0.22 * across * across
        inside = min(1.0 - abs(across), 2.2 * root, 2.2 * (1.12 - y))
        plate = step(inside, 0.0, 0.10) * above
        fold = bell(inside + 0.05, 0.10) * above * step(-y, -0.97, -0.9)
        layers[p, SHADE] += 0.20 * fold
        layers[p, BLOOD] += 0.5 * fold
        layers[p, RELIEF] += 0.00016 * bell(inside + 0.20, 0.13) * above * step(-y, -0.95, -0.85)
        layers[p, RELIEF] -= 0.0002 * fold
        if plate == 0.0:
            continue
        starts = 0.97 - FREE_EDGE_SHARE * free_edge_m / long
        layers[p, PLATE] = plate
        layers[p, MOON] = step(0.19 - y - 0.35 * across * across, -0.03, 0.03) * (f < 3)
        edge = y + 0.10 * across * across + 0.012 * wander[p, 0]
        layers[p, EDGE] = step(edge, starts - 0.02, starts + 0.02)
        # the fine lines of skin and its hairs end at the plate
        layers[p, RELIEF] += plate * (0.00012 - layers[p, RELIEF])
        layers[p, GLOSS] += plate * (gloss - layers[p, GLOSS])
        ridges = 0.02 * np.cos(16.0 * across + f) + 0.05 * bell(abs(across) - 1.0, 0.25)
        layers[p, SHADE] += plate * (ridges - layers[p, SHADE])
        layers[p, HAIR] *= 1.0 - plate
