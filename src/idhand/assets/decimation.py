"""A finer mesh → a coarser one by half-edge collapses: its vertices are some of the finer one's.

What is known of the finer mesh vertex by vertex (weights, shape bases) thus holds for the coarser
one. Source of the cost: Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics",
1997, with planes across the border that hold it in place.
"""

import heapq
from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Int

BORDER_WEIGHT = 10.0
"""Of the planes that stand on the border, over those of the triangles."""
EVENNESS = 3e-3
"""Weight of an edge's squared length beside the squared distances to planes: where a surface is
flat, short edges collapse first."""
LEAST_COSINE = 0.25
"""Between the normals of a triangle before and after a collapse."""
LEAST_QUALITY = 0.3
"""Of the triangles that a collapse makes: 4 √3 area over the sum of squared sides; 1 is even. One
that improves the worst triangle is allowed all the same."""


def collapsed(
    verts: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    num_verts: int,
    num_border: int,
    kept: Collection[int] = (),
) -> tuple[Int[np.ndarray, " left"], Int[np.ndarray, "coarser 3"]]:
    """Remove vertices one by one, the least important first; the topology stays as it is.

    Args:
        verts: Of one surface.
        faces: Each edge in one or two of them, wound alike.
        num_verts: To be left.
        num_border: Edges to be left on the border.
        kept: Vertices that must stay.

    Returns:
        Which vertices are left, in their order, and the triangles between them.

    Raises:
        ValueError: If so many cannot be removed.
    """
    mesh = _Mesh(verts, faces, set(kept))
    mesh.collapse(lambda: len(mesh.border) - num_border, only_border=True)
    mesh.collapse(lambda: len(mesh.around) - num_verts, only_border=False)
    left = np.array(sorted(mesh.around))
    place = {v: k for k, v in enumerate(left.tolist())}
    return left, np.array([[place[v] for v in mesh.faces[f]] for f in sorted(mesh.faces)])


