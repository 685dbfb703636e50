"""Motions → MANO's own parameters, as data sets and other people's programs have them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from idhand.assets import mano_hands
from idhand.assets.mano_parameters import PlacedHand, PoseForm, to_mano
from idhand.assets.mano_tips import is_mano_name
from idhand.hand import FittableHand
from idhand.view.export.other_models import converted_motion
from idhand.view.export.rig import check_motions
from idhand.view.export.rows import moments, write_rows
from idhand.view.mesh import GLTF_FROM_CAM
from idhand.view.motion import HandMotion

FORMAT = "idhand-mano"
Mean = Literal["flat", "mean"]
Units = Literal["m", "mm"]
Frame = Literal["camera", "opengl"]
"""x right, y down, z forward; x right, y up, −z forward."""


@dataclass(frozen=True, kw_only=True)
class ManoForm:
    """How MANO's parameters are told."""

    pose: PoseForm = "axis_angle"
    mean: Mean = "flat"
    """What the finger pose is counted from: the flat hand or the mean pose."""
    units: Units = "m"
    """Of `transl`."""
    frame: Frame = "camera"
    """What `global_orient` and `transl` lead to."""

    def __post_init__(self) -> None:
        if self.pose == "matrices" and self.mean == "mean":
            raise ValueError("matrices are told from the flat hand; leave out the mean pose")


def mano_here() -> FittableHand:
    """MANO's right hand, which serves both sides in new work.

    Raises:
        ValueError: If it is not here.
    """
    model = mano_hands().right
    if model is None:
        raise ValueError(
            "MANO's parameters need MANO_RIGHT, which is not here; get it from "
            "https://mano.is.tue.mpg.de and give --mano MANO_RIGHT.pkl, or convert it once with "
            "`idhand assets mano`"
        )
    return model


def write_mano(
    path: str | Path,
    motions: Sequence[HandMotion],
    model: FittableHand,
    form: ManoForm | None = None,
) -> None:
    """Write MANO's parameters of every hand and frame, as .npz or .json.

    Columns: `hand`, `is_right`, `frame`, `time_s`, `betas`, `global_orient` (3), `hand_pose` (45
    or, as matrices, 135) and `transl` (3). They are the real hand's, of left hands those of the
    model's mirror image.

    Args:
        path: The file.
        motions: One per hand.
        model: The right-hand model that they came from. If it is none of MANO's, they are converted
            to MANO's right hand, one shape per hand; the header then has `converted_from` and
            `apart_mm`, how far the two surfaces are apart at rest (root mean square, of the hand
            where it is largest).
        form: How to tell them.

    Raises:
        ValueError: If there is no motion, the model is not theirs, or MANO is not here.
    """
    form, told = form or ManoForm(), {}
    if not is_mano_name(model.name):
        target = mano_here()
        found = [converted_motion(motion, model, target) for motion in motions]
        apart_mm = max((each.apart_mm for each in found), default=0.0)
        told = {"converted_from": model.name, "apart_mm": round(apart_mm, 3)}
        motions, model = [each.motion for each in found], target
    check_motions(motions, model)
    parts = [_parameters(motion, model, form) for motion in motions]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    about = {"format": FORMAT, "model": model.name, **vars(form), **told}
    write_rows(path, about, {**moments(motions), **rows})


def in_frame(motion: HandMotion, frame: Frame) -> HandMotion:
    """The same hand in the other frame, if that is asked for; its own inverse."""
    if frame == "camera":
        return motion
    rotations = motion.rotations.copy()
    rotations[:, 0] = GLTF_FROM_CAM[:, None] * rotations[:, 0]
    return replace(
        motion,
        rotations=rotations,
        wrist_cam=motion.wrist_cam * GLTF_FROM_CAM,
        keypoints_cam=motion.keypoints_cam * GLTF_FROM_CAM,
    )


def _parameters(motion: HandMotion, model: FittableHand, form: ManoForm) -> dict[str, np.ndarray]:
    """One hand's rows."""
    moved = in_frame(motion, form.frame)
    placed = PlacedHand(
        rotations=torch.from_numpy(moved.rotations).double(),
        wrist_cam=torch.from_numpy(moved.wrist_cam).double(),
        betas=torch.from_numpy(moved.betas).double(),
    )
    numbers = to_mano(
        model, placed, is_right=motion.is_right, form=form.pose, about_mean=form.mean == "mean"
    )
    return {
        "betas": numbers.betas.numpy(),
        "global_orient": numbers.global_orient.numpy(),
        "hand_pose": numbers.hand_pose.numpy(),
        "transl": numbers.transl.numpy() * (1e3 if form.units == "mm" else 1.0),
    }
