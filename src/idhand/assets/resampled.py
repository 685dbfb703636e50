"""The open hand at MANO's sizes, in MANO's form, for fixtures: MANO itself is not free.

Its geometry is the open hand's; nothing of it comes from a MANO file but what anybody may know of
the form: sizes, order of the joints, rest frame, numbers of the fingertips' vertices.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

from idhand.assets.decimation import collapsed
from idhand.assets.mano import MANO_JOINTS
from idhand.assets.mano_file import NUM_ANGLES, NUM_BETAS, NUM_VERTS, ManoFile
from idhand.assets.mano_reading import PARENTS
from idhand.assets.models import open_hand
from idhand.hand import FittableHand

NUM_BORDER = 16
"""Edges round the open wrist."""
OUR_JOINTS = tuple(np.argsort(MANO_JOINTS).tolist())
"""For each joint of MANO's, its place among ours: wrist, index, middle, little, ring, thumb."""
R_MANO_OPEN = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
"""The open hand's rest frame → MANO's: fingers to −x, palm to −y, thumb to +z."""
WRIST_MANO_M = np.array([0.096, 0.006, 0.006])
"""Where the wrist joint lies at rest: about 10 cm from the elbow's side of the body's frame."""
BETA_SIGNS = np.array([-1.0] + [1.0] * (NUM_BETAS - 1))
"""A larger first beta is a smaller hand, as in MANO; the other way round in the open hand."""
SPARE_DEVIATION_RAD = 0.06
"""About axes that the open hand's joints do not turn about, so that 45 components are needed."""
BULGE_M, STRETCH_M = 1.5e-3, 4e-4
"""What bending a joint by a right angle adds to the skin round it: outward, and along the bone."""
TIP_VERTS = ((745, 744), (317, 320, 333), (444, 443, 445), (556, 555, 554), (673, 672, 671))
"""Vertices at the five fingertips, thumb to little finger, that conventions about MANO name
(manopth, FreiHAND, CMR, smplx, METRO, Boukhayma): the first of each is the tip itself, then its
nearest neighbours."""
CAP_DEPTH_M, CAP_COSINE = 0.012, 0.75
"""The flat end of the open hand's forearm: so near to the end, facing so much away from it."""

_FLIP = np.array([-1.0, 1.0, 1.0])


def resampled_betas(betas: Float[np.ndarray, "*batch 16"]) -> Float[np.ndarray, "*batch 10"]:
    """The open hand's betas → the resampled hand's: exact for people of its first ten."""
    return betas[..., :NUM_BETAS] * BETA_SIGNS


def open_betas(betas: Float[np.ndarray, "*batch 10"]) -> Float[np.ndarray, "*batch 16"]:
    """The resampled hand's betas → the open hand's: the same hand."""
    rest = np.zeros((*betas.shape[:-1], open_hand().num_betas - NUM_BETAS))
    return np.concatenate([betas * BETA_SIGNS, rest], -1)


def resampled_hand(*, is_right: bool = True) -> ManoFile:
    """The open hand as a MANO file would hold it; the same object at every call.

    Vertices are some of the open hand's, among them all that its joints are regressed from, so
    joints and skin are the open hand's in every shape. The left hand is the mirror image, but for
    the fault of MANO's: its `shape_basis` lacks the change of sign in x. The first call takes half
    a second.
    """
    return _right() if is_right else _left()


def kept_verts() -> Int[np.ndarray, " 778"]:
    """Which vertex of the open hand each of the resampled right hand's is."""
    return _decimated()[0]


@cache
def _decimated() -> tuple[Int[np.ndarray, " 778"], Int[np.ndarray, "1538 3"]]:
    model = open_hand()
    verts = model.template.numpy()
    faces = _opened(model)
    assert len(np.unique(faces)) == len(verts), "the flat end has vertices of its own"
    needed = np.flatnonzero((model.joint_regressor.numpy() != 0).any(0))
    kept = {*needed.tolist(), *model.tip_verts}
    left, faces = collapsed(verts, faces, NUM_VERTS, NUM_BORDER, kept)
    order = _order(verts[left], [left.tolist().index(v) for v in model.tip_verts])
    place = np.empty(NUM_VERTS, np.int64)
    place[order] = np.arange(NUM_VERTS)
    return left[order], place[faces]


def _opened(model: FittableHand) -> Int[np.ndarray, "faces 3"]:
    """The open hand's triangles without the flat end of its forearm."""
    verts, faces = model.template.numpy(), model.faces.numpy()
    joints = model.joint_template.numpy()
    along = joints[7] - joints[0]
    along /= np.linalg.norm(along)
    a, b, c = verts[faces].swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    heights = (a + b + c) @ along / 3
    is_cap = (heights < heights.min() + CAP_DEPTH_M) & (normals @ along < -CAP_COSINE)
    return faces[~is_cap]


