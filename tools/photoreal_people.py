"""The twenty people of the test set "photoreal": body, skin and hair, ready for any pose.

Part of `python tools/build_photoreal.py`. People with even numbers have the open hand, those with
odd ones SOMA-X's mesh and rig. Positions in metres, colours linear RGB.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from demo_mesh import Refiner, bump, cloud_noise, vertex_normals
from demo_photo import Body
from demo_skin import Look, paint_skin, skin_chart
from soma_hand import KEPT, Rig, bent_arm, hand_model, person_rig, read_rig

from idhand.assets import open_hand
from idhand.hand import Hand
from idhand.records import FOREARM_PART
from idhand.synth.people.body import (
    FOREARM_RINGS_M,
    AnatomicalFrame,
    pad_directions,
    rotation_about,
    smooth_step,
    unit,
)
from idhand.synth.people.subjects import SKIN_GROUPS_ITA_DEG, SkinTraits, Subject, subject

NUM_PEOPLE = 20
SKIN_GROUPS = (0, 1, 2, 3, 4, 5, 5, 4, 3, 1)
"""Of each pair of people, light to dark as in `SKIN_GROUPS_ITA_DEG`; the sexes alternate."""
SEED = 20_260
"""Of everything that belongs to people and pictures of this set."""

OPEN_LEVELS, SOMA_LEVELS = 3, 2
"""Refinement to about 0.8 mm between vertices, less than a pixel of these pictures."""

# Skin of the back of the hand against its typology angle. Source of the angle: Del Bino and
# Bernerd, "Variations in skin colour and the biological consequences of ultraviolet radiation
# exposure", Br J Dermatol 2013; a* and b* drawn through the typical values of its groups.
ITA_DEG = (-58.0, -30.0, 10.0, 28.0, 41.0, 55.0, 68.0)
LAB_A = (8.0, 12.0, 13.0, 12.0, 10.5, 8.5, 7.0)
LAB_B = (12.0, 18.0, 20.5, 19.0, 17.0, 14.0, 12.0)
PALM_ITA = (25.0, 0.35)
"""Palms vary by a third as much: offset in degrees and slope on the back's angle."""
FOREARM_PALE = 0.3
"""How far the inside of the forearm is as pale as the palm."""
PALM_REDDER = 4.5
"""a* of the palm over that of the back."""
XYZ_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
D65 = np.array([0.9505, 1.0, 1.089])


def lab_to_rgb(lightness, a, b):
    """CIELAB under D65 → linear sRGB."""
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D65
    return np.clip(XYZ_TO_RGB @ xyz, 0.008, 0.85)


def skin_tone(ita_deg, blood, warmth, redder=0.0):
    """Reflectance of skin of a typology angle."""
    a, b = np.interp(ita_deg, ITA_DEG, LAB_A), np.interp(ita_deg, ITA_DEG, LAB_B)
    lightness = 50 + b * math.tan(math.radians(ita_deg))
    return lab_to_rgb(lightness, a * blood**0.6 + redder, b + 2.5 * warmth)


def look_of(traits: SkinTraits):
    """The painter's settings for a person's skin."""
    ita = ITA_DEG[-1] + traits.melanin * (ITA_DEG[0] - ITA_DEG[-1])
    back = skin_tone(ita, traits.blood, traits.warmth)
    palm = skin_tone(PALM_ITA[0] + PALM_ITA[1] * ita, traits.blood, traits.warmth, PALM_REDDER)
    bare = np.clip(palm * (1.05, 1.05, 1.1), 0, 0.85)
    nail, moon, edge = bare, np.clip(bare * (1.1, 1.3, 1.4), 0, 0.85), bare * 0.3 + 0.4
    if traits.nail_tone is not None:
        nail = moon = edge = np.array(traits.nail_tone)
    return Look(
        back_tone=tuple(back.tolist()),
        palm_tone=tuple(palm.tolist()),
        forearm_pale=FOREARM_PALE,
        nail_tone=tuple(nail.tolist()),
        moon_tone=tuple(moon.tolist()),
        edge_tone=tuple(edge.tolist()),
        nail_rough=0.27 if traits.nail_tone is None else 0.15,
        creases=traits.creases,
        veins=0.3 + 1.2 * traits.veins,
        blotches=0.4 + 1.2 * traits.blotches,
        moles=round(8 + 40 * traits.freckles),
        rough=0.58 - 0.1 * traits.shine,
    )


