"""What is worn on a hand: rings, watches and bracelets, fitted to the skin they go around."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from idhand.synth.people.body import INDEX, LITTLE, rotation_about, unit
from idhand.synth.things.catalogue import stack
from idhand.synth.things.solids import Box, Material, Solid, Stretch, Tone, Turned, joined

RING_JOINTS = (2, 4, 7, 10, 13)
"""The joint whose bone carries a ring: the proximal phalanx of thumb to little finger."""

RING_SHARE = 0.62
"""Where on that bone a ring sits, from knuckle to middle joint: beyond the web of the fingers."""

RING_REACH = 0.11
"""Of the bone, on either side of the ring, whose skin gives the ring its size."""

SUNK_M = 0.0015
"""How far bands reach into the skin, so that no light passes under them."""

ROUNDING = 0.25
"""Of a band's half width, rounded off at its edges."""

METAL_GLOSS, LEATHER_GLOSS = 0.9, 0.3


@dataclass(frozen=True, kw_only=True)
class Section:
    """An ellipse around a finger or forearm."""

    centre: Float[np.ndarray, " 3"]
    axes: Float[np.ndarray, "3 3"]
    """Columns: across, dorsal, along the limb to the fingers."""
    half_m: tuple[float, float]
    """Half extents across and dorsal."""


def section_of(
    skin: Float[np.ndarray, "points 3"],
    along: Float[np.ndarray, " 3"],
    dorsal: Float[np.ndarray, " 3"],
) -> Section:
    """The ellipse as wide and as high as skin points around a limb, in their middle.

    Args:
        skin: Metres, any frame.
        along: The limb's direction to the fingers.
        dorsal: Roughly towards the back of the hand.
    """
    z = unit(along)
    y = unit(dorsal - dorsal @ z * z)
    axes = np.stack([np.cross(y, z), y, z], 1)
    at = skin @ axes
    low, high = at.min(0), at.max(0)
    across, up, _ = ((high - low) / 2).tolist()
    middle = np.append((low + high)[:2] / 2, at[:, 2].mean())
    return Section(centre=axes @ middle, axes=axes, half_m=(across, up))


def ring(
    rest_verts: Float[np.ndarray, "verts 3"],
    rest_joints: Float[np.ndarray, "16 3"],
    skinning: Float[np.ndarray, "verts 16"],
    finger: int,
    tone: Tone,
    rng: np.random.Generator,
) -> Solid:
    """A ring on a right hand at rest; it moves with the bone of `RING_JOINTS[finger]`.

    Args:
        rest_verts: Metres, the person's hand at rest.
        rest_joints: Metres.
        skinning: The model's.
        finger: 0 thumb to 4 little finger.
        tone: Linear RGB of the metal.
        rng: Width, thickness and stone are drawn from it.
    """
    joint = RING_JOINTS[finger]
    start, bone = rest_joints[joint], rest_joints[joint + 1] - rest_joints[joint]
    share = (rest_verts - start) @ bone / (bone @ bone)
    around = (skinning.argmax(1) == joint) & (np.abs(share - RING_SHARE) < RING_REACH)
    across = rest_joints[INDEX] - rest_joints[LITTLE]
    dorsal = across if finger == 0 else np.cross(bone, across)  # the thumb's nail faces aside
    section = _ring_section(rest_verts[around], start + RING_SHARE * bone, bone, dorsal)
    metal = Material(tone=tone, gloss=METAL_GLOSS)
    width, thickness = float(rng.uniform(0.002, 0.006)), float(rng.uniform(0.001, 0.0018))
    parts = [_band(section, width, thickness, metal)]
    if rng.random() < 0.3:
        parts.append(_stone(section, width, thickness, metal, rng))
    return joined(parts)


def _ring_section(
    skin: Float[np.ndarray, "points 3"],
    place: Float[np.ndarray, " 3"],
    bone: Float[np.ndarray, " 3"],
    dorsal: Float[np.ndarray, " 3"],
) -> Section:
    """The finger's ellipse at a place on its bone, as wide as its side without the web."""
    section = section_of(skin, bone, dorsal)
    across, _, along = section.axes.T
    sides = (skin - place) @ across
    half = float(min(-sides.min(), sides.max()))
    centre = section.centre + (place - section.centre) @ across * across
    centre = centre + (place - section.centre) @ along * along
    return replace(section, centre=centre, half_m=(half, section.half_m[1]))