class _Mesh:
    """A mesh that gets coarser."""

    def __init__(
        self,
        verts: Float[np.ndarray, "verts 3"],
        faces: Int[np.ndarray, "faces 3"],
        kept: set[int],
    ):
        self.verts, self.kept = verts, kept
        self.homogeneous = np.concatenate([verts, np.ones_like(verts[:, :1])], 1)
        self.faces: dict[int, tuple[int, ...]] = dict(enumerate(map(tuple, faces.tolist())))
        self.around: dict[int, set[int]] = {}
        """Triangles at each vertex that is left."""
        for f, face in self.faces.items():
            for v in face:
                self.around.setdefault(v, set()).add(f)
        half = {(a, b) for face in self.faces.values() for a, b in _sides(face)}
        self.border = {a: b for a, b in half if (b, a) not in half}
        """The next vertex of each vertex on the border."""
        self.quadrics = self._planes(verts, faces)

    def _planes(
        self, verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
    ) -> Float[np.ndarray, "verts 4 4"]:
        """At each vertex the sum of its triangles' and border planes' quadrics."""
        a, b, c = verts[faces].swapaxes(0, 1)
        normals = np.cross(b - a, c - a)
        area = np.linalg.norm(normals, axis=1)
        normals /= area[:, None]
        out = np.zeros((len(verts), 4, 4))
        planes = np.concatenate([normals, -(normals * a).sum(1, keepdims=True)], 1)
        quadrics = area[:, None, None] * planes[:, :, None] * planes[:, None]
        for corner in range(3):
            np.add.at(out, faces[:, corner], quadrics)
        for k, face in enumerate(faces.tolist()):
            for i, j in _sides(face):
                if self.border.get(i) == j:
                    edge = verts[j] - verts[i]
                    across = np.cross(edge, normals[k])
                    across /= np.linalg.norm(across)
                    plane = np.append(across, -across @ verts[i])
                    weight = BORDER_WEIGHT * (edge @ edge)
                    out[[i, j]] += weight * plane[:, None] * plane
        return out

    def collapse(self, num_left, *, only_border: bool) -> None:
        """Collapse half-edges until `num_left()` is zero.

        Raises:
            ValueError: If there are not enough that may collapse.
        """
        heap = [entry for v in self.around for entry in self._candidates(v, only_border)]
        heapq.heapify(heap)
        while num_left() > 0:
            if not heap:
                raise ValueError(
                    f"{num_left()} vertices too many are left, and no edge may collapse any more; "
                    "keep more vertices"
                )
            cost, gone, stays = heapq.heappop(heap)
            is_stale = gone not in self.around or stays not in self._ring(gone)
            if is_stale or cost != self._cost(gone, stays) or not self._may_collapse(gone, stays):
                continue
            for v in self._remove(gone, stays):
                for entry in self._candidates(v, only_border):
                    heapq.heappush(heap, entry)

    def _candidates(self, gone: int, only_border: bool) -> list[tuple[float, int, int]]:
        """Ways to remove a vertex, with their costs."""
        if gone in self.kept or (gone in self.border) != only_border:
            return []
        ends = self._ring(gone)
        if only_border:
            ends = {v for v in ends if self.border.get(gone) == v or self.border.get(v) == gone}
        return [(self._cost(gone, v), gone, v) for v in ends]

    def _ring(self, v: int) -> set[int]:
        return {w for f in self.around[v] for w in self.faces[f]} - {v}

    def _cost(self, gone: int, stays: int) -> float:
        quadric = self.quadrics[gone] + self.quadrics[stays]
        at = self.homogeneous[stays]
        step = at - self.homogeneous[gone]
        area = quadric[0, 0] + quadric[1, 1] + quadric[2, 2]
        return float(at @ quadric @ at + EVENNESS * area * (step @ step))

    def _may_collapse(self, gone: int, stays: int) -> bool:
        """Whether the surface stays one and no triangle turns over or gets too thin."""
        shared = self.around[gone] & self.around[stays]
        if len(self._ring(gone) & self._ring(stays)) != len(shared):
            return False
        if gone in self.border and len(shared) != 1:
            return False
        changed = [self.faces[f] for f in self.around[gone] - shared]
        before = self.verts[np.array(changed)]
        after = self.verts[np.array([[stays if v == gone else v for v in f] for f in changed])]
        (old, old_quality), (new, new_quality) = _normals(before), _normals(after)
        worst = min(old_quality.min(), LEAST_QUALITY)
        return bool(((old * new).sum(1) > LEAST_COSINE).all() and (new_quality >= worst).all())

    def _remove(self, gone: int, stays: int) -> set[int]:
        """Collapse; the vertices whose edges may now have other costs, or may collapse at last."""
        ring = self._ring(gone)
        for f in self.around.pop(gone):
            if stays in self.faces[f]:
                for v in self.faces.pop(f):
                    if v != gone:
                        self.around[v].discard(f)
            else:
                self.faces[f] = tuple(stays if v == gone else v for v in self.faces[f])
                self.around[stays].add(f)
        if gone in self.border:
            before = next(v for v, after in self.border.items() if after == gone)
            after = self.border.pop(gone)
            self.border[before] = stays if before != stays else after
        self.quadrics[stays] += self.quadrics[gone]
        return ring | self._ring(stays)


def _sides(face) -> tuple[tuple[int, int], ...]:
    a, b, c = face
    return (a, b), (b, c), (c, a)


def _normals(
    triangles: Float[np.ndarray, "faces 3 3"],
) -> tuple[Float[np.ndarray, "faces 3"], Float[np.ndarray, " faces"]]:
    """Unit normals, and how even the triangles are."""
    a, b, c = triangles.swapaxes(0, 1)
    cross = np.cross(b - a, c - a)
    double = np.linalg.norm(cross, axis=1)
    squares = ((triangles - np.roll(triangles, 1, 1)) ** 2).sum((1, 2))
    return cross / (double[:, None] + 1e-30), 2 * 3**0.5 * double / squares
