"""Triangle meshes as surfaces: normals, and the nearest point of a surface."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_NEAR = 3
"""Vertices near a point whose triangles are looked at for its nearest point."""
ON_EDGE = 1e-6
"""Weight of a corner below which a point lies on the edge opposite to it."""


@dataclass(frozen=True, kw_only=True)
class Feet:
    """The nearest point of a surface, for each of some points."""

    face: Int[Tensor, " points"]
    weights: Float[Tensor, "points 3"]
    """Of the triangle's corners; none negative, together one."""
    on_border: Bool[Tensor, " points"]
    """The surface ends there, so a point beyond the end has its nearest point here, too."""


@dataclass(frozen=True)
class Surface:
    """The triangles of a mesh whose vertices may move."""

    faces: Int[Tensor, "faces 3"]
    num_verts: int

    def normals(self, verts: Float[Tensor, "verts 3"]) -> Float[Tensor, "verts 3"]:
        """Unit normals at the vertices, weighted by area, outward by the right-hand rule."""
        a, b, c = verts[self.faces].unbind(1)
        each = torch.linalg.cross(b - a, c - a)
        summed = torch.zeros_like(verts)
        for corner in self.faces.unbind(1):
            summed.index_add_(0, corner, each)
        return torch.nn.functional.normalize(summed, dim=-1)

    @cached_property
    def edges(self) -> Int[Tensor, "edges 2"]:
        """Each edge once."""
        return self._edges_and_counts[0]

    @cached_property
    def _edges_and_counts(self) -> tuple[Int[Tensor, "edges 2"], Int[Tensor, " edges"]]:
        a, b, c = self.faces.unbind(1)
        sides = torch.cat((torch.stack((a, b), 1), torch.stack((b, c), 1), torch.stack((c, a), 1)))
        return torch.unique(sides.sort(1).values, dim=0, return_counts=True)

    @cached_property
    def _opposite_is_border(self) -> Bool[Tensor, "faces 3"]:
        """Whether the edge opposite to each corner is on the border."""
        edges, counts = self._edges_and_counts
        border = {tuple(edge) for edge in edges[counts == 1].tolist()}
        opposite = [
            [tuple(sorted(pair)) in border for pair in ((b, c), (c, a), (a, b))]
            for a, b, c in self.faces.tolist()
        ]
        return torch.tensor(opposite)

    @cached_property
    def _faces_of(self) -> Int[Tensor, "verts most"]:
        """Triangles at each vertex; the last are repeated where there are fewer."""
        own: list[list[int]] = [[] for _ in range(self.num_verts)]
        for k, face in enumerate(self.faces.tolist()):
            for v in face:
                own[v].append(k)
        most = max(map(len, own))
        filled = [faces or [0] for faces in own]
        return torch.tensor([faces + faces[-1:] * (most - len(faces)) for faces in filled])

    def feet(self, points: Float[Tensor, "points 3"], verts: Float[Tensor, "verts 3"]) -> Feet:
        """The nearest point of the surface, looked for in triangles near the nearest vertices."""
        near = torch.cdist(points, verts).topk(NUM_NEAR, largest=False).indices
        candidates = self._faces_of[near].flatten(1)
        corners = verts.mT.contiguous()[:, self.faces.mT[:, candidates]].transpose(0, 1)
        weights, distance2 = _nearest_weights(points.mT, corners)
        best = distance2.argmin(1)
        rows = torch.arange(len(points))
        face, weights = candidates[rows, best], weights[:, rows, best].mT
        on_border = ((weights < ON_EDGE) & self._opposite_is_border[face]).any(1)
        return Feet(face=face, weights=weights, on_border=on_border)

    def corners(self) -> Feet:
        """The vertices themselves, each as a corner of a triangle."""
        face = self._faces_of[:, 0]
        own = self.faces[face] == torch.arange(self.num_verts)[:, None]
        nowhere = torch.zeros(self.num_verts, dtype=torch.bool)
        return Feet(face=face, weights=own.double(), on_border=nowhere)

    def at(
        self, feet: Feet, values: Float[Tensor, "*batch verts 3"]
    ) -> Float[Tensor, "*batch points 3"]:
        """Values given at the vertices, at the feet."""
        corners = values[..., self.faces[feet.face], :]
        return (feet.weights[..., None] * corners).sum(-2)

    def matrix(self, feet: Feet) -> Float[Tensor, "points verts"]:
        """The feet as weights of all vertices."""
        out = torch.zeros(len(feet.face), self.num_verts, dtype=feet.weights.dtype)
        return out.scatter_add(1, self.faces[feet.face], feet.weights)


def _nearest_weights(
    points: Float[Tensor, "3 points"], corners: Float[Tensor, "3 3 points candidates"]
) -> tuple[Float[Tensor, "3 points candidates"], Float[Tensor, "points candidates"]]:
    """Weights of triangles' corners at the point of each that is nearest to a point.

    Args:
        points: By coordinate.
        corners: By corner and coordinate.

    Returns:
        The weights, and the squared distances.
    """
    a, b, c = corners
    start = points[..., None] - a
    ab, ac = b - a, c - a
    d00, d01, d11 = (ab * ab).sum(0), (ab * ac).sum(0), (ac * ac).sum(0)
    d20, d21 = (start * ab).sum(0), (start * ac).sum(0)
    area = (d00 * d11 - d01 * d01).clamp_min(1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    weights = torch.stack((1 - v - w, v, w))
    off = (start - v * ab - w * ac).square().sum(0)
    off = torch.where((weights >= 0).all(0), off, torch.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        side, from_end = corners[j] - corners[i], points[..., None] - corners[i]
        along = (from_end * side).sum(0) / (side * side).sum(0).clamp_min(1e-30)
        along = along.clamp(0, 1)
        distance = (from_end - along * side).square().sum(0)
        nearer = distance < off
        off = torch.where(nearer, distance, off)
        zero = torch.zeros_like(along)
        on_edge = [zero, zero, zero]
        on_edge[i], on_edge[j] = 1 - along, along
        weights = torch.where(nearer, torch.stack(on_edge), weights)
    return weights, off
