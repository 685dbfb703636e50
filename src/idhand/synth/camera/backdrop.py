"""A wall or table close behind the hand, on which its shadow falls."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from idhand.synth.camera.shader import key_visibility
from idhand.synth.light.maps import KeyShadow, sky_light
from idhand.synth.people.body import rotation_about

GRID = 20
"""Points per axis at which the sky's soft shadow is gathered, then interpolated."""
KEY_GRID_PX = 3
"""Distance of the points at which the key light's shadow is looked up."""
FARTHEST_M = 3.0
"""What of the plane is farther away gets no shadow."""


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """A plane in the camera frame."""

    point_cam: Float[np.ndarray, " 3"]
    normal_cam: Float[np.ndarray, " 3"]
    """Unit, towards the camera."""

    def hit(self, rays: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Where rays from the camera meet the plane; far away for those that never do."""
        towards = rays @ self.normal_cam
        distance = self.point_cam @ self.normal_cam
        depth = np.where(towards < -1e-3, distance / np.minimum(towards, -1e-3), 2 * FARTHEST_M)
        return rays * np.clip(depth, 0, 2 * FARTHEST_M)[..., None]


def draw_backdrop(rng: np.random.Generator, verts_cam: Float[np.ndarray, "verts 3"]) -> Backdrop:
    """A plane that the hand lies on or hovers before, tilted at random."""
    tilt = rotation_about((1.0, 0.0, 0.0), rng.normal(0, 0.35)) @ rotation_about(
        (0.0, 1.0, 0.0), rng.normal(0, 0.35)
    )
    normal = tilt @ np.array([0.0, 0.0, -1.0])
    if normal[2] > -0.5:
        normal = np.array([0.0, 0.0, -1.0])
    gap = rng.exponential(0.03) + 0.001
    lowest = (verts_cam @ normal).min()
    return Backdrop(point_cam=normal * (lowest - gap), normal_cam=normal)


def backdrop_shade(
    backdrop: Backdrop,
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    casters_cam: Float[np.ndarray, "casters 3"],
    directions: Float[np.ndarray, "sky 3"],
    radiance: Float[np.ndarray, "sky 3"],
    shadow: KeyShadow,
    key_colour: Float[np.ndarray, " 3"],
    centre_cam: Float[np.ndarray, " 3"],
    radius_m: float,
) -> Float[np.ndarray, "height width 3"]:
    """Share of the light on the plane that the hand leaves, per pixel and colour: 1 = all of it."""
    coarse = _hits(backdrop, K, width, height, GRID, GRID)
    normals = np.broadcast_to(backdrop.normal_cam, coarse.shape)
    sky = sky_light(coarse, normals, casters_cam, directions, radiance, centre_cam, radius_m)
    cosines = np.maximum(directions @ backdrop.normal_cam, 0)
    open_sky = 4 * np.pi / len(directions) * cosines @ radiance
    columns, rows = width // KEY_GRID_PX, height // KEY_GRID_PX
    fine = _hits(backdrop, K, width, height, columns, rows)
    lit = key_visibility(fine, shadow).reshape(rows, columns)
    key = key_colour * max(float(shadow.axes[2] @ backdrop.normal_cam), 0.0)
    whole = open_sky + key + 1e-6
    size = (width, height)
    soft = cv2.resize((sky[:, :3] / whole).astype(np.float32).reshape(GRID, GRID, 3), size)
    return soft + cv2.resize(lit, size)[..., None] * (key / whole).astype(np.float32)


def _hits(
    backdrop: Backdrop,
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    columns: int,
    rows: int,
) -> Float[np.ndarray, "points 3"]:
    """Where the middles of `rows` × `columns` equal parts of a picture show the plane."""
    x = (np.arange(columns) + 0.5) * (width / columns) - 0.5
    y = (np.arange(rows) + 0.5) * (height / rows) - 0.5
    rays = np.empty((rows, columns, 3))
    rays[..., 0] = (x - K[0, 2]) / K[0, 0]
    rays[..., 1] = ((y - K[1, 2]) / K[1, 1])[:, None]
    rays[..., 2] = 1.0
    return backdrop.hit(rays.reshape(-1, 3))
