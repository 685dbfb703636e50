"""A hand that somebody else might have built: MANO's differences from the open hand, exaggerated.

Another person's mean shape, another pose at rest, another mesh with noise and an earlier end at the
wrist, another frame, and knuckles nearer to the fingertips. What is the same is known exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.assets import open_hand
from idhand.assets.decimation import collapsed
from idhand.assets.resampled import kept_verts, resampled_hand
from idhand.geometry import rotation_from_vector
from idhand.hand import HandModel

NUM_VERTS = 620
NOISE_M = 3e-4
KNUCKLE_SHIFT = 0.17
"""Of the way to the next joint, by which knuckles lie nearer to the fingertips."""
TURN = rotation_from_vector(torch.tensor([0.4, -1.1, 2.0], dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """The hand, and what it is in the open hand's terms."""

    model: HandModel
    betas: Float[Tensor, " 16"]
    """Of the open hand, at this one's mean shape."""
    basis: Float[Tensor, "16 10"]
    """This one's betas → change of the open hand's."""


def stranger(seed: int = 0) -> Stranger:
    """One of many."""
    rng = np.random.default_rng(seed)
    model = open_hand()
    betas = torch.from_numpy(rng.normal(0, 0.8, 16)) - 1.0 * torch.eye(16).double()[0]
    basis = torch.zeros(16, 10, dtype=torch.float64)
    basis[:10] = torch.from_numpy(np.linalg.qr(rng.normal(size=(10, 10)))[0])
    hand = model.with_shape(torch.stack([betas, *(betas + basis.T)]))
    posed = hand.posed(_rest_rotations(rng), torch.tensor([0.1, 0.02, -0.3]).double())
    kept, faces = _mesh()
    verts = posed.verts[:, kept]
    noise = torch.from_numpy(rng.normal(0, NOISE_M, verts.shape[1:]))
    regressor = model.joint_regressor[:, kept].clone()
    for knuckle in (4, 7, 10, 13):
        regressor[knuckle] += KNUCKLE_SHIFT * (regressor[knuckle + 1] - regressor[knuckle])
    return Stranger(
        betas=betas,
        basis=basis,
        model=HandModel(
            name="stranger",
            template=verts[0] + noise,
            shape_basis=(verts[1:] - verts[0]).permute(1, 2, 0),
            pose_basis=None,
            joint_regressor=regressor,
            skinning=model.skinning[kept],
            parents=model.parents,
            faces=torch.from_numpy(faces),
            tip_verts=tuple(kept.tolist().index(v) for v in model.tip_verts),
        ),
    )


def _rest_rotations(rng: np.random.Generator) -> Float[Tensor, "16 3 3"]:
    """Fingers spread by other angles and a little bent, the thumb elsewhere."""
    space = open_hand().pose_space
    angles = np.zeros(space.num_dofs)
    for k, name in enumerate(space.names):
        if name.endswith("abduction"):
            angles[k] = rng.normal(0, 0.1)
        elif name.endswith("flexion"):
            angles[k] = rng.uniform(0, 0.15)
    angles[:3] += rng.normal(0, 0.12, 3)
    return torch.cat((TURN[None], space.rotations(torch.from_numpy(angles))))


def _mesh() -> tuple[Int[Tensor, " kept"], Int[np.ndarray, "faces 3"]]:
    """Some of the open hand's vertices, not past the end of the wrist, and triangles."""
    file, model = resampled_hand(), open_hand()
    verts, faces = file.template, file.faces
    ends = verts[:, 0] > 0.096 + 0.012
    faces = faces[~ends[faces].any(1)]
    used = np.unique(faces)
    place = np.full(len(verts), -1)
    place[used] = np.arange(len(used))
    names = kept_verts()[used]
    needed = {*np.flatnonzero((model.joint_regressor.numpy() > 0).any(0)).tolist()}
    needed = {k for k, v in enumerate(names.tolist()) if v in needed | {*model.tip_verts}}
    border = 14
    left, faces = collapsed(verts[used], place[faces], NUM_VERTS, border, needed)
    return torch.from_numpy(names[left]), faces
