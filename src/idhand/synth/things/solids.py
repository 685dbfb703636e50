"""Solids that things are put together from: bevelled boxes, turned profiles, bent round bars.

Metres. Every shape has a mesh to be seen and a signed distance to keep hands out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.compiled import compiled
from idhand.synth.people.body import unit

TURNED_SEGMENTS = 20
"""Corners of a turned profile's circle: a cup 80 mm wide then looks round to 0.5 mm."""

BAR_SEGMENTS = 8
"""Corners of a bent bar's circle; bars are thin."""

Tone = tuple[float, float, float]
"""Linear RGB reflectance."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a surface is painted with."""

    tone: Tone
    gloss: float
    """0 matt, 1 polished."""


@dataclass(frozen=True, kw_only=True)
class Solid:
    """A coloured triangle mesh; wound so that normals point outward by the right-hand rule."""

    verts: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    normals: Float[np.ndarray, "verts 3"]
    """Unit, outward; vertices are doubled at hard edges."""
    tone: Float[np.ndarray, "verts 3"]
    """Linear RGB reflectance."""
    gloss: Float[np.ndarray, " verts"]
    """0 matt, 1 polished."""

    def moved(self, R: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]) -> "Solid":
        """Turned by a rotation, then shifted."""
        return replace(self, verts=self.verts @ R.T + shift, normals=self.normals @ R.T)


def joined(solids: Sequence[Solid]) -> Solid:
    """Several solids as one mesh."""
    starts = np.cumsum([0] + [len(s.verts) for s in solids[:-1]])
    return Solid(
        verts=np.concatenate([s.verts for s in solids]),
        faces=np.concatenate([s.faces + n for s, n in zip(solids, starts, strict=True)]),
        normals=np.concatenate([s.normals for s in solids]),
        tone=np.concatenate([s.tone for s in solids]),
        gloss=np.concatenate([s.gloss for s in solids]),
    )


def _painted(
    verts: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    normals: Float[np.ndarray, "verts 3"],
    material: Material,
) -> Solid:
    count = len(verts)
    return Solid(
        verts=verts,
        faces=faces,
        normals=normals,
        tone=np.tile(np.array(material.tone, np.float32), (count, 1)),
        gloss=np.full(count, material.gloss, np.float32),
    )


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box with bevelled edges, along the axes."""

    half: tuple[float, float, float]
    """Half its extent along x, y and z."""
    bevel: float
    """Width of the bevel on each side; at most the smallest half extent."""
    material: Material
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def solid(self) -> Solid:
        """Its mesh: three vertices at each corner, so that only the bevels are shaded round."""
        inner = _CORNERS[:, None] * (np.array(self.half) - self.bevel)
        normals = _CORNERS[:, :, None] * np.eye(3)
        verts = inner + normals * self.bevel + np.array(self.centre)
        return _painted(verts.reshape(-1, 3), _BOX_FACES, normals.reshape(-1, 3), self.material)

    def distance_m(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Distance to the rounded box of the same bevel, which the mesh lies within."""
        out = np.empty(len(points))
        _boxed(points - np.array(self.centre), np.array(self.half), self.bevel, out)
        return out


_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))


def _box_faces() -> Int[np.ndarray, "44 3"]:
    """Six sides, twelve bevels and eight corners; vertex 3 c + a lies on side a of corner c."""
    faces: list[tuple[int, int, int]] = [(3 * c, 3 * c + 1, 3 * c + 2) for c in range(8)]
    for axis in range(3):
        b, c = 4 >> (axis + 1) % 3, 4 >> (axis + 2) % 3  # the step to the next corner along an axis
        for corner in (0, 4 >> axis):
            loop = [3 * (corner + step) + axis for step in (0, b, b + c, c)]
            faces += [(loop[0], loop[1], loop[2]), (loop[0], loop[2], loop[3])]
        for corner in (0, b, c, b + c):
            one, two = (axis + 1) % 3, (axis + 2) % 3
            low, high = 3 * corner, 3 * (corner + (4 >> axis))
            faces += [(low + one, low + two, high + one), (low + two, high + two, high + one)]
    return np.array([_outward(face) for face in faces])


