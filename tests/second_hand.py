"""A second hand model, made in code from the open hand, of which nothing but the anatomy is alike.

778 vertices, 10 betas that mean something else, 45 angles (three axes a joint), a rest frame that
is turned and shifted, a joint regressor, pose correctives, measures and a prior of its own. The
same person in the same pose is at the same place: `second_betas` and `second_rotations` translate.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.assets import open_hand
from idhand.hand import (
    JOINT_NAMES,
    BonePoints,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
)

NAME = "second-hand-1"
NUM_VERTS, NUM_BETAS = 778, 10
TURN = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
"""The open hand's rest frame → this one's: fingers point to −x, the palm to −y, the thumb to +z."""
SHIFT_M = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
"""Where the open hand's origin, near the wrist, lies at rest."""
PRIOR_MEAN = torch.linspace(-0.8, 1.2, NUM_BETAS, dtype=torch.float64)
SPARE_LIMIT_RAD, SPARE_DEVIATION_RAD = 0.15, 0.05
"""Of axes that the open hand's joints do not turn about."""
CORRECTIVE_M = 2e-4
_MEASURES = {
    "hand_length": "hand_length",
    "hand_breadth": "hand_breadth",
    "index_length": "index_length",
    "middle_length": "middle_length",
    "thumb_length": "first_digit",
    "ring_length": "fourth_digit",
    "little_length": "fifth_digit",
}
"""The open hand's measures that this one has, and what it calls them, in another order."""


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@cache
def _mixture() -> Float[Tensor, "open_betas betas"]:
    """These betas, about their mean → the first betas of the open hand."""
    turn = torch.linalg.qr(_draw(1, NUM_BETAS, NUM_BETAS))[0]
    mixed = turn * torch.linspace(0.5, 1.6, NUM_BETAS, dtype=torch.float64)
    rest = torch.zeros(open_hand().num_betas - NUM_BETAS, NUM_BETAS, dtype=torch.float64)
    return torch.cat((mixed, rest))


def second_betas(betas: Float[Tensor, "*batch open_betas"]) -> Float[Tensor, "*batch betas"]:
    """The open hand's betas as this model's; exact for people of its first ten."""
    return betas @ torch.linalg.pinv(_mixture()).mT + PRIOR_MEAN


