"""What else is near a hand in the picture: things that it does not hold, and another hand."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from idhand.hand import Hand
from idhand.records import FLIP
from idhand.synth.compiled import compiled
from idhand.synth.people.body import rotation_about, unit
from idhand.synth.things.catalogue import THINGS
from idhand.synth.things.holding import NUM_BONE_SPHERES, WRIST, Flesh, flesh
from idhand.synth.things.solids import Solid, distance_m, joined

MIRROR = np.diag(FLIP)
"""Between a hand and the other hand of the same person, at rest."""

MAX_COVERED = 0.4
"""Of the hand's box in the picture, by a thing before it."""

MAX_KEYPOINTS_COVERED = 0.6
"""Of the first hand's keypoints, that may lie in the box of a second hand before it."""

MIN_DEPTH_M = 0.12
"""Nothing comes nearer to the camera."""

NUM_TRIES = 8
"""Places that are drawn before giving up."""

STRAY_SIZE_M = (0.004, 0.05)
"""Radius or half thickness of things before the hand."""

OTHER_PERSON_SHARE = 0.2
"""Of second hands, that are of the same side, so of another person."""

TURN_RAD = 0.5
"""Spread of a second hand's turn away from the first one's mirror image."""

SHIFT_M = 0.04
"""Spread of its place along each axis before it comes near."""

GAP_M = 0.02
"""Mean distance that it keeps."""

MAX_APART_M = 0.13
"""From the first hand's palm to the nearest keypoint of the second; else it is no neighbour."""


@dataclass(frozen=True, kw_only=True)
class SecondHand:
    """Where another hand is, in the convention of `Sample`."""

    is_right: bool
    rotations: Float[np.ndarray, "16 3 3"]
    """Of the mirrored hand for left ones, as everywhere."""
    wrist_cam: Float[np.ndarray, " 3"]
    """Metres, of the real hand."""
    flesh: Flesh


def stray_object(rng: np.random.Generator, hand: Flesh) -> Solid | None:
    """A thing before or beside a hand, held by nobody, camera frame; None if no place was free.

    It covers at most `MAX_COVERED` of the hand's box and touches no skin.
    """
    middle = hand.keypoints_cam.mean(0)
    low, high = _box(hand.keypoints_cam)
    for _ in range(NUM_TRIES):
        thing = THINGS[rng.integers(len(THINGS))]
        smallest = max(thing.size_m[0], STRAY_SIZE_M[0])
        largest = min(thing.size_m[1], STRAY_SIZE_M[1])
        if largest <= smallest:
            continue
        shapes = thing.make(rng, float(rng.uniform(smallest, largest)))
        R = rotation_about(unit(rng.normal(size=3)), float(rng.uniform(0.0, np.pi)))
        depth = max(middle[2] * rng.uniform(0.6, 1.05), MIN_DEPTH_M + 0.05)
        place = rng.uniform(low - 0.3 * (high - low), high + 0.3 * (high - low)) * depth
        origin = np.append(place, depth)
        solid = joined([shape.solid() for shape in shapes]).moved(R, origin)
        if solid.verts[:, 2].min() < MIN_DEPTH_M or _covered(hand, solid.verts) > MAX_COVERED:
            continue
        apart = distance_m(shapes, (hand.centres_cam - origin) @ R) - hand.radii_m
        if apart.min() > 0.0:
            return solid
    return None


