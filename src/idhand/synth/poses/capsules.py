"""A hand as 20 tapered capsules, to know at once how deep its parts are in one another.

Each bone has one, with the person's own thickness; those of the four inner metacarpals and the
ball of the thumb stand for the palm. Metres, the wrist's frame. Needs numba
(`pip install 'idhand[synth]'`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from idhand.hand import JOINT_NAMES, FittableHand, Hand
from idhand.synth.poses.contacts import BALL, carried, chain, deepest, depths, settle

MAX_PENETRATION_M = 0.004
"""How deep capsules of one hand may be in one another: fingertip pads yield 2–3 mm under a firm
grip, and both sides of a contact do. Source: Serina et al., "Force response of the fingertip pulp
to repeated compression", J. Biomechanics 1997."""

TARGET_DEPTHS_M = (0.003, 0.001)
"""What `settled` aims at: the most for parts that meet, and for those that shall touch."""

PALM_BASES = (4, 7, 10, 13)
"""The joints where the metacarpals of the palm end: index to little finger."""

CAPSULE_NAMES = (
    *JOINT_NAMES[1:],
    *(f"{JOINT_NAMES[j].split('_')[0]}_palm" for j in PALM_BASES),
    "thumb_ball",
)
"""The one that begins at each finger joint, those from the wrist to the knuckles, and the flesh
between palm and thumb, which moves half with either."""
NUM_CAPSULES = len(CAPSULE_NAMES)

THUMB = (0, 1, 2)
FINGERS = tuple((3 * f, 3 * f + 1, 3 * f + 2) for f in range(1, 5))
PALM = (15, 16, 17, 18)

FINGER_SPAN = (0.1, 0.95)
"""Where a finger bone's capsule begins and ends, as shares of the bone."""
KNUCKLE_SPAN = (0.35, 0.95)
"""Of the proximal phalanges, which begin in the palm's flesh."""
PALM_SPAN = (0.45, 0.95)
"""Of the metacarpals; the nearer part is carpus, which nothing reaches."""
OWN_SHARE = 0.6
"""Vertices that follow a joint by at least this are flesh of its bone."""
PALM_SHARE = 0.25
"""Of the palm's: what is halfway to the thumb lies before the palm as well."""
BALL_SPAN = (0.1, 0.7)
"""Of the line from the thumb's first joint to the index finger's, which the ball lies before."""
BALL_BULGE = 0.62
"""Height of its middle as a share of its skin's: more than half, as it bulges when the thumb
bends."""
BALL_HEIGHT_M = 0.008
"""The ball's skin is farther than this from the plane of wrist, thumb and index, mean hand."""
PALM_WIDTH_M = 0.009
"""Flesh of a metacarpal lies this near to it to the sides, on the mean hand."""


def _pairs() -> Int[np.ndarray, "pairs 2"]:
    """Capsules that are no neighbours: what could meet. The thumb's web is no contact."""
    pairs = [(a, b) for a in THUMB[1:] for b in (*range(3, 15), *PALM[1:])]
    pairs += [(THUMB[0], b) for finger in FINGERS for b in finger[1:]]
    for f, finger in enumerate(FINGERS):
        pairs += [(a, b) for other in FINGERS[f + 1 :] for a in finger for b in other]
        pairs += [(a, b) for a in finger[1:] for b in (*PALM, BALL)]
        pairs.append((finger[0], finger[2]))
    return np.array(pairs)


PAIRS = _pairs()