def wrist_turn(bend_deg):
    """Turn of the forearm against the hand, between coordinates of its `AnatomicalFrame`."""
    flexion, deviation = (math.radians(b) for b in bend_deg)
    return rotation_about((1.0, 0.0, 0.0), flexion) @ rotation_about((0.0, 0.0, 1.0), deviation)


class SomaBody:
    """One person of the second family, with the same ways as `demo_photo.Body`."""

    def __init__(self, rig: Rig, skin_seed, look: Look):
        """Refine and paint the person's own hand at rest."""
        self.model = hand_model(rig)
        self.hand = self.model.with_shape(torch.zeros(0, dtype=torch.float64))
        joints = rig.joints[list(KEPT)]
        self.refiner = Refiner(rig.faces, len(rig.verts), SOMA_LEVELS)
        self.weights = self.refiner.smooth(self.model.skinning.numpy())
        self.rest = self.refiner.through(rig.verts)
        tips = rig.verts[list(self.model.tip_verts)]
        pads = pad_directions(self.model)
        chart = skin_chart(self.rest, self.refiner.faces, self.weights, joints, tips, pads)
        self.paint = paint_skin(chart, skin_seed, look)
        self.rings_rest = arm_rings(self.rest, rig.forearm)

    def skin(self, posed, rotations, wrist_cam, bend_deg):
        """Fine mesh of a posed hand with its forearm, and the forearm's rings; camera frame."""
        frame = AnatomicalFrame.of(self.hand.rest_joints.numpy())
        axes = np.stack([frame.across, frame.along, frame.palmar])
        bend = axes.T @ wrist_turn(bend_deg) @ axes
        rest, R = self.hand.rest_verts.numpy(), rotations[0].numpy()
        coarse = posed.verts.numpy() + (bent_arm(rest, bend) - rest) @ R.T
        fine = self.refiner.through(coarse)
        normals = vertex_normals(fine, self.refiner.faces)
        rings = bent_arm(self.rings_rest.reshape(-1, 3), bend) @ R.T + wrist_cam
        rings = rings.reshape(self.rings_rest.shape)
        return fine + normals * self.paint["relief"][:, None], rings


STUB_M = 0.03
"""Where the forearm begins behind the wrist joint, as in the open hand."""
RING_POINTS = 32


def arm_rings(rest, along):
    """Sections of a forearm as `demo_mesh.sleeve_mesh` wants them: (rings, points, 3)."""
    side = unit(np.cross(along, (0.0, 0.0, 1.0)))
    up = np.cross(side, along)
    arm = rest[rest @ along > 0.01]
    height, x, z = arm @ along, arm @ side, arm @ up
    around = np.arange(RING_POINTS) / RING_POINTS * 2 * np.pi
    rings = []
    for distance in (0.0, *FOREARM_RINGS_M):
        at = min(STUB_M + distance, height.max() - 0.02)
        near = bump(height - at, 0.008)
        cx, cz = (near @ x) / near.sum(), (near @ z) / near.sum()
        angle, radius = np.arctan2(z - cz, x - cx), np.hypot(x - cx, z - cz)
        gap = np.angle(np.exp(1j * (angle[None] - around[:, None])))
        weight = near * bump(gap, 0.25) + 1e-12
        mean = (weight @ radius) / weight.sum(1)
        offset = np.outer(cx + mean * np.cos(around), side) + np.outer(
            cz + mean * np.sin(around), up
        )
        rings.append((STUB_M + distance) * along + offset)
    return np.stack(rings)


HAIRS = 7000
"""On a hand and forearm as hairy as they come."""
HAIR_POINTS = 5
HAIR_M = (0.004, 0.011)
"""Length on fingers and on the forearm."""


@dataclass(frozen=True, kw_only=True)
class Hair:
    """Where hairs grow and how they lie, in the frames of the triangles they grow from."""

    face: np.ndarray
    strands: np.ndarray
    """(H, P, 3) in the frame of the triangle: along its first edge, across it, outward."""

    def on(self, verts, faces):
        """(H, P, 3) points on a posed mesh."""
        a, b, c = (verts[faces[self.face, k]] for k in range(3))
        along = unit(b - a)
        out = unit(np.cross(b - a, c - a))
        frame = np.stack([along, np.cross(out, along), out], 1)
        return (a + b + c)[:, None] / 3 + self.strands @ frame