def _box(
    points_cam: Float[np.ndarray, "points 3"],
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Corners of the box around points as the camera sees them, x/z and y/z."""
    seen = points_cam[:, :2] / points_cam[:, 2:]
    return seen.min(0), seen.max(0)


def _covered(hand: Flesh, points_cam: Float[np.ndarray, "points 3"]) -> float:
    """Share of a hand's box that the box of other points covers; more than their outline does."""
    low, high = _box(hand.keypoints_cam)
    other_low, other_high = _box(points_cam)
    common = np.minimum(high, other_high) - np.maximum(low, other_low)
    return float(np.prod(np.maximum(common, 0.0) / (high - low)))


def second_hand(
    rng: np.random.Generator,
    hand: Hand,
    finger_rotations: Float[np.ndarray, "15 3 3"],
    bone_radii_m: Float[np.ndarray, "20 5"],
    first: Flesh,
) -> SecondHand | None:
    """Another hand near the first: beside, against, before or behind it, or at its wrist.

    Mostly the mirror image of the first in some plane, as the hands of one person are, then turned
    and brought up along the plane's normal until it would touch, which leaves both free.

    Args:
        rng: All draws.
        hand: Right hand of the second hand's person.
        finger_rotations: Its pose.
        bone_radii_m: Of that person.
        first: The hand that is there already.

    Returns:
        None if every drawn place came too near to the camera or covered too much of the first.
    """
    turns = torch.from_numpy(np.concatenate([np.eye(3)[None], finger_rotations]))
    posed = hand.posed(turns, torch.zeros(3, dtype=torch.float64))
    keypoints, verts = posed.keypoints.numpy(), posed.verts.numpy()
    for _ in range(NUM_TRIES):
        same_side = rng.random() < OTHER_PERSON_SHARE
        is_right = first.is_right == same_side
        side = np.eye(3) if is_right else MIRROR
        R, away = _relation(rng, first, same_side=same_side)
        turn = R @ side
        at_origin = flesh(keypoints @ turn.T, verts @ turn.T, bone_radii_m, is_right=is_right)
        wrist = first.palm_cam - at_origin.palm_cam + _shift(rng, first, away)
        wrist = wrist + (_way_out_m(first, at_origin, wrist, away) + rng.exponential(GAP_M)) * away
        second = flesh(
            keypoints @ turn.T + wrist, verts @ turn.T + wrist, bone_radii_m, is_right=is_right
        )
        if _is_in_view(first, second):
            rotations = np.concatenate([(side @ R @ side)[None], finger_rotations])
            return SecondHand(is_right=is_right, rotations=rotations, wrist_cam=wrist, flesh=second)
    return None


def _relation(
    rng: np.random.Generator, first: Flesh, *, same_side: bool
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Rotation of the second hand against the rest pose of its side, and where it comes from."""
    across = np.array([1.0, 0.0, 0.0])
    ways = (across, -across, first.palmar, first.to_thumb, -first.palmar, rng.normal(size=3))
    away = unit(ways[rng.integers(len(ways))])
    x = first.to_thumb if first.is_right else -first.to_thumb
    ahead = unit(np.cross(first.palmar, x))
    frame = np.stack([np.cross(ahead, first.palmar), -ahead, -first.palmar], 1)
    if same_side:
        related = rotation_about(away, np.pi) @ frame  # as two people's right hands meet
    else:
        related = (np.eye(3) - 2 * np.outer(away, away)) @ frame @ MIRROR
    noise = rotation_about(unit(rng.normal(size=3)), float(rng.normal(0.0, TURN_RAD)))
    return noise @ related, away


def _shift(
    rng: np.random.Generator, first: Flesh, away: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"]:
    """Of a second hand across its way; now and then down to the first one's wrist."""
    shift = rng.normal(0.0, SHIFT_M, 3)
    if rng.random() < 0.2:
        shift = shift + 1.2 * (first.keypoints_cam[WRIST] - first.palm_cam)
    return shift - shift @ away * away


def _way_out_m(
    first: Flesh,
    second: Flesh,
    shift: Float[np.ndarray, " 3"],
    away: Float[np.ndarray, " 3"],
) -> float:
    """How far the second hand must go so that no sphere of either is in the other's flesh."""
    centres = second.centres_cam + shift
    spheres = NUM_BONE_SPHERES + 5  # with the forearm's
    ways = (
        _last_contact(
            first.centres_cam[:spheres], first.radii_m[:spheres], centres, second.radii_m, away
        ),
        _last_contact(
            centres[:spheres],
            second.radii_m[:spheres],
            first.centres_cam,
            first.radii_m,
            -away,
        ),
    )
    return float(max(0.0, *ways))


@compiled
def _last_contact(still, still_radii, moving, moving_radii, away):
    """How far spheres (M, 3), (M,) must move along a unit vector to leave others (S, 3), (S,)."""
    way = 0.0
    for i in range(len(still)):
        for j in range(len(moving)):
            along, square = 0.0, 0.0
            for axis in range(3):
                off = moving[j, axis] - still[i, axis]
                along += off * away[axis]
                square += off * off
            reach = (still_radii[i] + moving_radii[j]) ** 2 - (square - along * along)
            if reach > 0.0:
                way = max(way, np.sqrt(reach) - along)
    return way


def _is_in_view(first: Flesh, second: Flesh) -> bool:
    """Whether a second hand is near, before the camera, and leaves enough of the first in view."""
    if second.keypoints_cam[:, 2].min() < MIN_DEPTH_M:
        return False
    apart = second.keypoints_cam - first.palm_cam
    if np.sqrt((apart * apart).sum(1)).min() > MAX_APART_M:
        return False
    low, high = _box(second.keypoints_cam)
    seen = first.keypoints_cam[:, :2] / first.keypoints_cam[:, 2:]
    is_in_box = ((seen > low) & (seen < high)).all(1)
    is_before = second.keypoints_cam[:, 2].mean() < first.keypoints_cam[:, 2].mean()
    return bool(not is_before or is_in_box.mean() <= MAX_KEYPOINTS_COVERED)
