"""One motion → a Biovision hierarchy (BVH): a skeleton in motion, without a mesh.

The axes are glTF's (x right, y up, z towards the viewer). The format has no unit; lengths are in
centimetres, as Maya, MotionBuilder and the usual mocap libraries have them. In Blender import with
scale 0.01.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from idhand.files import replacing
from idhand.hand import JOINT_NAMES, HandModel
from idhand.view.export.rig import Rig, rigs_of
from idhand.view.motion import HandMotion

DEFAULT_FPS = 30.0
"""Frame rate in the file of a photo, which has one frame."""
MAX_HELD_FRAMES = 1000
"""Frames of a file per frame that shows the hand, at most; more come of a wrong rate or time."""

_CM_PER_M = 100.0
_TIP_OF_JOINT = {3 * (finger + 1): finger for finger in range(5)}
"""The last joint of each finger → the finger."""


def write_bvh(
    path: str | Path, motion: HandMotion, model: HandModel, fps: float = DEFAULT_FPS
) -> None:
    """Write one hand as BVH: wrist with place and rotation, 15 joints, fingertips as end sites.

    The frames come at the constant rate `fps`, from the frame of the video that shows the hand
    first to the one that shows it last; frames between that do not show it hold its last pose. The
    format has no place for the time of the first frame: it is in the GLB, npz and OpenXR files.

    Args:
        path: The file.
        motion: One hand.
        model: The right-hand model that it came from.
        fps: Frames per second.

    Raises:
        ValueError: If the model is not the motion's, `fps` is not positive, or poses would be held
            for more than `MAX_HELD_FRAMES` on average.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, got {fps}")
    (rig,) = rigs_of([motion], model)
    rows = held_frames(motion.time_s, fps)
    order = _depth_first(rig, 0)
    angles = _euler_deg(rig.rotations)[:, order].reshape(motion.num_frames, -1)
    values = np.concatenate((rig.wrist * _CM_PER_M, angles), 1)[rows]
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write("HIERARCHY\n")
        file.writelines(line + "\n" for line in _hierarchy(rig, 0, 0))
        file.write(f"MOTION\nFrames: {len(values)}\nFrame Time: {1 / fps:.9f}\n")
        file.writelines(" ".join(f"{value:.6f}" for value in row) + "\n" for row in values)


def held_frames(time_s: Float[np.ndarray, " frames"], fps: float) -> Int[np.ndarray, " samples"]:
    """For each tick of a constant rate, from the first frame's on: the latest frame come by then.

    Ticks are counted from time zero. A frame counts as come half a tick early, so that rounding of
    times does not matter.

    Args:
        time_s: Increasing.
        fps: Ticks per second.

    Raises:
        ValueError: If there are more than `MAX_HELD_FRAMES` ticks per frame.
    """
    first, last = np.floor(time_s[[0, -1]] * fps + 0.5)
    if last - first > MAX_HELD_FRAMES * len(time_s):
        raise ValueError(
            f"{len(time_s)} frames from {time_s[0]:.3f} s to {time_s[-1]:.3f} s would become "
            f"{last - first:.0f} at {fps:g} frames per second; is the rate right? Otherwise begin "
            "a new motion where the hand was away"
        )
    ticks = first + np.arange(int(last - first) + 1)
    return np.searchsorted(time_s, (ticks + 0.5) / fps, side="right").clip(1) - 1


def _depth_first(rig: Rig, joint: int) -> list[int]:
    """The joint and all below it, in the order of the file."""
    below = [k for k, parent in enumerate(rig.parents) if parent == joint]
    return [joint, *(k for child in below for k in _depth_first(rig, child))]


def _hierarchy(rig: Rig, joint: int, depth: int) -> Iterator[str]:
    """Lines of a joint and all below it."""
    tab = "\t" * depth
    turns = "Zrotation Yrotation Xrotation"
    yield f"{tab}{'JOINT' if depth else 'ROOT'} {JOINT_NAMES[joint]}"
    yield f"{tab}{{"
    yield f"{tab}\tOFFSET {_offset(rig.offsets[joint] if depth else np.zeros(3))}"
    places = "" if depth else "Xposition Yposition Zposition "
    yield f"{tab}\tCHANNELS {3 if depth else 6} {places}{turns}"
    for child in (k for k, parent in enumerate(rig.parents) if parent == joint):
        yield from _hierarchy(rig, child, depth + 1)
    if joint in _TIP_OF_JOINT:
        tip = rig.tips[_TIP_OF_JOINT[joint]] - rig.joints[joint]
        yield f"{tab}\tEnd Site"
        yield f"{tab}\t{{"
        yield f"{tab}\t\tOFFSET {_offset(tip)}"
        yield f"{tab}\t}}"
    yield f"{tab}}}"


def _offset(metres: Float[np.ndarray, " 3"]) -> str:
    return " ".join(f"{value:.6f}" for value in metres * _CM_PER_M)


def _euler_deg(
    R: Float[np.ndarray, "frames joints 3 3"],
) -> Float[np.ndarray, "frames joints 3"]:
    """Angles about z, y and x with `R = Rz @ Ry @ Rx`, in degrees, without jumps by whole turns.

    Fingers bend about x and spread about z; the angle between, about y, is a finger's twist about
    itself, so fingers stay far from the order's singular place at 90°. The wrist may come there;
    then z is set to zero.
    """
    cosine = np.hypot(R[..., 0, 0], R[..., 1, 0])
    y = np.arctan2(-R[..., 2, 0], cosine)
    regular = cosine > 1e-6
    z = np.where(regular, np.arctan2(R[..., 1, 0], R[..., 0, 0]), 0.0)
    x = np.where(
        regular,
        np.arctan2(R[..., 2, 1], R[..., 2, 2]),
        np.arctan2(-R[..., 1, 2], R[..., 1, 1]),
    )
    return np.degrees(np.unwrap(np.stack((z, y, x), -1), axis=0))
