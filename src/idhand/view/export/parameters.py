"""Motions → the hand model's parameters as npz or JSON, under SMPL-X's names and our own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float

from idhand.hand import HandModel
from idhand.view.export.rig import check_motions, real_rotations
from idhand.view.export.rows import moments, write_rows
from idhand.view.motion import HandMotion

FORMAT = "idhand-motion"

_CONVENTIONS = (
    "one row per hand and frame; metres, radians, camera frame x right, y down, z forward; "
    "global_orient, hand_pose and transl are the real hand's, of a left hand those of the mirrored "
    "model; rotations are the right hand's or, of a left hand, its mirror image's; 16 joints: "
    "wrist, then thumb, index, middle, ring, little; no mean pose; "
    "vertices = skinning about the joints at rest, plus transl; wrist_cam = J0(betas) + transl"
)


def write_npz(path: str | Path, motions: Sequence[HandMotion], model: HandModel) -> None:
    """Write the parameters, one row per hand and frame, hands after one another.

    | array | shape | |
    |---|---|---|
    | `header` | | JSON: format, version, model, what the numbers mean |
    | `hand`, `is_right`, `frame`, `time_s` | rows | which hand, when |
    | `betas` | rows × betas | each frame's own |
    | `global_orient`, `hand_pose` | rows × 3, × 45 | axis-angles of the real hand's side |
    | `transl` | rows × 3 | added after the skinning, as in SMPL-X and MANO |
    | `rotations`, `wrist_cam`, `keypoints_cam` | × 16×3×3, × 3, × 21×3 | as in `HandResult` |
    | `score`, `residual_px`, `depth_std_m` | rows | as in `HandResult` |
    | `faces_right`, `faces_left` | faces × 3 | outward |

    Args:
        path: The file, .npz or, without the faces, .json; nothing in it is pickled.
        motions: One per hand.
        model: The right-hand model that they came from.

    Raises:
        ValueError: If there is no motion, the model is not theirs, or the name ends otherwise.
    """
    check_motions(motions, model)
    parts = [_rows(motion, model) for motion in motions]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write_rows(
        path,
        {"format": FORMAT, "model": model.name, "conventions": _CONVENTIONS},
        {**moments(motions), **rows},
        faces_right=model.faces.numpy(),
        faces_left=model.mirrored().faces.numpy(),
    )


def _rows(motion: HandMotion, model: HandModel) -> dict[str, np.ndarray]:
    """One hand's rows."""
    vectors = roma.rotmat_to_rotvec(torch.from_numpy(real_rotations(motion))).numpy()
    return {
        "betas": motion.betas,
        "global_orient": vectors[:, 0],
        "hand_pose": vectors[:, 1:].reshape(motion.num_frames, -1),
        "transl": motion.wrist_cam - _rest_wrist(motion, model),
        "rotations": motion.rotations,
        "wrist_cam": motion.wrist_cam,
        "keypoints_cam": motion.keypoints_cam,
        "score": motion.score,
        "residual_px": motion.residual_px,
        "depth_std_m": motion.depth_std_m,
    }


def _rest_wrist(motion: HandMotion, model: HandModel) -> Float[np.ndarray, "frames 3"]:
    """Where the model has the real hand's wrist joint at rest, for each frame's own shape."""
    sided = model if motion.is_right else model.mirrored()
    return sided.joint_template[0].numpy() + motion.betas @ sided.joint_basis[0].numpy().T
