"""Lens distortion: what a real lens does to the picture of a pinhole camera with the same K.

Two models, with OpenCV's names, orders and signs. `brown` (Brown and Conrady): k1 k2 p1 p2, then
k3, then k4 k5 k6 (rational), then s1 s2 s3 s4 (thin prism), then tx ty (tilted sensor): 4, 5, 8,
12 or 14 numbers. `fisheye` (Kannala and Brandt, equidistant): k1 k2 k3 k4 of the angle to the axis.
Source: OpenCV's documentation of `calib3d` and its namespace `fisheye`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

LensModel = Literal["brown", "fisheye"]
BROWN_COUNTS, FISHEYE_COUNT = (4, 5, 8, 12, 14), 4
"""How many coefficients each model has."""
MAX_ANGLE_RAD = math.radians(85.0)
"""Rays farther from the axis have no place in a pinhole picture that is of any use."""
_ODD_IN_X = (3, 8, 9, 13)
"""Brown coefficients that change sign in a mirror: p2, s1, s2, ty."""
_RANGE_STEPS = 4096
_ROUND_TRIP_PX = 0.01
"""OpenCV's few iterations are taken where they come back to the point this closely."""
_NEWTON_STEPS, _DIFFERENCE = 12, 1e-6


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A lens model with its coefficients.

    Raises:
        ValueError: If the coefficients are not as many finite numbers as the model has.
    """

    coefficients: tuple[float, ...]
    """In OpenCV's order."""
    model: LensModel = "brown"

    def __post_init__(self):
        if self.model not in ("brown", "fisheye"):
            raise ValueError(f"the lens model must be 'brown' or 'fisheye', got {self.model!r}")
        object.__setattr__(self, "coefficients", _numbers(self.coefficients))
        count, given = len(self.coefficients), list(self.coefficients)
        allowed = (FISHEYE_COUNT,) if self.model == "fisheye" else BROWN_COUNTS
        if count not in allowed or not all(map(math.isfinite, given)):
            many = "4" if self.model == "fisheye" else "4, 5, 8, 12 or 14"
            name = "a fish-eye's distortion" if self.model == "fisheye" else "distortion (dist)"
            raise ValueError(f"{name} must be {many} finite numbers in OpenCV's order, got {given}")

    @property
    def is_pinhole(self) -> bool:
        """Whether it changes nothing."""
        return self.model == "brown" and not any(self.coefficients)

    @cached_property
    def max_radius(self) -> float:
        """Largest tangent of the angle to the axis up to which the picture grows outwards.

        Beyond, the polynomial folds back: farther rays would come to lie nearer to the centre.
        """
        angle = np.linspace(0.0, MAX_ANGLE_RAD, _RANGE_STEPS)
        growth = np.diff(self._radius_seen(angle))
        folded = np.flatnonzero(~(growth > 0))
        return float(np.tan(angle[folded[0]] if len(folded) else MAX_ANGLE_RAD))

    def mirrored(self) -> "Lens":
        """The same lens in a mirror: x becomes -x, in the camera and in the picture."""
        if self.model == "fisheye":
            return self
        values = [-c if i in _ODD_IN_X else c for i, c in enumerate(self.coefficients)]
        return Lens(coefficients=tuple(values))

    def _radius_seen(self, angle: Float[np.ndarray, " rays"]) -> Float[np.ndarray, " rays"]:
        """Distance from the centre at which a ray is seen, by the radial terms alone."""
        if self.model == "fisheye":
            return _fisheye_angle(angle, self.coefficients)
        k1, k2, _, _, k3, k4, k5, k6 = (*self.coefficients, *[0.0] * 4)[:8]
        r2 = np.tan(angle) ** 2
        over = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        under = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        positive = np.logical_and.accumulate((over > 0) & (under > 0))
        seen = np.sqrt(r2) * over / np.where(positive, under, 1.0)
        return np.where(positive, seen, -1.0 - np.arange(len(seen)))  # falls from there on


Distortion = Lens | Sequence[float | int] | np.ndarray | None
"""What may be given for a lens: None, OpenCV's 4, 5, 8, 12 or 14 numbers, or a `Lens`."""


