"""Motions → OpenXR's 26 hand joints: place, orientation and radius, as headsets report them.

Frame: x right, y up, −z forward, metres; the camera is the origin. Source: Khronos, OpenXR 1.1,
XR_EXT_hand_tracking (`XrHandJointEXT`); WebXR's joints are the same without the palm. Where the
text leaves room: tips lie on the skin, as all our fingertips do; the wrist's −z points to the base
of the middle metacarpal; x is the axis that the joint flexes about, from the bones and the palm
(`idhand.anatomy`).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float, Int

from idhand.anatomy import flexion_axes
from idhand.files import replacing
from idhand.hand import FittableHand, Hand
from idhand.records import FLIP
from idhand.view.export.rig import check_motions, hand_of, real_rotations, smooth_quaternions
from idhand.view.export.rows import header_of, moments, write_rows
from idhand.view.mesh import GLTF_FROM_CAM
from idhand.view.motion import HandMotion

FORMAT = "idhand-openxr"

OPENXR_JOINT_NAMES = (
    "palm",
    "wrist",
    *(f"thumb_{part}" for part in ("metacarpal", "proximal", "distal", "tip")),
    *(
        f"{finger}_{part}"
        for finger in ("index", "middle", "ring", "little")
        for part in ("metacarpal", "proximal", "intermediate", "distal", "tip")
    ),
)
"""In the order of `XrHandJointEXT`."""

OPENXR_PARENTS = (
    *(1, -1, 1, 2, 3, 4),
    *(p for f in range(4) for p in (1, *(6 + 5 * f + k for k in range(4)))),
)
"""The joint towards the wrist, by its place among the names; the wrist has none: −1."""

CARRIED_BY = (
    *(0, 0, 1, 2, 3, 3),
    *(j for f in range(4) for j in (0, 4 + 3 * f, 5 + 3 * f, 6 + 3 * f, 6 + 3 * f)),
)
"""Our joint that carries each of the 26; palm and finger metacarpals move with the wrist."""

METACARPAL_WEIGHTS: Float[np.ndarray, "4 4"] = np.array(
    [
        [0.5047, 0.2657, 0.1836, 0.0460],
        [0.5525, 0.1627, 0.1510, 0.1338],
        [0.5899, 0.0910, 0.0092, 0.3099],
        [0.4434, 0.1152, -0.1835, 0.6249],
    ]
)
"""Bases of the index to little metacarpals, which our model has no joints for, as barycentric
coordinates in the tetrahedron of wrist, thumb CMC, index MCP and little MCP at rest. Source:
WebXR's generic hand, npm @webxr-input-profiles/assets 1.0.20; tools/check_openxr.py prints them."""

_CORNERS = (0, 1, 4, 13)
_FLEXING = (
    *(7, 7, 1, 2, 3, 3),
    *(j for f in range(4) for j in (4 + 3 * f, 4 + 3 * f, 5 + 3 * f, 6 + 3 * f, 6 + 3 * f)),
)
"""The joint of ours about whose flexion axis each of the 26 bends: −x of its frame, but for what
lies along its bone."""
_WRIST, _PALM, _MIDDLE_METACARPAL, _MIDDLE_PROXIMAL = 1, 0, 11, 12
SAME_JOINT = [1, 2, 3, 4, *(j for f in range(4) for j in (7 + 5 * f, 8 + 5 * f, 9 + 5 * f))]
"""Of the 26, the one at each of our 16 joints."""
TIPS = (5, 10, 15, 20, 25)
_TIP_DEPTHS_M = np.arange(1, 11) / 1e3
_DECIMALS = 6
"""Kept digits: 1 µm."""


@dataclass(frozen=True, kw_only=True)
class OpenXRJoints:
    """One hand over time as OpenXR has it."""

    positions: Float[np.ndarray, "frames 26 3"]
    orientations_xyzw: Float[np.ndarray, "frames 26 4"]
    """−z along the bone towards the tip, +y out of the back of the hand (of the thumb: its nail's
    side), x to the right of these; of both hands."""
    radii: Float[np.ndarray, " 26"]
    """Metres from the joint to the skin. Tips lie on the skin: of the largest ball inside them."""