def _outward(face: tuple[int, int, int]) -> tuple[int, int, int]:
    """A triangle of the box wound the right way: the box is convex about its middle."""
    points = [2.0 * _CORNERS[v // 3] + np.eye(3)[v % 3] * _CORNERS[v // 3] for v in face]
    turn = np.cross(points[1] - points[0], points[2] - points[0]) @ sum(points)
    return face if turn > 0 else (face[0], face[2], face[1])


_BOX_FACES = _box_faces()


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A smooth stretch of a turned profile, of one material; stretches meet in hard edges."""

    points: tuple[tuple[float, float], ...]
    """Distance from the axis and height, from the bottom up along the outside."""
    material: Material


@dataclass(frozen=True, kw_only=True)
class Turned:
    """A profile turned about the z axis; it begins and ends on the axis and may be hollow."""

    stretches: tuple[Stretch, ...]

    def solid(self) -> Solid:
        """Its mesh: one band of triangles per step of the profile."""
        profile = np.array([point for run in self.stretches for point in run.points])
        slopes = np.concatenate([_slopes(np.array(run.points)) for run in self.stretches])
        values = np.stack([profile, slopes])
        swept = np.empty((2, len(profile), TURNED_SEGMENTS, 3))
        swept[..., :2] = values[..., :1, None] * _CIRCLE
        swept[..., 2] = values[..., 1:]
        verts, normals = swept.reshape(2, -1, 3)
        lengths = tuple(len(run.points) for run in self.stretches)
        counts = np.array(lengths) * TURNED_SEGMENTS
        return Solid(
            verts=verts,
            faces=_run_faces(lengths, tuple((profile[:, 0] == 0.0).tolist()), TURNED_SEGMENTS),
            normals=normals,
            tone=np.repeat(
                np.array([r.material.tone for r in self.stretches], np.float32), counts, 0
            ),
            gloss=np.repeat(
                np.array([r.material.gloss for r in self.stretches], np.float32), counts
            ),
        )

    def distance_m(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Distance to the profile in the half plane of each point."""
        out = np.empty(len(points))
        profile = np.array([point for run in self.stretches for point in run.points])
        _turned(points, profile, out)
        return out


_TURN = np.arange(TURNED_SEGMENTS) * (2 * np.pi / TURNED_SEGMENTS)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def _slopes(profile: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
    """Unit normals of a smooth stretch of a profile, to the right of the way along it."""
    step = unit(np.insert(np.diff(profile, axis=0), 1, 0.0, axis=1))
    slope = np.stack([step[:, 2], step[:, 1], -step[:, 0]], 1)
    slope = unit(np.concatenate([slope[:1], slope]) + np.concatenate([slope, slope[-1:]]))
    slope = slope[:, [0, 2]]
    for end in (0, -1):
        if profile[end, 0] == 0.0 and len(profile) > 2:
            slope[end] = [0.0, np.sign(slope[end, 1])]  # a smooth pole
    return slope


@lru_cache(maxsize=256)
def _run_faces(
    lengths: tuple[int, ...], is_point: tuple[bool, ...], columns: int
) -> Int[np.ndarray, "faces 3"]:
    """Of stretches of so many rows, each row a circle of so many vertices or shrunk to a point."""
    faces = _grid_faces(len(is_point), columns, closed_rows=False)
    lasts = np.cumsum(lengths) - 1
    row = faces[:, 0] // columns  # the lower one, in both triangles of a cell
    faces = faces[~np.isin(row, lasts)]
    lost_edge = np.repeat(is_point, columns)[faces].sum(1) >= 2
    faces = faces[~lost_edge]
    faces.flags.writeable = False  # it is handed out again
    return faces


def _grid_faces(rows: int, columns: int, *, closed_rows: bool) -> Int[np.ndarray, "faces 3"]:
    """Triangles of a grid whose columns close to a circle; of a ring if the rows do so, too."""
    row, column = np.indices((rows if closed_rows else rows - 1, columns)).reshape(2, -1)
    above, right = (row + 1) % rows, (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = above * columns + right, above * columns + column
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A round bar bent along a path, closed to a ring or with flat ends."""

    path: tuple[tuple[float, float, float], ...]
    radius: float
    is_ring: bool
    material: Material

    def solid(self) -> Solid:
        """Its mesh: circles across the path, and flat ends."""
        path = np.array(self.path)
        ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
        if not self.is_ring:
            ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
        ahead = unit(ahead)
        side, up = _frames(ahead)
        turn = np.arange(BAR_SEGMENTS)[:, None] * (2 * np.pi / BAR_SEGMENTS)
        normals = np.cos(turn) * side[:, None] + np.sin(turn) * up[:, None]
        verts = path[:, None] + self.radius * normals
        if self.is_ring:
            faces = _grid_faces(len(path), BAR_SEGMENTS, closed_rows=True)
        else:
            first, last = (np.broadcast_to(path[k], verts[0].shape) for k in (0, -1))
            verts = np.stack([first, verts[0], *verts, verts[-1], last])
            back, on = (np.broadcast_to(v, first.shape) for v in (-ahead[0], ahead[-1]))
            normals = np.stack([back, back, *normals, on, on])
            is_point = (True, *(False,) * (len(path) + 2), True)
            faces = _run_faces((2, len(path), 2), is_point, BAR_SEGMENTS)
        return _painted(verts.reshape(-1, 3), faces, normals.reshape(-1, 3), self.material)

    def distance_m(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Distance to the path less the radius."""
        path = np.array(self.path)
        out = np.empty(len(points))
        _barred(points, np.concatenate([path, path[:1]]) if self.is_ring else path, out)
        return out - self.radius


def _frames(
    ahead: Float[np.ndarray, "points 3"],
) -> tuple[Float[np.ndarray, "points 3"], Float[np.ndarray, "points 3"]]:
    """Two axes across a path, carried along it with the least turn."""
    side = np.empty_like(ahead)
    side[0] = unit(np.cross(ahead[0], np.eye(3)[np.argmin(np.abs(ahead[0]))]))
    for k, (_, here) in enumerate(pairwise(ahead), 1):
        side[k] = unit(side[k - 1] - side[k - 1] @ here * here)
    return side, np.cross(ahead, side)


Shape = Box | Turned | Bar
"""A solid by its description, in the frame of the thing that it is part of."""


def distance_m(
    shapes: Sequence[Shape], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, " points"]:
    """Distance of points to the nearest of several shapes, negative inside one."""
    return np.min([shape.distance_m(points) for shape in shapes], 0)


@compiled
def _boxed(points, half, bevel, out):
    """Distances (P,) of points (P, 3) to a rounded box about the origin."""
    for i in range(len(points)):
        squares, deepest = 0.0, -np.inf
        for axis in range(3):
            beyond = abs(points[i, axis]) - half[axis] + bevel
            deepest = max(deepest, beyond)
            squares += max(beyond, 0.0) ** 2
        out[i] = np.sqrt(squares) + min(deepest, 0.0) - bevel


@compiled
def _turned(points, profile, out):
    """Distances (P,) of points (P, 3) to a profile (S, 2) of radius and z; even-odd inside."""
    for i in range(len(points)):
        r, z = np.sqrt(points[i, 0] ** 2 + points[i, 1] ** 2), points[i, 2]
        nearest, inside = np.inf, False
        for k in range(len(profile) - 1):
            ar, az = profile[k]
            sr, sz = profile[k + 1, 0] - ar, profile[k + 1, 1] - az
            length2 = sr * sr + sz * sz
            if length2 == 0.0:
                continue
            t = min(max(((r - ar) * sr + (z - az) * sz) / length2, 0.0), 1.0)
            nearest = min(nearest, (r - ar - t * sr) ** 2 + (z - az - t * sz) ** 2)
            if (az <= z) != (az + sz <= z) and ar + (z - az) / sz * sr > r:
                inside = not inside
        out[i] = -np.sqrt(nearest) if inside else np.sqrt(nearest)


@compiled
def _barred(points, path, out):
    """Distances (P,) of points (P, 3) to a path (S, 3) of straight steps."""
    for i in range(len(points)):
        nearest = np.inf
        for k in range(len(path) - 1):
            dot, length2 = 0.0, 0.0
            for axis in range(3):
                step = path[k + 1, axis] - path[k, axis]
                dot += (points[i, axis] - path[k, axis]) * step
                length2 += step * step
            t = min(max(dot / length2, 0.0), 1.0)
            square = 0.0
            for axis in range(3):
                here = path[k, axis] + t * (path[k + 1, axis] - path[k, axis])
                square += (points[i, axis] - here) ** 2
            nearest = min(nearest, square)
        out[i] = np.sqrt(nearest)