def lens_of(dist: object, model: LensModel = "brown") -> Lens | None:
    """The lens that was given, None for a pinhole.

    Args:
        dist: A `Lens`, or a list, tuple or array of coefficients, or None.
        model: Of the coefficients, where they are no `Lens`.

    Raises:
        ValueError: If it is none: another count, not finite, not numbers.
    """
    if dist is None:
        return None
    lens = dist if isinstance(dist, Lens) else Lens(coefficients=_numbers(dist), model=model)
    return None if lens.is_pinhole else lens


def distortion_array(dist: Distortion, count: int = 5) -> Float[np.ndarray, " coefficients"]:
    """Brown coefficients as an array of at least that many, zeros for what was not given.

    Raises:
        ValueError: If it is a fish-eye, which has no such coefficients.
    """
    values = (0.0,) * 5 if dist is None else dist
    lens = values if isinstance(values, Lens) else Lens(coefficients=_numbers(values))
    if lens.model == "fisheye":
        raise ValueError("a fish-eye lens cannot be written as OpenCV's pinhole distortion")
    return np.array((*lens.coefficients, *[0.0] * (count - len(lens.coefficients))))


def undistorted_xy(
    points_px: Float[np.ndarray, "points 2"], K: Float[np.ndarray, "3 3"], dist: Distortion
) -> Float[np.ndarray, "points 2"]:
    """Rays of points in the picture: x/z and y/z.

    A point outside the lens's range gets the ray at the edge of that range in the same
    direction, so that every finite point has a finite ray.
    """
    seen = points_px.astype(np.float64) @ np.linalg.inv(K).T[:2, :2]
    seen += np.linalg.inv(K)[:2, 2]
    lens = lens_of(dist)
    if lens is None or not len(seen):
        return seen
    if lens.model == "fisheye":
        return _fisheye_rays(seen, lens)
    rays = cv2.undistortPoints(seen[:, None], np.eye(3), np.array(lens.coefficients))[:, 0]
    limit = _ROUND_TRIP_PX / max(K[0, 0], K[1, 1])
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.linalg.norm(_brown_seen(rays, lens) - seen, axis=1)
        good = (off < limit) & (np.linalg.norm(rays, axis=1) <= lens.max_radius)
    bad = ~good & np.isfinite(seen).all(1)
    if bad.any():
        rays[bad] = _brown_rays(seen[bad], lens)
    return rays


def undistorted_px(
    points_px: Float[np.ndarray, "points 2"], K: Float[np.ndarray, "3 3"], dist: Distortion
) -> Float[np.ndarray, "points 2"]:
    """Where the points would lie in a pinhole picture with the same K; see `undistorted_xy`."""
    if lens_of(dist) is None:
        return points_px
    return undistorted_xy(points_px, K, dist) @ K[:2, :2].T + K[:2, 2]


def project_px(
    points_cam: Float[np.ndarray, "points 3"],
    K: Float[np.ndarray, "3 3"],
    dist: Distortion = None,
) -> Float[np.ndarray, "points 2"]:
    """Camera-frame metres → pixels of the distorted picture.

    Rays outside the lens's range are drawn at its edge; they would fold back otherwise.
    """
    points, K = points_cam.astype(np.float64), K.astype(np.float64)
    lens = lens_of(dist)
    if lens is None:
        uvw = points @ K.T
        return uvw[:, :2] / np.maximum(uvw[:, 2:], 1e-6)
    rays = points[:, :2] / np.maximum(points[:, 2:], 1e-6)
    rays *= np.minimum(1.0, lens.max_radius / np.maximum(_norm(rays), 1e-12))
    seen = _fisheye_seen(rays, lens) if lens.model == "fisheye" else _brown_seen(rays, lens)
    return seen @ K[:2, :2].T + K[:2, 2]


