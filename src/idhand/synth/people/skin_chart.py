"""Mesh colours of the hand's skin, and the coordinates in which skin is painted.

Every triangle carries a regular grid of texels (Yuksel et al., "Mesh Colors", 2010); texels on a
shared edge are one point of skin, so that there are no seams. Metres, the model's rest frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.people.body import INDEX, AnatomicalFrame, smooth_step, unit
from idhand.synth.people.body import vertex_normals as normals_of

RESOLUTION = 10
"""Intervals along each edge of a triangle: about 0.6 mm on the hand."""
NUM_TEXELS = (RESOLUTION + 1) * (RESOLUTION + 2) // 2
NUM_FINGERS = 5


def texel_index(i: int, j: int) -> int:
    """Place of a texel among those of its triangle: row after row of equal `j`.

    Args:
        i: Steps towards the triangle's second corner.
        j: Steps towards its third corner; i + j ≤ RESOLUTION.
    """
    return j * (RESOLUTION + 1) - j * (j - 1) // 2 + i


def texel_steps() -> Int[np.ndarray, "texels 2"]:
    """Steps (i, j) of each texel, in the order of `texel_index`."""
    n = RESOLUTION
    return np.array([(i, j) for j in range(n + 1) for i in range(n + 1 - j)])


def texel_weights() -> Float[np.ndarray, "texels 3"]:
    """Weights of the triangle's corners at each texel."""
    i, j = texel_steps().T
    return np.stack([RESOLUTION - i - j, i, j], 1) / RESOLUTION


@dataclass(frozen=True, kw_only=True)
class SkinChart:
    """All coordinates in which skin is painted, at every point of skin."""

    point: Int[np.ndarray, "faces texels"]
    """The point of skin at each texel; neighbours share those on their edge."""
    sides: Float[np.ndarray, "faces 2 3"]
    """From each triangle's first corner to the others, metres."""
    position: Float[np.ndarray, "points 3"]
    """Across (to the thumb), along (to the fingers), palmar; from the wrist joint."""
    dorsal: Float[np.ndarray, " points"]
    """−1 on pads and palm … 1 on nails and the back of the hand, from the normal."""
    finger: Int[np.ndarray, " points"]
    """0 thumb … 4 little finger: the one that the point belongs to, if to any."""
    own: Float[np.ndarray, " points"]
    """How surely it does; zero wherever `finger` changes."""
    axial: Float[np.ndarray, "points 3"]
    """Along each bone of that finger from its joint; the thumb's first is its metacarpal."""
    side: Float[np.ndarray, "points 3"]
    """Sideways from each bone."""
    back: Float[np.ndarray, "points 3"]
    """Above each bone, away from the pad."""
    arm: Float[np.ndarray, " points"]
    """How far below the wrist, zero above it."""
    texel: Float[np.ndarray, " points"]
    """Local distance of the texels: nothing finer can be painted."""
    bone_lengths: Float[np.ndarray, "fingers 3"]
    knuckles: Float[np.ndarray, "4 3"]
    """Index to little finger, like `position`."""
    palm_middle: float
    """Across, midway between the knuckles of index and little finger."""
    palm_half: float
    """Half of the distance between these knuckles."""
    palm_length: float
    """From the wrist to the middle finger's knuckle."""

    @staticmethod
    def of(
        rest_verts: Float[np.ndarray, "verts 3"],
        faces: Int[np.ndarray, "faces 3"],
        skinning: Float[np.ndarray, "verts 16"],
        joints: Float[np.ndarray, "16 3"],
        tips: Float[np.ndarray, "5 3"],
        palmar_of_finger: Float[np.ndarray, "5 3"],
    ) -> "SkinChart":
        """Chart of a hand at rest with its forearm.

        Args:
            rest_verts: Metres.
            faces: Triangles, wound so that normals point outward.
            skinning: Rows sum to one.
            joints: At rest, metres.
            tips: Of the five fingers, on the skin.
            palmar_of_finger: Unit, where the pads of each finger look.
        """
        frame = AnatomicalFrame.of(joints)
        axes = np.stack([frame.across, frame.along, frame.palmar], 1)
        point, first = _welded(faces, len(rest_verts))
        face, texel = np.divmod(first, NUM_TEXELS)
        corner_weights, corners = texel_weights()[texel], faces[face]

        def at_points(values: Float[np.ndarray, "verts columns"]) -> Float[np.ndarray, "p columns"]:
            return np.einsum("pk,pkc->pc", corner_weights, values[corners])

        local = at_points((rest_verts - joints[0]) @ axes)
        normal = unit(at_points(normals_of(rest_verts, faces)))
        knuckles = (joints[INDEX::3] - joints[0]) @ axes
        finger, own = _belonging(at_points(skinning))
        bones = _bones(joints, tips, palmar_of_finger)
        offset = (local @ axes.T + joints[0])[:, None] - bones.start[finger]

        def along(axis: Float[np.ndarray, "fingers 3 3"]) -> Float[np.ndarray, "points 3"]:
            return np.einsum("pka,pka->pk", offset, axis[finger]).astype(np.float32)

        of_finger = -np.einsum("pa,pa->p", normal, bones.inward[:, 1:].mean(1)[finger])
        of_hand = -normal @ frame.palmar
        texel_m = at_points(_edge_lengths(rest_verts, faces)[:, None])[:, 0] / RESOLUTION
        return SkinChart(
            point=point,
            sides=(rest_verts[faces[:, 1:]] - rest_verts[faces[:, :1]]) @ axes,
            position=local.astype(np.float32),
            dorsal=(of_hand + own * (of_finger - of_hand)).astype(np.float32),
            finger=finger,
            own=own.astype(np.float32),
            axial=along(bones.along),
            side=along(bones.sideways),
            back=-along(bones.inward),
            arm=np.maximum(-local[:, 1], 0.0).astype(np.float32),
            texel=texel_m.astype(np.float32),
            bone_lengths=bones.lengths,
            knuckles=knuckles,
            palm_middle=float(knuckles[[0, -1], 0].mean()),
            palm_half=float(knuckles[0, 0] - knuckles[-1, 0]) / 2,
            palm_length=float(knuckles[1, 1]),
        )