def grown_hair(body, density, rng):
    """Hair on the back of the hand, the fingers' first bones and the forearm."""
    rest, faces = body.rest, body.refiner.faces
    joints = body.model.joint_template.numpy()
    frame = AnatomicalFrame.of(joints)
    middle = rest[faces].mean(1)
    dorsal = -vertex_normals(rest, faces)[faces[:, 0]] @ frame.palmar
    weights = body.weights[faces[:, 0]]
    bones = weights[:, [4, 7, 10, 13]].sum(1)
    behind = smooth_step(-(middle @ frame.along), -0.02, 0.05)
    ulnar = smooth_step(-(middle @ frame.across), -0.02, 0.02)
    where = behind + bones * (bones > 0.8) + 0.35 * ulnar * (weights[:, 0] > 0.6) * (1 - behind)
    patchy = np.clip(0.6 + 0.6 * cloud_noise(middle, 60, int(rng.integers(1000))), 0, None)
    area = np.linalg.norm(
        np.cross(rest[faces[:, 1]] - rest[faces[:, 0]], rest[faces[:, 2]] - rest[faces[:, 0]]),
        axis=1,
    )
    chance = where * patchy * smooth_step(dorsal, -0.1, 0.6) * area
    face = rng.choice(len(faces), int(HAIRS * density), p=chance / chance.sum())
    # Hairs lie towards the little finger and slightly towards the fingers.
    lie = 0.45 * frame.along - 0.75 * frame.across + rng.normal(0, 0.3, (len(face), 3))
    a, b, c = (rest[faces[face, k]] for k in range(3))
    along, out = unit(b - a), unit(np.cross(b - a, c - a))
    lie = unit(lie - (lie * out).sum(1, keepdims=True) * out)
    local = np.stack([(lie * along).sum(1), (lie * np.cross(out, along)).sum(1)], 1)
    low, high = HAIR_M
    length = (low + (high - low) * behind[face]) * rng.uniform(0.6, 1.2, len(face))
    t = np.linspace(0, 1, HAIR_POINTS)
    flat = length[:, None, None] * t[:, None] * local[:, None]
    lift = length[:, None] * rng.uniform(0.15, 0.45, (len(face), 1)) * (t - 0.6 * t**2)
    return Hair(face=face, strands=np.concatenate([flat, lift[..., None]], 2))


@dataclass(frozen=True, kw_only=True)
class Person:
    """One of the twenty."""

    name: str
    subject: Subject
    is_soma: bool
    body: Body | SomaBody
    hand: Hand
    part: np.ndarray
    """Of each triangle of the fine mesh, as in `Sample.parts`."""
    look: Look
    hair: Hair | None


def chosen_subjects():
    """The first test subjects that bring every group of skin tones and both sexes alike."""
    light, dark = SKIN_GROUPS_ITA_DEG[0][1], SKIN_GROUPS_ITA_DEG[-1][0]
    darkest = [(light - low) / (light - dark) for low, _ in SKIN_GROUPS_ITA_DEG]
    chosen: list[int] = []
    for number in range(NUM_PEOPLE):
        want = SKIN_GROUPS[number // 2], ("female", "male")[number // 2 % 2]
        for index in itertools.count():
            someone = subject("test", index)
            group = int(np.searchsorted(darkest, someone.skin.melanin))
            if index not in chosen and (group, someone.population) == want:
                chosen.append(index)
                break
    return chosen


def make_person(number: int, cache: Path):
    """Person `number` of the set.

    Args:
        number: 0…19.
        cache: Folder for downloads.
    """
    someone = subject("test", chosen_subjects()[number])
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(number,)))
    look, skin_seed = look_of(someone.skin), someone.skin.seed % 10_000
    is_soma = number % 2 == 1
    if is_soma:
        body = SomaBody(person_rig(read_rig(cache), rng, someone.population), skin_seed, look)
    else:
        body = Body(open_hand(), someone.betas, skin_seed, look=look, num_levels=OPEN_LEVELS)
    faces = body.refiner.faces
    part = body.weights[faces].sum(1).argmax(1) + 1
    stub = STUB_M if is_soma else float(open_hand().template[:, 1].max())
    part[body.rest[faces].mean(1)[:, 1] > stub] = FOREARM_PART
    density = someone.skin.hair
    return Person(
        name=f"photoreal-{number:02d}",
        subject=someone,
        is_soma=is_soma,
        body=body,
        hand=body.hand,
        part=part.astype(np.uint8),
        look=look,
        hair=grown_hair(body, density, rng) if density > 0.05 else None,
    )
