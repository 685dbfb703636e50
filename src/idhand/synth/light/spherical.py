"""Directions and equirectangular maps: angles, looking up, spherical harmonics.

World maps: z up, x in the middle. Reflection maps belong to the camera: forward in the middle.
"""

import math
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float

REFLECTION_SHAPE = (16, 32)
"""Rows (up to down) and columns of a map of reflections."""
SH_IRRADIANCE = np.array([math.pi] + [2 * math.pi / 3] * 3 + [math.pi / 4] * 5)
"""Radiance → irradiance, per harmonic. Source: Ramamoorthi and Hanrahan, "An Efficient
Representation for Irradiance Environment Maps", SIGGRAPH 2001, eq. 8."""


@cache
def panorama_directions(height: int, width: int) -> Float[np.ndarray, "height width 3"]:
    """World direction of every pixel of an equirectangular map."""
    azimuth = (0.5 - (np.arange(width) + 0.5) / width) * 2 * math.pi
    elevation = (0.5 - (np.arange(height) + 0.5)[:, None] / height) * math.pi
    flat = np.cos(elevation)
    up = np.broadcast_to(np.sin(elevation), (height, width))
    return np.stack((flat * np.cos(azimuth), flat * np.sin(azimuth), up), -1)


@cache
def solid_angles(height: int, width: int) -> Float[np.ndarray, "height 1"]:
    """Of a pixel in each row of an equirectangular map, steradians."""
    edges = np.sin((0.5 - np.arange(height + 1) / height) * math.pi)
    return ((edges[:-1] - edges[1:]) * 2 * math.pi / width)[:, None]


def look_up(
    panorama: Float[np.ndarray, "height width 3"], directions_world: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Radiance of an equirectangular map in unit directions, bilinear."""
    height, width, _ = panorama.shape
    x, y, z = np.moveaxis(directions_world, -1, 0)
    u = (0.5 - np.arctan2(y, x) / (2 * math.pi)) * width - 0.5
    v = (0.5 - np.arcsin(np.clip(z, -1, 1)) / math.pi) * height - 0.5
    v = np.clip(v, 0, height - 1)  # the poles; sideways the map wraps around
    return cv2.remap(
        panorama,
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def sh_basis(directions: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points 9"]:
    """Real orthonormal spherical harmonics: 1, y, z, x, xy, yz, 3z² − 1, xz, x² − y².

    Source: Ramamoorthi and Hanrahan 2001, eq. 3.
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    one, two = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    return np.stack(
        (
            np.full_like(x, math.sqrt(1 / (4 * math.pi))),
            one * y,
            one * z,
            one * x,
            two * x * y,
            two * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            two * x * z,
            two / 2 * (x * x - y * y),
        ),
        -1,
    )


def reflection_pixel(
    directions_cam: Float[np.ndarray, "*points 3"],
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]]:
    """Column and row of a map of reflections for unit directions.

    The middle of the map is forward (z), its right is right (x), its top is up (−y).
    """
    x, y, z = np.moveaxis(directions_cam, -1, 0)
    rows, columns = REFLECTION_SHAPE
    column = (np.arctan2(x, z) / (2 * math.pi) + 0.5) * columns - 0.5
    row = (np.arcsin(np.clip(y, -1, 1)) / math.pi + 0.5) * rows - 0.5
    return column, row


@cache
def reflection_directions() -> Float[np.ndarray, "rows columns 3"]:
    """Camera direction of every pixel of a map of reflections."""
    rows, columns = REFLECTION_SHAPE
    azimuth = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * math.pi
    down = ((np.arange(rows) + 0.5)[:, None] / rows - 0.5) * math.pi
    y = np.broadcast_to(np.sin(down), (rows, columns))
    return np.stack((np.cos(down) * np.sin(azimuth), y, np.cos(down) * np.cos(azimuth)), -1)
