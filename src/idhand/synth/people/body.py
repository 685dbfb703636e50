"""The mesh that is photographed: a posed hand made finer, with a forearm and perhaps a sleeve.

Metres. The forearm is lofted from the hand's wrist; everything follows the hand's own vertices, so
the picture shows exactly the mesh that the truth speaks of.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from idhand.hand import FittableHand, PosedHand
from idhand.records import FLIP, FOREARM_PART
from idhand.synth.compiled import compiled

INDEX, MIDDLE, LITTLE = 4, 7, 13
"""First joint of each of these fingers."""

FOREARM_RINGS_M = (0.006, 0.014, 0.024, 0.037, 0.053, 0.075, 0.105, 0.145, 0.195, 0.25, 0.30)
"""Distance of the lofted rings from the end of the model's stub."""

_CHILDREN = np.array(
    [
        [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]],
        [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]],
        [[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]],
        [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]],
    ]
)
CHILD_WEIGHTS = np.concatenate([_CHILDREN, _CHILDREN[:, [0, 2, 1]]])
"""Corners of a triangle's four parts, as weights of the triangle's own corners; then the same for
parts with their last two corners exchanged, as in a mirrored hand."""

PHONG_SHARE = 0.75
"""How far new vertices go to the tangent planes. Source: Boubekeur and Alexa, "Phong
Tessellation", 2008, section 4."""