def straightened(
    rgb: UInt8[np.ndarray, "height width 3"], K: Float[np.ndarray, "3 3"], dist: Distortion
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture that a pinhole camera with the same K would have taken."""
    lens = lens_of(dist)
    if lens is None:
        return rgb
    numbers = np.array(lens.coefficients)
    if lens.model == "fisheye":
        return np.asarray(cv2.fisheye.undistortImage(rgb, K, numbers, Knew=K))
    return np.asarray(cv2.undistort(rgb, K, numbers))


def _numbers(values: object) -> tuple[float, ...]:
    """A flat tuple of numbers of a list, tuple or array; also of OpenCV's (1, 5) and (5, 1)."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" or array.size != max((*array.shape, 0)):
            raise ValueError(f"shape {array.shape} of {array.dtype}")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"distortion (dist) must be a list of numbers, OpenCV's 4, 5, 8, 12 or 14: {error}"
        ) from error
    return tuple(array.astype(np.float64).reshape(-1).tolist())


def _norm(xy: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 1"]:
    return np.linalg.norm(xy, axis=1, keepdims=True)


def _brown_seen(rays: Float[np.ndarray, "points 2"], lens: Lens) -> Float[np.ndarray, "points 2"]:
    """Where rays are seen, in units of the focal length."""
    if not len(rays):
        return rays
    points, zero = np.concatenate((rays, np.ones((len(rays), 1))), 1), np.zeros(3)
    numbers = np.array(lens.coefficients)
    return cv2.projectPoints(points, zero, zero, np.eye(3), numbers)[0].reshape(-1, 2)


def _brown_rays(seen: Float[np.ndarray, "points 2"], lens: Lens) -> Float[np.ndarray, "points 2"]:
    """The opposite of `_brown_seen`: Newton's method from the round part's solution, in range."""
    angle = np.linspace(0.0, math.atan(lens.max_radius), _RANGE_STEPS)
    radius = _norm(seen)
    start = np.interp(radius, lens._radius_seen(angle), np.tan(angle))
    rays = seen / np.maximum(radius, 1e-12) * start
    off = _brown_seen(rays, lens) - seen
    for _ in range(_NEWTON_STEPS):
        steps = (np.array([_DIFFERENCE, 0.0]), np.array([0.0, _DIFFERENCE]))
        columns = [(_brown_seen(rays + s, lens) - seen - off) / _DIFFERENCE for s in steps]
        (a, c), (b, d) = columns[0].T, columns[1].T
        determinant = a * d - b * c
        safe = np.where(np.abs(determinant) > 1e-9, determinant, np.inf)
        step = np.stack((d * off[:, 0] - b * off[:, 1], a * off[:, 1] - c * off[:, 0]), 1)
        tried = rays - step / safe[:, None]
        tried *= np.minimum(1.0, lens.max_radius / np.maximum(_norm(tried), 1e-12))
        off_tried = _brown_seen(tried, lens) - seen
        better = _norm(off_tried) < _norm(off)
        rays, off = np.where(better, tried, rays), np.where(better, off_tried, off)
    return rays


def _fisheye_angle(
    angle: Float[np.ndarray, "*rays"], coefficients: Sequence[float]
) -> Float[np.ndarray, "*rays"]:
    """The angle at which a ray is seen."""
    k1, k2, k3, k4 = coefficients
    a2 = angle**2
    return angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))


def _fisheye_seen(rays: Float[np.ndarray, "points 2"], lens: Lens) -> Float[np.ndarray, "points 2"]:
    """Where rays are seen, in units of the focal length."""
    radius = _norm(rays)
    seen = _fisheye_angle(np.arctan(radius), lens.coefficients)
    return rays * np.where(radius > 1e-12, seen / np.maximum(radius, 1e-12), 1.0)


def _fisheye_rays(seen: Float[np.ndarray, "points 2"], lens: Lens) -> Float[np.ndarray, "points 2"]:
    """The opposite of `_fisheye_seen`: a table, then Newton's method, within the range."""
    widest = math.atan(lens.max_radius)
    table = np.linspace(0.0, widest, _RANGE_STEPS)
    radius = _norm(seen)
    angle = np.interp(radius, _fisheye_angle(table, lens.coefficients), table)
    k1, k2, k3, k4 = lens.coefficients
    for _ in range(3):
        a2 = angle**2
        slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
        step = (_fisheye_angle(angle, lens.coefficients) - radius) / np.maximum(slope, 1e-3)
        angle = np.clip(angle - step, 0.0, widest)
    return seen * np.where(radius > 1e-12, np.tan(angle) / np.maximum(radius, 1e-12), 1.0)