def _belonging(
    skinning: Float[np.ndarray, "points 16"],
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Which finger each point belongs to, and how surely: not at all where two are level."""
    carried = skinning[:, 1:].reshape(-1, NUM_FINGERS, 3).sum(2)
    second, first = np.sort(carried, 1)[:, -2:].T
    own = smooth_step(first, 0.3, 0.7) * smooth_step(first - second, 0.0, 0.25)
    return carried.argmax(1).astype(np.int8), own


@dataclass(frozen=True, kw_only=True)
class _Bones:
    """Axes of the three bones of each finger; rest frame, metres."""

    start: Float[np.ndarray, "fingers 3 3"]
    along: Float[np.ndarray, "fingers 3 3"]
    inward: Float[np.ndarray, "fingers 3 3"]
    """Towards the pads."""
    sideways: Float[np.ndarray, "fingers 3 3"]
    lengths: Float[np.ndarray, "fingers 3"]


def _bones(
    joints: Float[np.ndarray, "16 3"],
    tips: Float[np.ndarray, "5 3"],
    palmar_of_finger: Float[np.ndarray, "5 3"],
) -> _Bones:
    chains = np.concatenate([joints[1:].reshape(NUM_FINGERS, 3, 3), tips[:, None]], 1)
    steps = np.diff(chains, axis=1)
    along = unit(steps)
    palmar = palmar_of_finger[:, None]
    inward = unit(palmar - (along * palmar).sum(-1, keepdims=True) * along)
    return _Bones(
        start=chains[:, :3],
        along=along,
        inward=inward,
        sideways=np.cross(along, inward),
        lengths=np.linalg.norm(steps, axis=-1),
    )


def _edge_lengths(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, " verts"]:
    """Mean length of the edges at each vertex, metres."""
    lengths = np.linalg.norm(verts[faces] - verts[np.roll(faces, 1, 1)], axis=-1)
    both = (lengths + np.roll(lengths, -1, 1)) / 2
    total = np.bincount(faces.ravel(), both.ravel(), len(verts))
    return total / np.maximum(np.bincount(faces.ravel(), minlength=len(verts)), 1)


def _welded(
    faces: Int[np.ndarray, "faces 3"], num_verts: int
) -> tuple[Int[np.ndarray, "faces texels"], Int[np.ndarray, " points"]]:
    """The point of skin at each texel, and for each point one texel (flat index) where it lies.

    Points are numbered: those at vertices, those on edges, those inside triangles.
    """
    i, j = texel_steps().T
    steps = np.stack([RESOLUTION - i - j, i, j], 1)
    sides = np.stack([faces, np.roll(faces, -1, 1)], -1)
    edges, edge = np.unique(np.sort(sides, -1).reshape(-1, 2), axis=0, return_inverse=True)
    edge = edge.reshape(-1, 3)
    on_edge = RESOLUTION - 1
    point = np.empty((len(faces), NUM_TEXELS), np.int64)
    for k in range(3):
        other = (k + 1) % 3
        here = np.flatnonzero((steps[:, (k + 2) % 3] == 0) & (steps[:, k] > 0))
        from_start, from_end = steps[here, other], steps[here, k]
        forward = (faces[:, k] < faces[:, other])[:, None]
        place = np.where(forward, from_start, from_end) - 1
        point[:, here] = num_verts + edge[:, k, None] * on_edge + place
    for k in range(3):
        point[:, np.flatnonzero(steps[:, k] == RESOLUTION)[0]] = faces[:, k]
    inner = np.flatnonzero((steps > 0).all(1))
    first_inner = num_verts + len(edges) * on_edge
    point[:, inner] = first_inner + np.arange(len(faces) * len(inner)).reshape(len(faces), -1)
    used, first, where = np.unique(point, return_index=True, return_inverse=True)
    assert len(used) <= first_inner + len(faces) * len(inner)
    return where.reshape(point.shape), first