def _order(verts: Float[np.ndarray, "verts 3"], tips: list[int]) -> Int[np.ndarray, " verts"]:
    """An order of the vertices in which those at the fingertips have the usual numbers."""
    chosen: dict[int, int] = {}
    for tip, numbers in zip(tips, TIP_VERTS, strict=True):
        nearest = np.argsort(np.linalg.norm(verts - verts[tip], axis=1), kind="stable")
        chosen |= dict(zip(numbers, nearest.tolist(), strict=False))
    taken = set(chosen.values())
    others = iter([v for v in range(len(verts)) if v not in taken])
    return np.array([chosen[k] if k in chosen else next(others) for k in range(len(verts))])


@cache
def _right() -> ManoFile:
    model = open_hand()
    kept, faces = _decimated()
    joints = list(OUR_JOINTS)
    template = (model.template - model.joint_template[0]).numpy()[kept] @ R_MANO_OPEN.T
    template += WRIST_MANO_M
    basis = model.shape_basis.numpy()[kept, :, :NUM_BETAS] * BETA_SIGNS
    basis = np.einsum("ab,vbk->vak", R_MANO_OPEN, basis)
    skinning = _to_one(model.skinning.numpy()[kept][:, joints])
    regressor = _to_one(model.joint_regressor.numpy()[joints][:, kept])
    mean, components = _pose_space(model)
    return ManoFile(
        is_right=True,
        template=template,
        shape_basis=basis,
        pose_basis=_pose_basis(template, faces, skinning, regressor @ template),
        joint_regressor=regressor,
        skinning=skinning,
        faces=faces,
        pose_mean=mean,
        pose_components=components,
    )


def _to_one(rows: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Weights whose rows sum to one to the last digit, not only in single precision."""
    return rows / rows.sum(1, keepdims=True)


@cache
def _left() -> ManoFile:
    right = _right()
    turn = np.outer(_FLIP, _FLIP).ravel()
    vector = np.tile(-_FLIP, NUM_ANGLES // 3)
    return ManoFile(
        is_right=False,
        template=right.template * _FLIP,
        shape_basis=right.shape_basis,  # without the change of sign in x: the published fault
        pose_basis=right.pose_basis * _FLIP[:, None] * np.tile(turn, NUM_ANGLES // 3),
        joint_regressor=right.joint_regressor,
        skinning=right.skinning,
        faces=right.faces[:, [0, 2, 1]],
        pose_mean=right.pose_mean * vector,
        pose_components=right.pose_components * vector,
    )


def _pose_space(
    model: FittableHand,
) -> tuple[Float[np.ndarray, " 45"], Float[np.ndarray, "45 45"]]:
    """Mean rotation vectors, and components: the open hand's poses, about three axes a joint."""
    space = model.pose_space
    fingers = np.array(OUR_JOINTS[1:]) - 1
    axes = np.zeros((space.num_dofs, 15, 3))
    axes[np.arange(space.num_dofs), space.joint.numpy() - 1] = space.axis.numpy() @ R_MANO_OPEN.T
    onto = axes[:, fingers].reshape(-1, NUM_ANGLES)
    covariance = onto.T @ space.covariance.numpy() @ onto
    covariance += SPARE_DEVIATION_RAD**2 * np.eye(NUM_ANGLES)
    variances, directions = np.linalg.eigh(covariance)
    components = (directions * np.sqrt(variances)).T[::-1]
    largest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(NUM_ANGLES), largest])[:, None]
    return space.mean.numpy() @ onto, components


def _pose_basis(
    template: Float[np.ndarray, "778 3"],
    faces: Int[np.ndarray, "1538 3"],
    skinning: Float[np.ndarray, "778 16"],
    joints: Float[np.ndarray, "16 3"],
) -> Float[np.ndarray, "778 3 135"]:
    """Skin bulges where a joint bends, and is drawn along the bone on the outer side.

    Both where a joint shares the skin with its parent, most where they share it equally. The bulge
    follows 1 − cos of the angle, from the trace of the rotation; the stretch its sine.
    """
    normals = _vertex_normals(template, faces)
    out = np.zeros((NUM_VERTS, 3, NUM_ANGLES // 3, 3, 3))
    for joint in range(1, len(PARENTS)):
        shared = 4 * skinning[:, joint] * skinning[:, PARENTS[joint]]
        out[:, :, joint - 1] -= (
            0.5 * BULGE_M * (shared[:, None] * normals)[..., None, None] * np.eye(3)
        )
        # Back along the bone by n · (R − 1) bone: skin whose normal n the bone turns away from is
        # drawn towards the tip, that on the inner side is pushed back.
        bone = _bone(joints, joint)
        stretch = STRETCH_M * shared[:, None, None] * normals[:, :, None] * bone
        out[:, :, joint - 1] -= bone[:, None, None] * stretch[:, None]
    return out.reshape(NUM_VERTS, 3, -1)


def _bone(joints: Float[np.ndarray, "16 3"], joint: int) -> Float[np.ndarray, " 3"]:
    """Direction of the bone beyond a joint; of a finger's last, that of the one before."""
    end = joint + 1 if joint % 3 else joint
    bone = joints[end] - joints[end - 1]
    return bone / np.linalg.norm(bone)


def _vertex_normals(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    a, b, c = verts[faces].swapaxes(0, 1)
    normals = np.zeros_like(verts)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