def unit(v: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Vectors scaled to length one."""
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)


def smooth_step(
    x: Float[np.ndarray, "*batch"], low: float, high: float
) -> Float[np.ndarray, "*batch"]:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def rotation_about(
    axis: Float[np.ndarray, " 3"] | tuple[float, float, float], angle: float
) -> Float[np.ndarray, "3 3"]:
    """Rotation matrix of an axis and an angle in radians."""
    x, y, z = unit(np.asarray(axis, np.float64)).tolist()
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


@dataclass(frozen=True, kw_only=True)
class AnatomicalFrame:
    """Axes of a right hand at rest: across (to the thumb), along (to the fingers), palmar."""

    across: Float[np.ndarray, " 3"]
    along: Float[np.ndarray, " 3"]
    palmar: Float[np.ndarray, " 3"]

    @staticmethod
    def of(joints: Float[np.ndarray, "16 3"]) -> "AnatomicalFrame":
        """From the joints at rest."""
        along = unit(joints[MIDDLE] - joints[0])
        across = joints[INDEX] - joints[LITTLE]
        across = unit(across - across @ along * along)
        return AnatomicalFrame(across=across, along=along, palmar=np.cross(across, along))

    def coordinates(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Points → (across, along, palmar)."""
        return points @ np.stack([self.across, self.along, self.palmar], 1)

    def points(self, coordinates: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """(across, along, palmar) → points."""
        return coordinates @ np.stack([self.across, self.along, self.palmar])


def open_at_wrist(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"], frame: AnatomicalFrame
) -> tuple[Int[np.ndarray, "kept 3"], Int[np.ndarray, " loop"]]:
    """Drop the flat cap of the forearm stub: the other faces, and the border's loop."""
    normals = np.cross(
        verts[faces[:, 1]] - verts[faces[:, 0]], verts[faces[:, 2]] - verts[faces[:, 0]]
    )
    heights = (verts @ frame.along)[faces].mean(1)
    low = heights < heights.min() + 0.012
    is_cap = low & (unit(normals) @ frame.along < -0.75)
    kept = faces[~is_cap]
    half = {(int(a), int(b)) for f in kept for a, b in zip(f, np.roll(f, -1), strict=True)}
    after = {a: b for a, b in half if (b, a) not in half}
    loop = [min(after)]
    while after[loop[-1]] != loop[0]:
        loop.append(after[loop[-1]])
    assert len(loop) == len(after), "the wrist has more than one border"
    return kept, np.array(loop)


def ring_faces(
    loop: Int[np.ndarray, " loop"], first_new: int, num_rings: int
) -> Int[np.ndarray, "faces 3"]:
    """Triangles between a border's loop and the rings lofted from it, which follow `first_new`."""
    rings = [np.asarray(loop)]
    rings += [first_new + k * len(loop) + np.arange(len(loop)) for k in range(num_rings)]
    faces = []
    for upper, lower in itertools.pairwise(rings):
        u, v = np.roll(upper, -1), np.roll(lower, -1)
        faces += [np.stack([upper, lower, u], 1), np.stack([u, lower, v], 1)]
    return np.concatenate(faces)


def _turns_about(axis: int, angles: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotations by several angles about one coordinate axis."""
    R = np.zeros((len(angles), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R[:, axis, axis] = 1.0
    R[:, i, i] = R[:, j, j] = np.cos(angles)
    R[:, j, i] = np.sin(angles)
    R[:, i, j] = -R[:, j, i]
    return R


def forearm_rings(
    loop_points: Float[np.ndarray, "loop 3"],
    frame: AnatomicalFrame,
    bend_rad: tuple[float, float] = (0.0, 0.0),
) -> Float[np.ndarray, "rings loop 3"]:
    """Loft the wrist's border into a forearm, at rest.

    Args:
        loop_points: The border of the stub.
        frame: Axes of the hand.
        bend_rad: Wrist flexion and deviation, as a turn of the forearm against the hand.
    """
    start = frame.coordinates(loop_points)
    centre = start.mean(0)
    offset = start - centre
    angle = np.arctan2(offset[:, 2], offset[:, 0])
    half = np.abs(offset).max(0)
    ellipse = np.stack([half[0] * np.cos(angle), 0 * angle, half[2] * np.sin(angle)], 1)
    pivot = centre + np.array([0, 0.012, 0])
    distance = np.array(FOREARM_RINGS_M)
    t = smooth_step(distance, 0.0, 0.06)[:, None, None]
    grown = smooth_step(distance, 0.02, 0.22)[:, None, None]
    section = offset * (1 - t) + ellipse * t
    growth = np.concatenate([1 + 0.38 * grown, 1 - t, 1 + 0.75 * grown], 2)
    down = np.stack([0 * distance, -distance, 0 * distance], 1)[:, None]
    straight = centre + down + section * growth - pivot
    share = smooth_step(distance, -0.012, 0.05)
    flexed = _turns_about(0, bend_rad[0] * share)
    turns = flexed @ _turns_about(2, bend_rad[1] * share)
    return frame.points(straight @ turns.swapaxes(1, 2) + pivot)


@dataclass(frozen=True, kw_only=True)
class SkinMesh:
    """A body's surface in the camera frame, each triangle of the coarse mesh in four parts."""

    coarse_cam: Float[np.ndarray, "coarse 3"]
    """The hand model's own vertices that are seen, then the forearm's."""
    verts_cam: Float[np.ndarray, "verts 3"]
    """The coarse ones, then one on each edge."""
    normals: Float[np.ndarray, "verts 3"]
    """Unit, outward."""
    faces: Int[np.ndarray, "faces 3"]
    """Outward by the right-hand rule, also of left hands."""
    child: Int[np.ndarray, " faces"]
    """Which part of its coarse triangle each is: a row of `CHILD_WEIGHTS`."""
    rings_cam: Float[np.ndarray, "rings loop 3"]
    """The forearm, from the wrist's border on."""


class BodyTopology:
    """What is the same in all hands of one model: triangles, their parts, what belongs to what."""

    def __init__(self, model: FittableHand):
        """Open the model's wrist, add the forearm's rings, split every triangle in four."""
        template, joints = model.template.numpy(), model.joint_template.numpy()
        kept, self.loop = open_at_wrist(template, model.faces.numpy(), AnatomicalFrame.of(joints))
        self.used: Int[np.ndarray, " used"] = np.unique(kept)
        """The model's vertices that are seen."""
        place = np.full(len(template), -1)
        place[self.used] = np.arange(len(self.used))
        tube = ring_faces(place[self.loop], len(self.used), len(FOREARM_RINGS_M))
        self.coarse_faces = np.concatenate([place[kept], tube])
        self.num_coarse = len(self.used) + len(FOREARM_RINGS_M) * len(self.loop)
        self.skinning = np.zeros((self.num_coarse, 16))
        self.skinning[:, 0] = 1.0
        self.skinning[: len(self.used)] = model.skinning.numpy()[self.used]
        self.edges, self.faces = _split_in_four(self.coarse_faces, self.num_coarse)
        num = len(self.coarse_faces)
        self.parent_face = np.tile(np.arange(num), 4)
        self.child = np.repeat(np.arange(4), num)
        self.part: UInt8[np.ndarray, " faces"] = np.tile(self._parts(len(kept)), 4)
        """As in `Sample.parts`."""

    def _parts(self, num_hand_faces: int) -> UInt8[np.ndarray, " coarse_faces"]:
        """1–16 for the joint that carries most of a triangle, then the forearm."""
        carried = self.skinning[self.coarse_faces].sum(1).argmax(1) + 1
        carried[num_hand_faces:] = FOREARM_PART
        return carried.astype(np.uint8)

    def coarse_rest(
        self, rest_verts: Float[np.ndarray, "verts 3"], rest_joints: Float[np.ndarray, "16 3"]
    ) -> Float[np.ndarray, "coarse 3"]:
        """A hand at rest with its straight forearm: where skin is painted."""
        rings = forearm_rings(rest_verts[self.loop], AnatomicalFrame.of(rest_joints))
        return np.concatenate([rest_verts[self.used], rings.reshape(-1, 3)])

    def mesh(
        self,
        posed: PosedHand,
        R_cam_wrist: Float[np.ndarray, "3 3"],
        rest_verts: Float[np.ndarray, "verts 3"],
        rest_joints: Float[np.ndarray, "16 3"],
        *,
        bend_rad: tuple[float, float] = (0.0, 0.0),
        is_right: bool = True,
    ) -> SkinMesh:
        """The surface of a posed hand.

        Args:
            posed: In the camera frame; one hand, no batch. Of the right hand, also for left ones.
            R_cam_wrist: Orientation of its wrist.
            rest_verts: Of the same person, at rest.
            rest_joints: Of the same person, at rest.
            bend_rad: Flexion and deviation of the wrist.
            is_right: Otherwise everything is mirrored in x at the end.
        """
        shift = posed.joints[0].numpy() - R_cam_wrist @ rest_joints[0]
        loop = rest_verts[self.loop]
        rings = forearm_rings(loop, AnatomicalFrame.of(rest_joints), bend_rad)
        rings = np.concatenate([loop[None], rings]) @ R_cam_wrist.T + shift
        coarse = np.concatenate([posed.verts.numpy()[self.used], rings[1:].reshape(-1, 3)])
        sign = 1.0
        if not is_right:
            coarse, rings, sign = coarse * FLIP, rings * FLIP, -1.0
        coarse_normals = sign * vertex_normals(coarse, self.coarse_faces)
        verts = np.empty((self.num_coarse + len(self.edges), 3))
        verts[: self.num_coarse] = coarse
        _bulge(coarse, coarse_normals, self.edges, PHONG_SHARE, verts[self.num_coarse :])
        return SkinMesh(
            coarse_cam=coarse,
            verts_cam=verts,
            normals=sign * vertex_normals(verts, self.faces),
            faces=self.faces if is_right else self.faces[:, [0, 2, 1]],
            child=self.child if is_right else self.child + len(_CHILDREN),
            rings_cam=rings,
        )


def _split_in_four(
    faces: Int[np.ndarray, "faces 3"], num_verts: int
) -> tuple[Int[np.ndarray, "edges 2"], Int[np.ndarray, "finer 3"]]:
    """Edges, and the triangles of the finer mesh, whose new vertices lie on them in order."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, where = np.unique(np.sort(sides, 1), axis=0, return_inverse=True)
    ab, bc, ca = (num_verts + where.ravel()).reshape(3, -1)
    a, b, c = faces.T
    children = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return edges, np.concatenate([np.stack(child, 1) for child in children])


def vertex_normals(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """Unit normals, weighted by area, outward if the triangles are wound so."""
    out = np.zeros_like(verts)
    _add_normals(verts, faces, out)
    return out


@compiled
def _add_normals(verts, faces, out):
    """Sum the triangles' normals at their corners and scale them to one."""
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, vx = verts[j, 0] - verts[i, 0], verts[k, 0] - verts[i, 0]
        uy, vy = verts[j, 1] - verts[i, 1], verts[k, 1] - verts[i, 1]
        uz, vz = verts[j, 2] - verts[i, 2], verts[k, 2] - verts[i, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (i, j, k):
            out[corner, 0] += nx
            out[corner, 1] += ny
            out[corner, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + 1e-20
        for a in range(3):
            out[v, a] /= length


@compiled
def _bulge(verts, normals, edges, share, out):
    """Middle of each edge, moved towards the tangent planes of its ends."""
    for e in range(edges.shape[0]):
        i, j = edges[e, 0], edges[e, 1]
        down_i = down_j = 0.0
        for a in range(3):
            half = 0.5 * (verts[j, a] - verts[i, a])
            down_i += half * normals[i, a]
            down_j -= half * normals[j, a]
        for a in range(3):
            middle = 0.5 * (verts[i, a] + verts[j, a])
            lift = down_i * normals[i, a] + down_j * normals[j, a]
            out[e, a] = middle - 0.5 * share * lift


def pad_directions(model: FittableHand) -> Float[np.ndarray, "5 3"]:
    """Where the pads of thumb to little finger look at rest, from the axes they bend about."""
    space = model.pose_space
    joints = model.joint_template.numpy()
    tips = model.template[list(model.tip_verts)].numpy()
    out = []
    for f, name in enumerate(("thumb_ip", "index_pip", "middle_pip", "ring_pip", "little_pip")):
        k = space.names.index(f"{name}_flexion")
        j = int(space.joint[k])
        end = tips[0] if f == 0 else joints[j + 1]
        out.append(unit(np.cross(space.axis[k].numpy(), unit(end - joints[j]))))
    return np.stack(out)