@dataclass(frozen=True, kw_only=True)
class CapsuleRig:
    """How capsules follow from a hand model's mesh, whoever's it is."""

    model: FittableHand

    @cached_property
    def dof_joint(self) -> Int[np.ndarray, " dofs"]:
        """The joint that each angle turns."""
        return self.model.pose_space.joint.numpy()

    @cached_property
    def dof_axis(self) -> Float[np.ndarray, "dofs 3"]:
        """Unit axes in the rest frame."""
        return self.model.pose_space.axis.numpy()

    @cached_property
    def compliance(self) -> Float[np.ndarray, " dofs"]:
        """How readily each angle yields to a push: its variance over everyday poses."""
        return self.model.pose_space.covariance.diagonal().numpy().copy()

    @cached_property
    def _bones(self) -> Int[np.ndarray, "capsules 2"]:
        """First and last point of each capsule's bone: joints, then fingertips from 16 on."""
        tip_of = {3 * f + 3: 16 + f for f in range(5)}
        fingers = [(j, tip_of.get(j, j + 1)) for j in range(1, 16)]
        return np.array(fingers + [(0, base) for base in PALM_BASES])

    @cached_property
    def _flesh(self) -> tuple[Int[np.ndarray, " flesh"], ...]:
        """The vertices that each capsule is to hold, chosen on the mean hand."""
        model = self.model
        verts, skinning = model.template.numpy(), model.skinning.numpy()
        points = self._points(verts, model.joint_template.numpy())
        carriers = np.concatenate([np.arange(1, 16), np.zeros(4, np.int64)])
        across = points[PALM_BASES[0]] - points[PALM_BASES[-1]]
        flesh = []
        for k, (carrier, (first, last)) in enumerate(zip(carriers, self._bones, strict=True)):
            own = skinning[:, carrier] >= (PALM_SHARE if k in PALM else OWN_SHARE)
            if k in PALM:
                own &= _near(verts, points[first], points[last], across)
            flesh.append(np.flatnonzero(own))
        return tuple(flesh)

    @cached_property
    def _ball(self) -> Int[np.ndarray, " ball"]:
        """Vertices on the ball of the thumb that follow wrist and thumb alike."""
        verts, joints = self.model.template.numpy(), self.model.joint_template.numpy()
        thumb, beyond = self.model.skinning.numpy()[:, 1:3].T
        height_m, _ = _before_thumb(verts, joints)
        shared = (thumb > 0.25) & (thumb < 0.75) & (beyond < 0.15)
        above = (verts - joints[1]) @ (joints[PALM_BASES[0]] - joints[1]) > 0
        return np.flatnonzero(shared & above & (height_m > BALL_HEIGHT_M))

    def _points(
        self, verts: Float[np.ndarray, "verts 3"], joints: Float[np.ndarray, "joints 3"]
    ) -> Float[np.ndarray, "points 3"]:
        """Joints, then fingertips."""
        return np.concatenate([joints, verts[list(self.model.tip_verts)]])

    def capsules(self, hand: Hand) -> "HandCapsules":
        """One person's capsules: axis and radius are lines fitted to the flesh along each bone."""
        verts, joints = hand.rest_verts.numpy(), hand.rest_joints.numpy()
        points = self._points(verts, joints)
        ends, radii_m = np.empty((NUM_CAPSULES, 2, 3)), np.empty((NUM_CAPSULES, 2))
        for k, (first, last) in enumerate(self._bones):
            ends[k], radii_m[k] = _fitted(verts[self._flesh[k]], points[first], points[last], k)
        ends[BALL], radii_m[BALL] = _fitted_ball(verts[self._ball], joints)
        return HandCapsules(rig=self, rest_joints=joints, ends=ends, radii_m=radii_m)


@dataclass(frozen=True, kw_only=True)
class HandCapsules:
    """One person's hand as capsules at rest."""

    rig: CapsuleRig
    rest_joints: Float[np.ndarray, "joints 3"]
    ends: Float[np.ndarray, "capsules 2 3"]
    """Centres of the two end spheres."""
    radii_m: Float[np.ndarray, "capsules 2"]

    def posed(self, angles: Float[np.ndarray, " dofs"]) -> Float[np.ndarray, "capsules 2 3"]:
        """The end spheres' centres with the joints bent, the wrist at rest."""
        R, t = chain(angles, self.rig.dof_joint, self.rig.dof_axis, self.rest_joints)
        return carried(R, t, self.rest_joints, self.ends)

    def depths_m(self, angles: Float[np.ndarray, " dofs"]) -> Float[np.ndarray, " pairs"]:
        """How deep each of `PAIRS` is in one another; negative is apart."""
        return depths(self.posed(angles), self.radii_m, PAIRS)

    def settled(
        self,
        angles: Float[np.ndarray, " dofs"],
        limits: tuple[Float[np.ndarray, " dofs"], Float[np.ndarray, " dofs"]],
        touches: Int[np.ndarray, "touches 2"],
    ) -> Float[np.ndarray, " dofs"]:
        """A pose near to this one, within limits, with contacts that are neither too deep nor open.

        Look at the result: a knot that is too tight stays one.
        """
        rig = self.rig
        return settle(
            angles, rig.dof_joint, rig.dof_axis, self.rest_joints, self.ends, self.radii_m,
            PAIRS, touches, TARGET_DEPTHS_M, rig.compliance, *limits,
        )  # fmt: skip


