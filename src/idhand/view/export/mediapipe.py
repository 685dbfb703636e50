"""Motions → MediaPipe's 21 landmarks in space."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from idhand.hand import FittableHand
from idhand.records import FLIP
from idhand.refinement.landmark_conversion import landmarks_of
from idhand.view.export.mano import Frame, Units, in_frame
from idhand.view.export.rig import check_motions
from idhand.view.export.rows import moments, write_rows
from idhand.view.motion import HandMotion

FORMAT = "idhand-mediapipe"


def write_mediapipe(
    path: str | Path,
    motions: Sequence[HandMotion],
    model: FittableHand,
    *,
    units: Units = "m",
    frame: Frame = "camera",
) -> None:
    """Write the 21 landmarks of every hand and frame, as .npz or .json.

    Columns: `hand`, `is_right`, `frame`, `time_s` and `landmarks` (21×3, in MediaPipe's order, in
    the frame; MediaPipe's own `world_landmarks` are the same about the hand's centre).

    Args:
        path: The file.
        motions: One per hand.
        model: The right-hand model that they came from.
        units: Of the points.
        frame: Of the points.

    Raises:
        ValueError: If there is no motion, or the model is not theirs.
    """
    check_motions(motions, model)
    scale = 1e3 if units == "mm" else 1.0
    points = [scale * motion_landmarks(in_frame(motion, frame), model) for motion in motions]
    about = {"format": FORMAT, "units": units, "frame": frame}
    write_rows(path, about, {**moments(motions), "landmarks": np.concatenate(points)})


def motion_landmarks(motion: HandMotion, model: FittableHand) -> Float[np.ndarray, "frames 21 3"]:
    """Landmarks of the real hand, metres, in the frame of the motion's wrist."""
    side = np.ones(3) if motion.is_right else FLIP
    hand = model.with_shape(torch.from_numpy(motion.betas).double())
    rotations = torch.from_numpy(motion.rotations).double()
    return landmarks_of(hand, rotations, torch.from_numpy(motion.wrist_cam * side)).numpy() * side