def openxr_joints(motion: HandMotion, model: FittableHand) -> OpenXRJoints:
    """The 26 joints of one hand, with the motion's one shape.

    Args:
        motion: One hand.
        model: The right-hand model that it came from.

    Raises:
        ValueError: If the model is not the motion's.
    """
    check_motions([motion], model)
    hand, right = hand_of(motion, model), hand_of(replace(motion, is_right=True), model)
    rest_joints = hand.rest_joints.numpy()
    places, frames = _at_rest(hand, right, model)
    rotations = torch.from_numpy(real_rotations(motion)).to(hand.rest_joints.dtype)
    wrist_cam = torch.from_numpy(motion.wrist_cam).to(rotations.dtype)
    R, joints_cam = (values.numpy() for values in hand.chain(rotations, wrist_cam))
    by = list(CARRIED_BY)
    from_joint = places - rest_joints[by]
    positions = joints_cam[:, by] + np.einsum("fjab,jb->fja", R[:, by], from_joint)
    turns = GLTF_FROM_CAM[:, None] * (R[:, by] @ frames)
    return OpenXRJoints(
        positions=positions * GLTF_FROM_CAM,
        orientations_xyzw=smooth_quaternions(turns),
        radii=_radii(places, frames, hand.rest_verts.numpy(), hand.model.faces.numpy()),
    )


def openxr_rotations(
    orientations_xyzw: Float[np.ndarray, "frames 26 4"],
    model: FittableHand,
    betas: Float[np.ndarray, " betas"],
    *,
    is_right: bool,
) -> Float[np.ndarray, "frames 16 3 3"]:
    """Orientations of OpenXR's joints → our rotations; the opposite of `openxr_joints`.

    Args:
        orientations_xyzw: As in `OpenXRJoints`. Those of tips, palm and finger metacarpals say
            nothing more than their neighbours do, and are not used.
        model: A right-hand model.
        betas: Of the person; they tell how the bones lie at rest.
        is_right: Side of the real hand.

    Returns:
        As in `HandResult`; of left hands the mirrored right hand's.
    """
    right = model.with_shape(torch.from_numpy(betas).to(model.template.dtype))
    hand = right if is_right else model.mirrored().with_shape(right.betas)
    frames = _at_rest(hand, right, model)[1]
    turns = roma.unitquat_to_rotmat(torch.from_numpy(orientations_xyzw)).numpy()
    carried = (GLTF_FROM_CAM[:, None] * turns @ frames.swapaxes(1, 2))[:, SAME_JOINT]
    parents = list(model.parents[1:])
    local = carried.copy()
    local[:, 1:] = carried[:, parents].swapaxes(2, 3) @ carried[:, 1:]
    return local if is_right else FLIP[:, None] * local * FLIP


def write_openxr(path: str | Path, motions: Sequence[HandMotion], model: FittableHand) -> None:
    """Write the 26 joints of every hand and frame.

    As JSON, one line per frame, or as npz: `positions` (26×3), `orientations_xyzw` (26×4) and
    `radii` (26) for each hand and frame.

    Raises:
        ValueError: If there is no motion, or the model is not theirs.
    """
    check_motions(motions, model)
    hands = [(motion, openxr_joints(motion, model)) for motion in motions]
    about = {
        "format": FORMAT,
        "frame_of_reference": "x right, y up, -z forward; metres; quaternions x, y, z, w",
        "joint_names": OPENXR_JOINT_NAMES,
        "parents": OPENXR_PARENTS,
    }
    if Path(path).suffix == ".npz":
        radii = [np.tile(joints.radii, (motion.num_frames, 1)) for motion, joints in hands]
        rows = {
            "positions": np.concatenate([joints.positions for _, joints in hands]),
            "orientations_xyzw": np.concatenate([joints.orientations_xyzw for _, joints in hands]),
            "radii": np.concatenate(radii),
        }
        write_rows(path, about, {**moments(motions), **rows})
        return
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(json.dumps(header_of(about))[:-1] + ', "hands": [')
        for k, (motion, joints) in enumerate(hands):
            file.write(",\n" if k else "\n")
            file.writelines(_lines(motion, joints))
        file.write("\n]}\n")


