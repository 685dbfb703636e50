"""How a hand is cut out of a picture, and the frame in which a network sees it.

View frame: a camera at the same place that faces the crop's centre, rolled as the crop
is. Left hands are mirrored first, picture and camera, as in docs/conventions.md.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8

from idhand.detection.roi import CROP_SIZE_PX, Roi, crop
from idhand.detection.roi import roi_from_landmarks as landmark_roi
from idhand.geometry import rotation_from_vector, rotation_towards
from idhand.lens import Distortion, undistorted_xy

__all__ = [
    "Cut",
    "JitterConfig",
    "View",
    "box_roi",
    "crop_of",
    "from_crop",
    "in_camera",
    "jittered",
    "landmark_roi",
    "view_of",
]


Cut = Literal["landmark", "box"]
"""Which square is cut: `landmark` is upright about the landmarks, as the hand net expects it
(`landmark_roi`); `box` is level and twice the keypoints' box, as in the paper (`box_roi`)."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How one crop was taken."""

    roi: Roi
    """In the real picture; mirrored for left hands, so that the crop shows a right one."""
    R_cam_view: Float[np.ndarray, "3 3"]
    """To the camera, for left hands to the mirrored one."""

    def to_camera(self, rotations: Float[np.ndarray, "16 3 3"]) -> Float[np.ndarray, "16 3 3"]:
        """Joint rotations with the wrist's relative to the view → to the (mirrored) camera."""
        return in_camera(rotations, self.R_cam_view)

    def from_camera(self, rotations: Float[np.ndarray, "16 3 3"]) -> Float[np.ndarray, "16 3 3"]:
        """Inverse of `to_camera`: what a network should predict for `Sample.rotations`."""
        return in_camera(rotations, self.R_cam_view.T)


def in_camera(
    rotations: Float[np.ndarray, "*batch 16 3 3"], R_cam_view: Float[np.ndarray, "*batch 3 3"]
) -> Float[np.ndarray, "*batch 16 3 3"]:
    """Joint rotations with the wrist's relative to views → to the (mirrored) cameras."""
    wrists = R_cam_view @ rotations[..., 0, :, :]
    return np.concatenate((wrists[..., None, :, :], rotations[..., 1:, :, :]), -3)


def view_of(
    roi: Roi,
    K: Float[np.ndarray, "3 3"],
    dist: Distortion,
    is_right: bool,
) -> View:
    """The view of a square of the real picture.

    Args:
        roi: Not mirrored, also for left hands.
        K: Intrinsics of the picture, px.
        dist: Lens distortion; it moves the centre's ray, its local shear is left out.
        is_right: The person's side.
    """
    assert not roi.is_mirrored
    xy = undistorted_xy(roi.center_px.astype(np.float64)[None], K, dist)[0]
    sign = 1.0 if is_right else -1.0
    ray = torch.tensor([sign * xy[0], xy[1]], dtype=torch.float64)
    roll = torch.tensor([0.0, 0.0, sign * roi.angle_rad], dtype=torch.float64)
    R = rotation_towards(ray) @ rotation_from_vector(roll)
    return View(roi=replace(roi, is_mirrored=not is_right), R_cam_view=R.numpy())


def crop_of(rgb: UInt8[np.ndarray, "height width 3"], view: View) -> UInt8[np.ndarray, "224 224 3"]:
    """The crop, always of a right hand; everything outside the picture is black."""
    return crop(rgb, view.roi)


def from_crop(
    points_px: Float[np.ndarray, "points 2"], roi: Roi, is_right: bool
) -> Float[np.ndarray, "points 2"]:
    """Points in a crop, which shows a right hand, → px of the real picture.

    Args:
        points_px: In the crop.
        roi: Not mirrored, as for `view_of`.
        is_right: The person's side.
    """
    assert not roi.is_mirrored
    return replace(roi, is_mirrored=not is_right).to_image((points_px + 0.5) / CROP_SIZE_PX)


def box_roi(bbox_px: Float[np.ndarray, " 4"], *, scale: float = 2.0) -> Roi:
    """Upright square about an xyxy box, `scale` times its longer side (the paper: 2)."""
    low, high = bbox_px[:2], bbox_px[2:]
    side = scale * float((high - low).max())
    return Roi(center_px=(low + high) / 2, size_px=max(side, 1.0), angle_rad=0.0)


@dataclass(frozen=True, kw_only=True)
class JitterConfig:
    """How far a crop may be from where it belongs, for training; uniform to both sides."""

    rotation_deg: float = 20.0
    shift: float = 0.06
    """In parts of the square's side, along each of its axes."""
    scale: float = 0.15
    """Largest natural logarithm of the change of size."""

    def __post_init__(self):
        for name in ("rotation_deg", "shift", "scale"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ValueError(f"jitter's {name} must be 0 or more, got {value}")


def jittered(roi: Roi, rng: np.random.Generator, config: JitterConfig) -> Roi:
    """The square, turned, moved and resized at random; four draws."""
    turn, x, y, size = rng.uniform(-1.0, 1.0, 4)
    shift = config.shift * roi.size_px * roi.axes_image_roi @ np.array([x, y])
    return replace(
        roi,
        center_px=roi.center_px + shift,
        size_px=roi.size_px * float(np.exp(config.scale * size)),
        angle_rad=roi.angle_rad + float(np.radians(config.rotation_deg) * turn),
    )
