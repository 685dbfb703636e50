"""Hands → the compact numbers that the page's script draws: meshes, skeletons, cameras."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from idhand.anatomy import palm_axes
from idhand.hand import FittableHand
from idhand.records import HandResult
from idhand.view.report.pictures import PagePhoto

STEP_M = 2e-5
"""Positions are whole numbers of this: 0.02 mm, which reaches 655 mm around the wrist."""


def packed(array: np.ndarray, dtype: str) -> str:
    """Little-endian numbers as base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode()


def packed_points(points: Float[np.ndarray, "points 3"], origin: Float[np.ndarray, " 3"]) -> str:
    """Positions about an origin as 16-bit steps."""
    steps = np.rint((points - origin) / STEP_M).clip(-32767, 32767)
    return packed(steps, "<i2")


def packed_shape(hand: HandResult) -> dict[str, Any]:
    """Mesh and skeleton of a hand about its wrist, and where the wrist is (camera frame, m)."""
    wrist = hand.keypoints_cam[0].astype(np.float64)
    return {
        "origin": [round(float(x), 6) for x in wrist],
        "verts": packed_points(hand.verts_cam, wrist),
        "joints": packed_points(hand.keypoints_cam, wrist),
    }


def packed_faces(faces: Int[np.ndarray, "faces 3"]) -> str:
    """Triangles; meshes of more than 65,535 vertices do not occur among hands."""
    assert faces.size == 0 or faces.max() < 2**16
    return packed(faces, "<u2")


def relative_camera(
    K: Float[np.ndarray, "3 3"], photo: PagePhoto | None, width: int, height: int
) -> list[float]:
    """fx, fy, cx, cy as shares of the picture, whose edges are at 0 and 1, and its aspect ratio.

    Args:
        K: Intrinsics of the original picture.
        photo: The picture in the page, if there is one; else the original's size counts.
        width: Of the original picture, px.
        height: Of the original picture, px.
    """
    if photo is not None:
        K, width, height = photo.scale @ K, photo.width, photo.height
    numbers = (
        *(K[0, 0] / width, K[1, 1] / height),
        *((K[0, 2] + 0.5) / width, (K[1, 2] + 0.5) / height),
        width / height,
    )
    return [round(float(x), 6) for x in numbers]


def packed_person(model: FittableHand, betas: Float[np.ndarray, " betas"]) -> dict[str, Any]:
    """A person's right hand at rest, palm to the viewer, and where each measure runs on it."""
    import torch

    hand = model.with_shape(torch.from_numpy(betas.astype(np.float64)))
    turn, wrist = palm_axes(hand), hand.rest_joints[0]
    flat = torch.eye(3, dtype=torch.float64).repeat(16, 1, 1)
    flat[0] = turn
    posed = hand.posed(flat, torch.zeros(3, dtype=torch.float64))
    zero = np.zeros(3)
    lines: dict[str, str] = {}
    for name in model.measures.names:
        path = (model.measures.path(name, hand.betas) - wrist) @ turn.mT
        lines[name] = packed_points(path.numpy(), zero)
    return {
        "verts": packed_points(posed.verts.numpy(), zero),
        "joints": packed_points(posed.keypoints.numpy(), zero),
        "lines": lines,
    }
