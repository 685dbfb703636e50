"""Motions of one hand model → motions of another: betas are fitted, bones point the same way."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from idhand.assets.carrying import converted_poses, converted_shape
from idhand.hand import HandModel
from idhand.records import FLIP
from idhand.view.export.rig import check_motions
from idhand.view.motion import HandMotion

NUM_POSED = 256
"""Frames whose meshes are in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A motion in another hand model."""

    motion: HandMotion
    apart_mm: float
    """Root mean square distance of the two hands at rest, between the same points of the skin."""


def converted_motion(motion: HandMotion, source: HandModel, target: HandModel) -> Converted:
    """One hand in another model; it has one shape, like all exports that do.

    Args:
        motion: One hand.
        source: The right-hand model that it came from.
        target: Another right-hand model.

    Raises:
        ValueError: If the source is not the motion's model, or the target is a left hand.
    """
    check_motions([motion], source)
    shape = converted_shape(torch.from_numpy(motion.mean_betas), source, target)
    rotations, wrist_cam = converted_poses(
        torch.from_numpy(motion.rotations),
        torch.from_numpy(motion.wrist_cam),
        shape,
        source,
        is_right=motion.is_right,
    )
    betas = shape.betas.numpy()
    moved = replace(
        motion,
        model=target.name,
        betas=np.tile(betas, (motion.num_frames, 1)),
        rotations=rotations.numpy(),
        wrist_cam=wrist_cam.numpy(),
        keypoints_cam=keypoints_of(
            target, betas, rotations.numpy(), wrist_cam.numpy(), is_right=motion.is_right
        ),
    )
    return Converted(motion=moved, apart_mm=shape.apart_mm)


def keypoints_of(
    model: HandModel,
    betas: Float[np.ndarray, "*#frames betas"],
    rotations: Float[np.ndarray, "frames 16 3 3"],
    wrist_cam: Float[np.ndarray, "frames 3"],
    *,
    is_right: bool,
) -> Float[np.ndarray, "frames 21 3"]:
    """Keypoints of the real hand; rotations are those of `HandResult`."""
    sided = model if is_right else model.mirrored()
    turns = rotations if is_right else FLIP[:, None] * rotations * FLIP
    shapes = np.broadcast_to(betas, (len(turns), betas.shape[-1]))
    parts = []
    for first in range(0, len(turns), NUM_POSED):
        some = slice(first, first + NUM_POSED)
        person = sided.with_shape(torch.from_numpy(shapes[some].astype(np.float64)))
        R, at = (torch.from_numpy(values[some].astype(np.float64)) for values in (turns, wrist_cam))
        parts.append(person.posed(R, at).keypoints.numpy())
    return np.concatenate(parts)