def _lines(motion: HandMotion, joints: OpenXRJoints) -> Iterator[str]:
    """One hand as JSON, in pieces."""
    hand = {"name": motion.name, "is_right": motion.is_right, "radii": _rounded(joints.radii)}
    yield json.dumps(hand)[:-1] + ', "frames": ['
    for i in range(motion.num_frames):
        frame = {
            "frame": int(motion.frame[i]),
            "time_s": round(float(motion.time_s[i]), _DECIMALS),
            "positions": _rounded(joints.positions[i]),
            "orientations_xyzw": _rounded(joints.orientations_xyzw[i]),
        }
        yield (",\n" if i else "\n") + json.dumps(frame, allow_nan=False)
    yield "]}"


def _rounded(values: np.ndarray) -> list:
    return np.round(values, _DECIMALS).tolist()


def _at_rest(
    hand: Hand, right: Hand, model: FittableHand
) -> tuple[Float[np.ndarray, "26 3"], Float[np.ndarray, "26 3 3"]]:
    """Where the 26 joints of the real hand lie at rest, and their frames.

    Args:
        hand: The real hand.
        right: The same person's right hand.
        model: The right-hand model.
    """
    places = _rest_places(hand.rest_joints.numpy(), hand.rest_verts[list(model.tip_verts)].numpy())
    side = np.array([1.0 if hand.model.is_right else -1.0, 1.0, 1.0])
    frames = _rest_frames(places * side, flexion_axes(right, model.pose_space).numpy())
    return places, side[:, None] * frames * side  # of a left hand: x is to the right, too


def _rest_places(
    joints: Float[np.ndarray, "16 3"], tips: Float[np.ndarray, "5 3"]
) -> Float[np.ndarray, "26 3"]:
    """The 26 joints of a hand at rest, in its own frame."""
    metacarpals = METACARPAL_WEIGHTS @ joints[list(_CORNERS)]
    fingers = [
        np.concatenate((metacarpals[f, None], joints[4 + 3 * f : 7 + 3 * f], tips[1 + f, None]))
        for f in range(4)
    ]
    palm = (metacarpals[1] + joints[7]) / 2  # the middle of the middle finger's metacarpal
    return np.concatenate((palm[None], joints[:4], tips[:1], *fingers))


def _rest_frames(
    places: Float[np.ndarray, "26 3"], flexion: Float[np.ndarray, "15 3"]
) -> Float[np.ndarray, "26 3 3"]:
    """Orientation of each of the 26 in the right hand's rest frame; columns are x, y and z."""
    ends = np.roll(np.arange(26), -1)
    starts = np.arange(26)
    starts[_PALM], ends[_PALM] = _MIDDLE_METACARPAL, _MIDDLE_PROXIMAL
    ends[_WRIST] = _MIDDLE_METACARPAL
    tips = np.array(TIPS)
    starts[tips], ends[tips] = tips - 1, tips  # as the last bone
    z = _unit(places[starts] - places[ends])
    x = -flexion[np.array(_FLEXING) - 1]
    x = _unit(x - (x * z).sum(-1, keepdims=True) * z)
    return np.stack((x, np.cross(z, x), z), -1)


def _radii(
    places: Float[np.ndarray, "26 3"],
    frames: Float[np.ndarray, "26 3 3"],
    verts: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
) -> Float[np.ndarray, " 26"]:
    """Distance from each joint to the skin; of tips, from the point behind that is farthest in."""
    radii = _to_skin(places, verts[faces])
    for tip in TIPS:
        behind = places[tip] + _TIP_DEPTHS_M[:, None] * frames[tip, :, 2]
        radii[tip] = _to_skin(behind, verts[faces]).max()
    return radii


def _to_skin(
    points: Float[np.ndarray, "points 3"], triangles: Float[np.ndarray, "faces 3 3"]
) -> Float[np.ndarray, " points"]:
    """Distance from each point to the nearest triangle."""
    from trimesh.triangles import closest_point  # here, because it takes a second to import

    nearest = [closest_point(triangles, np.tile(point, (len(triangles), 1))) for point in points]
    return np.linalg.norm(np.stack(nearest) - points[:, None], axis=-1).min(1)


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
