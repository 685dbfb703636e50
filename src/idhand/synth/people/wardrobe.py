"""Subjects made ready for the camera: shape, painted skin, thickness of the bones, rings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from idhand.hand import FittableHand, Hand
from idhand.synth.people.body import AnatomicalFrame, BodyTopology, pad_directions
from idhand.synth.people.skin import Skin, SkinChart, paint, plain_skin
from idhand.synth.people.subjects import Subject
from idhand.synth.poses.capsules import HandCapsules
from idhand.synth.poses.sampler import PoseSampler
from idhand.synth.things.holding import bone_radii_m
from idhand.synth.things.solids import Solid
from idhand.synth.things.worn import RING_JOINTS, ring


@dataclass(frozen=True, kw_only=True)
class Person:
    """A subject, ready to be photographed."""

    subject: Subject
    hand: Hand
    rest_verts: Float[np.ndarray, "verts 3"]
    rest_joints: Float[np.ndarray, "16 3"]
    bone_radii_m: Float[np.ndarray, "20 5"]
    capsules: HandCapsules
    skin: Skin
    mean_tone: Float[np.ndarray, " 3"]
    rings: tuple[tuple[int, Solid], ...]
    """At rest, each with the joint that carries it."""


class Wardrobe:
    """Makes people of one hand model ready; what all of them share is computed once."""

    def __init__(self, model: FittableHand):
        self.model = model
        self.topology = BodyTopology(model)
        self.poses = PoseSampler(model)
        joints = model.joint_template.numpy()
        self.frame = AnatomicalFrame.of(joints)
        self.chart = SkinChart.of(
            self.topology.coarse_rest(model.template.numpy(), joints),
            self.topology.coarse_faces,
            self.topology.skinning,
            joints,
            model.template[list(model.tip_verts)].numpy(),
            pad_directions(model),
        )

    def ready(self, someone: Subject, skin: Literal["painted", "plain"]) -> Person:
        """Shape and paint somebody: some 80 ms."""
        hand = self.model.with_shape(torch.from_numpy(someone.betas))
        painted = (paint if skin == "painted" else plain_skin)(self.chart, someone.skin)
        verts, joints = hand.rest_verts.numpy(), hand.rest_joints.numpy()
        still = torch.eye(3, dtype=torch.float64).expand(16, 3, 3)
        keypoints = hand.posed(still, hand.rest_joints[0]).keypoints.numpy()
        skinning, rng = self.model.skinning.numpy(), np.random.default_rng([someone.skin.seed, 1])
        rings = tuple(
            (RING_JOINTS[f], ring(verts, joints, skinning, f, someone.ring_tone, rng))
            for f in someone.ring_fingers
        )
        return Person(
            subject=someone,
            hand=hand,
            rest_verts=verts,
            rest_joints=joints,
            bone_radii_m=bone_radii_m(keypoints, verts),
            capsules=self.poses.capsules(hand),
            skin=painted,
            mean_tone=painted.tone.mean((0, 1)).astype(np.float64),
            rings=rings,
        )
