"""Triangles in the camera frame → shaded pixels with coverage, smooth and anti-aliased.

Far triangles are painted first, so nearer ones end up on top; every pixel remembers only its
triangle and is shaded afterwards, with the light interpolated between corners. Good for a few
thousand small triangles, which is what hands are.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

MAX_SUPERSAMPLING = 2.0
MAX_RENDER_PX = 1600
"""Longer side of the internal picture; large windows are drawn at this size and scaled up."""
MIN_DEPTH_M = 0.01
"""Triangles with a corner nearer to the camera than this are left out."""

_SUBPIXEL_BITS = 4
_TO_LIGHT = np.array([-0.4, -0.65, -0.65]) / np.linalg.norm([-0.4, -0.65, -0.65])  # top left, front
_AMBIENT, _DIFFUSE, _SPECULAR, _SHININESS, _INSIDE = 0.50, 0.55, 0.22, 24.0, 0.55


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles to be drawn in one colour."""

    verts_px: Float[np.ndarray, "verts 2"]
    verts_cam: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    colour: tuple[int, int, int]
    """RGB, 0..255, under full light."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A shaded picture of meshes in a window of the image."""

    x: int
    y: int
    """Left and top of the window, px of the image."""
    premultiplied: Float[np.ndarray, "height width 3"]
    """RGB 0..255 times coverage."""
    coverage: Float[np.ndarray, "height width"]
    """0..1"""