def open_betas(betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch open_betas"]:
    """The opposite of `second_betas`."""
    return (betas - PRIOR_MEAN) @ _mixture().mT


def second_rotations(
    rotations: Float[Tensor, "*batch 16 3 3"],
) -> Float[Tensor, "*batch 16 3 3"]:
    """The open hand's joint rotations as this model's: the same pose in the camera."""
    turn = TURN.to(rotations)
    fingers = turn @ rotations[..., 1:, :, :] @ turn.mT
    return torch.cat((rotations[..., :1, :, :] @ turn.mT, fingers), -3)


@cache
def second_hand() -> FittableHand:
    """The model; the same object at every call."""
    open_model = open_hand()
    kept, faces = _decimated(open_model)
    mixture = _mixture()
    template, basis = _moved(open_model.template, open_model.shape_basis)
    joints, joint_basis = _moved(open_model.joint_template, open_model.joint_basis)
    template, basis = template[kept], basis[kept]
    skin = HandModel(
        name=NAME,
        template=template,
        shape_basis=basis,
        pose_basis=_correctives(open_model.skinning[kept]),
        joint_regressor=_regressor(template, basis, joints, joint_basis),
        skinning=open_model.skinning[kept],
        parents=open_model.parents,
        faces=faces,
        tip_verts=tuple(kept.tolist().index(v) for v in open_model.tip_verts),
    )
    measures = _measures(open_model.measures)
    inverse = torch.linalg.inv(mixture[:NUM_BETAS])
    return FittableHand(
        **vars(skin),
        pose_space=_pose_space(open_model.pose_space),
        landmarks=_landmarks(open_model.landmarks),
        measures=measures,
        prior=ShapePrior(mean=PRIOR_MEAN, covariance=inverse @ inverse.mT),
    )


def _moved(
    points: Float[Tensor, "points 3"], basis: Float[Tensor, "points 3 open_betas"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3 betas"]]:
    """Points of the open hand at rest, and their basis, in this model's frame and betas."""
    basis = torch.einsum("ab,pbk->pak", TURN, basis) @ _mixture()
    return points @ TURN.mT + SHIFT_M - basis @ PRIOR_MEAN, basis


def _pose_space(space: PoseSpace) -> PoseSpace:
    """Three perpendicular axes a joint, flexion neither first nor positive."""
    axes, lower, upper = [], [], []
    spare = torch.eye(3, dtype=torch.float64)
    for joint in range(1, 16):
        own = [k for k, j in enumerate(space.joint.tolist()) if j == joint]
        directions = torch.cat((space.axis[own], spare @ TURN.mT))
        chosen: list[Tensor] = []
        limits: list[tuple[float, float]] = []
        for k, direction in enumerate(directions):
            rest = direction - sum((direction @ a) * a for a in chosen)
            if len(chosen) == 3 or float(torch.as_tensor(rest).norm()) < 0.3:
                continue
            chosen.append(rest / rest.norm())
            limits.append(
                (float(space.lower[own[k]]), float(space.upper[own[k]]))
                if k < len(own)
                else (-SPARE_LIMIT_RAD, SPARE_LIMIT_RAD)
            )
        for k, sign in ((2, 1), (0, -1), (1, 1)):
            axes.append(sign * TURN @ chosen[k])
            low, high = sorted(sign * x for x in limits[k])
            lower.append(low)
            upper.append(high)
    axis = torch.stack(axes)
    vectors = space.vectors(torch.eye(space.num_dofs, dtype=torch.float64)) @ TURN.mT
    turn = torch.einsum("dja,jka->djk", vectors, axis.unflatten(0, (15, 3))).flatten(1).mT
    own = space.covariance
    return PoseSpace(
        names=tuple(f"{name} about {k}" for name in JOINT_NAMES[1:] for k in (1, 2, 3)),
        joint=torch.arange(45) // 3 + 1,
        axis=axis,
        mean=turn @ space.mean,
        covariance=turn @ own @ turn.mT
        + SPARE_DEVIATION_RAD**2 * torch.eye(45, dtype=torch.float64),
        lower=torch.tensor(lower, dtype=torch.float64),
        upper=torch.tensor(upper, dtype=torch.float64),
    )


def _landmarks(points: BonePoints) -> BonePoints:
    template, basis = _moved(points.template, points.shape_basis)
    turn = torch.block_diag(*[TURN] * 21)
    return BonePoints(
        template=template,
        shape_basis=basis,
        joint=points.joint,
        bias_covariance=turn @ points.bias_covariance @ turn.mT,
    )


def _measures(measures: Measures) -> Measures:
    points, basis = _moved(measures.points, measures.shape_basis)
    rows = [measures.names.index(name) for name in _MEASURES][::-1]
    return Measures(
        names=tuple(_MEASURES.values())[::-1],
        points=points,
        shape_basis=basis,
        segments=measures.segments,
        coefficients=measures.coefficients[rows],
    )


def _correctives(
    skinning: Float[Tensor, "verts joints"],
) -> Float[Tensor, "verts 3 pose"]:
    """What bending a joint adds to the skin that moves with it."""
    each = CORRECTIVE_M * _draw(2, 15, 3, 9)
    return torch.einsum("vj,jak->vajk", skinning[:, 1:], each).flatten(2)


def _regressor(
    template: Float[Tensor, "verts 3"],
    basis: Float[Tensor, "verts 3 betas"],
    joints: Float[Tensor, "joints 3"],
    joint_basis: Float[Tensor, "joints 3 betas"],
) -> Float[Tensor, "joints verts"]:
    """Of all weights that give these joints for every shape, the smallest near each joint."""
    equations = torch.cat((torch.ones_like(template[:, :1]), template, 30 * basis.flatten(1)), 1).mT
    values = torch.cat((torch.ones_like(joints[:, :1]), joints, 30 * joint_basis.flatten(1)), 1)
    rows = []
    for joint, goal in zip(joints, values, strict=True):
        near = (-((template - joint).norm(dim=-1) / 0.03)).exp()
        rows.append(near * (torch.linalg.pinv(equations * near, rtol=1e-12) @ goal))
    return torch.stack(rows)


def _decimated(model: HandModel) -> tuple[Int[Tensor, " kept"], Int[Tensor, "faces 3"]]:
    """Vertices that stay and faces between them: the shortest edges collapse, one by one.

    An edge collapses into one of its ends if the surface stays closed and no face turns over.
    """
    verts = model.template.numpy()
    faces = {k: tuple(f) for k, f in enumerate(model.faces.tolist())}
    around: dict[int, set[int]] = {v: set() for v in range(len(verts))}
    for k, face in faces.items():
        for v in face:
            around[v].add(k)
    while len(around) > NUM_VERTS:
        edges = {
            (min(a, b), max(a, b))
            for f in faces.values()
            for a, b in zip(f, (*f[1:], f[0]), strict=True)
        }
        done: set[int] = set()
        for a, b in sorted(
            edges, key=lambda e: (float(np.linalg.norm(verts[e[0]] - verts[e[1]])), e)
        ):
            if len(around) == NUM_VERTS:
                break
            if a in done or b in done:
                continue
            gone, stays = (b, a) if b not in model.tip_verts else (a, b)
            if gone not in model.tip_verts and _may_collapse(verts, faces, around, gone, stays):
                done |= {v for k in around[gone] for v in faces[k]}
                _collapse(faces, around, gone, stays)
    kept = sorted(around)
    place = {v: k for k, v in enumerate(kept)}
    return torch.tensor(kept), torch.tensor([[place[v] for v in f] for f in faces.values()])


def _may_collapse(
    verts: np.ndarray,
    faces: dict[int, tuple[int, ...]],
    around: dict[int, set[int]],
    gone: int,
    stays: int,
) -> bool:
    rings = [{v for k in around[end] for v in faces[k]} - {gone, stays} for end in (gone, stays)]
    if len(rings[0] & rings[1]) != 2:
        return False
    for k in around[gone] - around[stays]:
        before = verts[list(faces[k])]
        after = verts[[stays if v == gone else v for v in faces[k]]]
        old, new = (np.cross(c[1] - c[0], c[2] - c[0]) for c in (before, after))
        if old @ new < 0.5 * np.linalg.norm(old) * np.linalg.norm(new):
            return False
    return True


def _collapse(
    faces: dict[int, tuple[int, ...]], around: dict[int, set[int]], gone: int, stays: int
) -> None:
    for k in around.pop(gone):
        if stays in faces[k]:
            for v in set(faces.pop(k)) - {gone}:
                around[v].discard(k)
        else:
            faces[k] = tuple(stays if v == gone else v for v in faces[k])
            around[stays].add(k)