def _stone(
    section: Section, width: float, thickness: float, metal: Material, rng: np.random.Generator
) -> Solid:
    """A signet plate or a set stone on the back of the ring."""
    half = float(rng.uniform(0.002, 0.0045))
    height = section.half_m[1] + thickness
    if rng.random() < 0.4:
        plate = Box(half=(1.2 * half, 0.001, half), bevel=0.0007, material=metal).solid()
        return plate.moved(section.axes, section.centre + height * section.axes[:, 1])
    colour = rng.uniform(0.05, 0.8, 3).tolist()
    gem = Material(tone=(colour[0], colour[1], colour[2]), gloss=1.0)
    levels = [(0.8 * half, -0.001, metal), (half, 0.0008, metal)]
    levels += [(half, 0.0016, gem), (0.6 * half, 0.0026, gem)]
    return stack(levels).solid().moved(*_upright(section, height))


def _upright(
    section: Section, height: float
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """The frame whose z axis leaves the limb on its back, at a height above its middle."""
    across, dorsal, along = section.axes.T
    return np.stack([across, -along, dorsal], 1), section.centre + height * dorsal


def wristwear(
    kind: Literal["watch", "bracelet"],
    loop_cam: Float[np.ndarray, "loop 3"],
    along_cam: Float[np.ndarray, " 3"],
    dorsal_cam: Float[np.ndarray, " 3"],
    tone: Tone,
    rng: np.random.Generator,
) -> Solid:
    """A watch or bracelet around a forearm, in the camera frame.

    Args:
        kind: Which of the two.
        loop_cam: Points of the skin around the forearm where it sits, metres.
        along_cam: The forearm's direction to the hand.
        dorsal_cam: Roughly towards the back of the hand.
        tone: Linear RGB of the watch's case or the bracelet.
        rng: All else is drawn from it.
    """
    section = section_of(loop_cam, along_cam, dorsal_cam)
    metal = Material(tone=tone, gloss=METAL_GLOSS)
    if kind == "bracelet":
        return _bracelet(section, metal, rng)
    strap = metal
    if rng.random() < 0.7:  # leather or rubber
        shade = float(rng.uniform(0.01, 0.2))
        strap = Material(tone=(shade, shade * 0.7, shade * 0.5), gloss=LEATHER_GLOSS)
    width = float(rng.uniform(0.016, 0.022))
    return joined([_band(section, width, 0.0025, strap), *_case(section, width, metal, rng)])


def _bracelet(section: Section, metal: Material, rng: np.random.Generator) -> Solid:
    """One to three bands, a little loose and askew."""
    bands = []
    for k in range(int(rng.choice([1, 1, 2, 3]))):
        width = float(rng.uniform(0.003, 0.008))
        lean = rotation_about(unit(rng.normal(size=3)), float(rng.uniform(0.0, 0.12)))
        place = section.centre - 0.009 * k * section.axes[:, 2]
        bands.append(
            _band(
                replace(section, axes=lean @ section.axes, centre=place),
                width,
                float(rng.uniform(0.0015, 0.003)),
                metal,
            )
        )
    return joined(bands)


def _case(section: Section, width: float, metal: Material, rng: np.random.Generator) -> list[Solid]:
    """A watch's case with its dial, round or square, on the back of the wrist."""
    half = width * float(rng.uniform(0.75, 0.95))
    shade = float(rng.choice([0.006, 0.01, 0.75]))
    dial = Material(tone=(shade, shade, shade), gloss=1.0)
    R, place = _upright(section, section.half_m[1])
    if rng.random() < 0.6:
        levels = [(0.95 * half, -0.003, metal), (half, 0.002, metal), (half, 0.0055, metal)]
        levels += [(0.9 * half, 0.0075, metal), (0.88 * half, 0.0073, dial)]
        levels += [(0.86 * half, 0.0073, dial)]
        return [stack(levels).solid().moved(R, place)]
    box = Box(
        half=(half, 1.15 * half, 0.006), bevel=0.002, material=metal, centre=(0.0, 0.0, 0.002)
    )
    glass = Box(
        half=(0.85 * half, half, 0.0005), bevel=0.0003, material=dial, centre=(0.0, 0.0, 0.008)
    )
    return [shape.solid().moved(R, place) for shape in (box, glass)]


def _band(section: Section, width: float, thickness: float, material: Material) -> Solid:
    """A closed band around an ellipse of skin, with rounded edges."""
    mean = sum(section.half_m) / 2
    half, outer, inner = width / 2, mean + thickness, mean - SUNK_M
    edge = ROUNDING * half
    outside = ((outer - edge, -half), (outer, edge - half), (outer, half - edge))
    outside += ((outer - edge, half),)
    inside = ((outer - edge, half), (inner, half), (inner, -half), (outer - edge, -half))
    stretches = [Stretch(points=outside, material=material)]
    stretches += [Stretch(points=inside[k : k + 2], material=material) for k in range(3)]
    solid = Turned(stretches=tuple(stretches)).solid()
    stretch = np.array([section.half_m[0] / mean, section.half_m[1] / mean, 1.0])
    solid = replace(solid, verts=solid.verts * stretch, normals=unit(solid.normals / stretch))
    return solid.moved(section.axes, section.centre)