def render(meshes: list[Mesh], width: int, height: int) -> Layer | None:
    """Draw meshes for an image of that size; None if nothing of them is in it."""
    meshes = [mesh for mesh in meshes if len(mesh.faces)]
    if not meshes:
        return None
    starts = np.cumsum([0] + [len(mesh.verts_px) for mesh in meshes])
    faces = np.concatenate([m.faces + s for m, s in zip(meshes, starts[:-1], strict=True)])
    verts_px = np.concatenate([mesh.verts_px for mesh in meshes])
    verts_cam = np.concatenate([mesh.verts_cam for mesh in meshes])
    colours = np.concatenate([np.tile(m.colour, (len(m.faces), 1)) for m in meshes])
    seen = (verts_cam[faces, 2] > MIN_DEPTH_M).all(1) & np.isfinite(verts_px[faces]).all((1, 2))
    if not seen.any():
        return None
    corners_px = verts_px[faces[seen]].reshape(-1, 2)
    x0, y0 = np.clip(np.floor(corners_px.min(0)) - 1, 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(corners_px.max(0)) + 2, 0, (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return None
    size = np.array((x1 - x0, y1 - y0))
    factor = min(MAX_SUPERSAMPLING, MAX_RENDER_PX / size.max())
    render_size = np.maximum(np.rint(size * factor), 1).astype(int)
    scale = render_size / size
    points = (verts_px - (x0, y0) + 0.5) * scale - 0.5  # the same place in the render's pixels
    nearest_last = np.argsort(-verts_cam[faces].mean(1)[:, 2], kind="stable")
    ids = _paint(points, faces, nearest_last[seen[nearest_last]], render_size)
    premultiplied = _shade(ids, points, verts_cam, faces, colours)
    smaller = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
    to_size = (int(size[0]), int(size[1]))
    return Layer(
        x=int(x0),
        y=int(y0),
        premultiplied=cv2.resize(premultiplied, to_size, interpolation=smaller),
        coverage=cv2.resize((ids >= 0).astype(np.float32), to_size, interpolation=smaller),
    )


def vertex_normals(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """Unit normals by the right-hand rule, weighted by triangle area; zero where undefined."""
    a, b, c = np.moveaxis(verts[faces], 1, 0)
    of_faces = np.cross(b - a, c - a)
    normals = np.zeros(verts.shape)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_faces)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def _paint(
    points: Float[np.ndarray, "verts 2"],
    faces: Int[np.ndarray, "faces 3"],
    order: Int[np.ndarray, " seen"],
    size: Int[np.ndarray, " 2"],
) -> Int[np.ndarray, "height width"]:
    """Index of the triangle at each pixel, -1 for none; triangles are painted in that order."""
    ids = np.full((size[1], size[0]), -1, np.int32)
    limit = 2**14  # OpenCV's fixed-point coordinates overflow far outside the window
    corners = np.rint(points.clip(-limit, limit) * 2**_SUBPIXEL_BITS).astype(np.int32)[faces]
    for face in order:
        cv2.fillConvexPoly(ids, corners[face], int(face), shift=_SUBPIXEL_BITS)
    return ids


def _shade(
    ids: Int[np.ndarray, "height width"],
    points: Float[np.ndarray, "verts 2"],
    verts_cam: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    colours: Int[np.ndarray, "faces 3"],
) -> Float[np.ndarray, "height width 3"]:
    """Gouraud shading of every painted pixel, RGB 0..255; black where nothing was painted."""
    diffuse, specular = _lights(verts_cam, faces)
    a, b, c = np.moveaxis(verts_cam[faces], 1, 0)
    inside = (np.cross(b - a, c - a) * a).sum(1) > 0
    diffuse = np.where(inside[:, None], _INSIDE * (2 * _AMBIENT - diffuse[faces]), diffuse[faces])
    specular = np.where(inside[:, None], 0.0, specular[faces])
    rows, columns = np.nonzero(ids >= 0)
    face = ids[rows, columns]
    value = _interpolated(diffuse, points[faces], face, columns, rows)[:, None]
    shine = 255 * _interpolated(specular, points[faces], face, columns, rows)[:, None]
    picture = np.zeros((*ids.shape, 3), np.float32)
    picture[rows, columns] = (colours.astype(np.float32)[face] * value + shine).clip(0, 255)
    return picture


def _lights(
    verts_cam: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, " verts"], Float[np.ndarray, " verts"]]:
    """Factor on the colour and white shine of each vertex, from outside. Source: Blinn, 1977."""
    normals = vertex_normals(verts_cam, faces)
    to_eye = -verts_cam / np.linalg.norm(verts_cam, axis=1, keepdims=True).clip(1e-9)
    half = _TO_LIGHT + to_eye
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    edge = 0.75 + 0.25 * (normals * to_eye).sum(1).clip(0, 1) ** 0.5  # darker outlines
    diffuse = (_AMBIENT + _DIFFUSE * (normals @ _TO_LIGHT).clip(0)) * edge
    return diffuse, _SPECULAR * (normals * half).sum(1).clip(0) ** _SHININESS


def _interpolated(
    corner_values: Float[np.ndarray, "faces 3"],
    corners: Float[np.ndarray, "faces 3 2"],
    face: Int[np.ndarray, " pixels"],
    x: Int[np.ndarray, " pixels"],
    y: Int[np.ndarray, " pixels"],
) -> Float[np.ndarray, " pixels"]:
    """A value given at the corners of triangles, at pixels: linear in x and y on each triangle.

    Clipped to the corners' range, as outlines are painted a bit too wide.
    """
    (ab, ac), a = (corners[:, 1:] - corners[:, :1]).swapaxes(0, 1), corners[:, 0]
    value_a, value_ab, value_ac = (corner_values - corner_values[:, :1] * [0, 1, 1]).T
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    slope_x = (value_ab * ac[:, 1] - value_ac * ab[:, 1]) / area
    slope_y = (value_ac * ab[:, 0] - value_ab * ac[:, 0]) / area
    start = value_a - slope_x * a[:, 0] - slope_y * a[:, 1]
    plane = np.stack((slope_x, slope_y, start, corner_values.min(1), corner_values.max(1)))
    per_x, per_y, value, low, high = plane.astype(np.float32)[:, face]
    value += per_x * x
    value += per_y * y
    return np.clip(value, low, high)
