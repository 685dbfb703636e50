"""Rotated squares around hands, and the pictures cut out of them.

Pixels: the centre of the top-left pixel is (0, 0).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

CROP_SIZE_PX = 224
"""Side of the landmark net's input. Source: its graph."""
STABLE_LANDMARKS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Those that set the ROI: no fingertips. Source: hand_landmark_landmarks_to_roi.pbtxt."""


@dataclass(frozen=True, kw_only=True)
class Roi:
    """A rotated square in the image; its y axis points from the fingers to the wrist."""

    center_px: Float[np.ndarray, " 2"]
    size_px: float
    angle_rad: float
    """From the image's x axis to the square's, clockwise on the screen (x right, y down)."""
    is_mirrored: bool = False
    """The square's x axis is reversed: a right hand looks like a left one."""

    @property
    def axes_image_roi(self) -> Float[np.ndarray, "2 2"]:
        """Orthogonal matrix that takes directions in the square to directions in the image."""
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        sign = -1.0 if self.is_mirrored else 1.0
        return np.array([[sign * c, -s], [sign * s, c]])

    def to_image(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Points in the square, 0..1 from its corner → px of the image."""
        return self.center_px + self.size_px * (points - 0.5) @ self.axes_image_roi.T

    def from_image(self, points_px: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Inverse of `to_image`."""
        return (points_px - self.center_px) @ self.axes_image_roi / self.size_px + 0.5

    def is_near(self, other: "Roi") -> bool:
        """Whether both show the same hand: a quarter of a side apart, turned by 30°, 1.5 × size."""
        larger, smaller = max(self.size_px, other.size_px), min(self.size_px, other.size_px)
        turn = (self.angle_rad - other.angle_rad + np.pi) % (2 * np.pi) - np.pi
        apart = float(np.linalg.norm(self.center_px - other.center_px))
        return bool(apart < smaller / 4 and larger < 1.5 * smaller and abs(turn) < np.pi / 6)


def checked_box(box: Any, name: str) -> Float[np.ndarray, " 4"]:
    """The box as an array, or the user's mistake in words."""
    try:
        bbox_px = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        bbox_px = np.zeros(0)
    if bbox_px.shape != (4,):
        raise ValueError(f"{name} must be four numbers, got {box!r}: give left, top, right, bottom")
    if not np.isfinite(bbox_px).all() or (bbox_px[2:] <= bbox_px[:2]).any():
        raise ValueError(
            f"{name} {bbox_px.tolist()} is not a box; give left, top, right and bottom in px, with "
            "left < right and top < bottom"
        )
    return bbox_px


def check_near(
    bbox_px: Float[np.ndarray, " 4"], name: str, width: int, height: int, far: float = 10.0
) -> None:
    """Refuse a box that lies outside a picture, or has a side farther away than `far` pictures.

    Raises:
        ValueError: If it does.
    """
    size = np.array([width, height])
    outside = (bbox_px[2:] <= 0).any() or (bbox_px[:2] >= size - 1).any()
    if outside or (np.abs(bbox_px) > far * size.max()).any():
        where = "lies outside" if outside else "reaches far beyond"
        raise ValueError(
            f"{name}, {bbox_px.tolist()}, {where} the image of {width} × {height} px; "
            "give left, top, right and bottom in px of this image"
        )


def upright_angle(toward_fingers: Float[np.ndarray, " 2"]) -> float:
    """Angle of a ROI in which this direction points up."""
    return float(np.pi / 2 - np.arctan2(-toward_fingers[1], toward_fingers[0]))


def roi_from_landmarks(
    points_px: Float[np.ndarray, "21 2"], *, scale: float = 2.0, shift: float = -0.1
) -> Roi:
    """ROI around known landmarks, for the next frame or a second look.

    Source: hand_landmarks_to_rect_calculator.cc of MediaPipe.
    """
    knuckles = (points_px[5] + points_px[13]) / 4 + points_px[9] / 2
    angle = upright_angle(knuckles - points_px[0])
    R = Roi(center_px=np.zeros(2), size_px=1.0, angle_rad=angle).axes_image_roi
    aligned = points_px[list(STABLE_LANDMARKS)] @ R
    low, high = aligned.min(0), aligned.max(0)
    center = (low + high) / 2 + np.array([0.0, shift * (high - low)[1]])
    size = max(float((high - low).max()) * scale, 1.0)
    return Roi(center_px=R @ center, size_px=size, angle_rad=angle)


def crop(rgb: UInt8[np.ndarray, "height width 3"], roi: Roi) -> UInt8[np.ndarray, "224 224 3"]:
    """The ROI as the landmark net's input image, without aliasing; outside the image black."""
    corners = roi.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    h, w = rgb.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (w - 1, h - 1))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 3, (x0 + 1, y0 + 1), (w, h))
    part = rgb[y0:y1, x0:x1]
    scale = np.ones(2)
    if roi.size_px > 2 * CROP_SIZE_PX:
        factor = 1.5 * CROP_SIZE_PX / roi.size_px
        size = [max(round(side * factor), 1) for side in (x1 - x0, y1 - y0)]
        scale = np.array(size) / (x1 - x0, y1 - y0)
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    # Crop pixel → 0..1 of the ROI → image pixel → pixel of the (shrunk) part.
    ends = roi.to_image((np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) + 0.5) / CROP_SIZE_PX)
    ends = (ends - (x0, y0) + 0.5) * scale - 0.5
    M = np.stack((ends[1] - ends[0], ends[2] - ends[0], ends[0]), 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(np.ascontiguousarray(part), M, (CROP_SIZE_PX, CROP_SIZE_PX), flags=flags)
    return np.asarray(out, np.uint8)


def box_overlap(points_px: Float[np.ndarray, "21 2"], box_px: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of the points' box and another."""
    low = np.maximum(points_px.min(0), box_px[:2])
    high = np.minimum(points_px.max(0), box_px[2:])
    shared = np.clip(high - low, 0, None).prod()
    areas = np.ptp(points_px, axis=0).prod() + (box_px[2:] - box_px[:2]).prod()
    return float(shared / (areas - shared))