def penetration_m(
    capsules: HandCapsules, angles: Float[np.ndarray, " dofs"] | Float[np.ndarray, "poses dofs"]
) -> float:
    """Depth of the deepest overlap of parts that are no neighbours, from 0, in a pose or in any."""
    rig = capsules.rig
    return deepest(
        np.atleast_2d(angles), rig.dof_joint, rig.dof_axis, capsules.rest_joints,
        capsules.ends, capsules.radii_m, PAIRS,
    )  # fmt: skip


def _near(
    verts: Float[np.ndarray, "verts 3"],
    first: Float[np.ndarray, " 3"],
    last: Float[np.ndarray, " 3"],
    across: Float[np.ndarray, " 3"],
) -> Bool[np.ndarray, " verts"]:
    """Which vertices lie above or below a metacarpal, whatever their height."""
    along = last - first
    share = (verts - first) @ along / (along @ along)
    side = across - across @ along / (along @ along) * along
    aside_m = (verts - first) @ side / np.linalg.norm(side)
    return (np.abs(aside_m) < PALM_WIDTH_M) & (share > 0.3) & (share < 1.0)


def _fitted(
    flesh: Float[np.ndarray, "flesh 3"],
    first: Float[np.ndarray, " 3"],
    last: Float[np.ndarray, " 3"],
    capsule: int,
) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, " 2"]]:
    """End spheres: least squares of the flesh's middle, then of its distance from the middle."""
    along = last - first
    length_m = float(np.linalg.norm(along))
    share = (flesh - first) @ along / length_m**2
    lines = np.stack([1 - share, share], 1)
    offset = flesh - first - share[:, None] * along
    middle = np.linalg.lstsq(lines, offset)[0]
    distance_m = np.linalg.norm(offset - lines @ middle, axis=1)
    radius_m = np.linalg.lstsq(lines, distance_m)[0]
    is_base = any(capsule == finger[0] for finger in FINGERS)
    span = PALM_SPAN if capsule in PALM else KNUCKLE_SPAN if is_base else FINGER_SPAN
    at = np.array(span)
    if capsule in (THUMB[2], *(finger[2] for finger in FINGERS)):
        at[1] = 1 - radius_m @ (0.25, 0.75) / length_m  # the end sphere's top is the fingertip
    ends = np.stack([1 - at, at], 1)
    return first + at[:, None] * along + ends @ middle, ends @ radius_m


def _before_thumb(
    verts: Float[np.ndarray, "verts 3"], joints: Float[np.ndarray, "joints 3"]
) -> tuple[Float[np.ndarray, " verts"], Float[np.ndarray, " 3"]]:
    """Palmar height over the plane of wrist, thumb and index knuckle, and its unit normal."""
    normal = np.cross(joints[1] - joints[0], joints[PALM_BASES[0]] - joints[0])
    normal /= np.linalg.norm(normal)
    return (verts - joints[0]) @ normal, normal


def _fitted_ball(
    skin: Float[np.ndarray, "skin 3"], joints: Float[np.ndarray, "joints 3"]
) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, " 2"]]:
    """End spheres of the ball of the thumb: from its skin to the plane of the bones."""
    first, last = joints[1], joints[PALM_BASES[0]]
    along = last - first
    share = (skin - first) @ along / (along @ along)
    line = np.linalg.lstsq(np.stack([1 - share, share], 1), skin)[0]
    at = np.array(BALL_SPAN)
    crest = np.stack([1 - at, at], 1) @ line
    height_m, normal = _before_thumb(crest, joints)
    return crest - (1 - BALL_BULGE) * height_m[:, None] * normal, height_m / 2
