"""Where each vertex of the open hand lies on the mesh of another hand model.

The open hand is shaped and bent to the other's rest mesh: by the 21 keypoints first, then by the
nearest points of either surface along normals; what is left becomes small, smooth offsets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.assets.models import OPEN_HAND, open_hand
from idhand.assets.surfaces import Feet, Surface
from idhand.geometry import procrustes, rotation_from_vector
from idhand.hand import FittableHand, HandModel

KEYPOINT_DEVIATION_M, LATER_KEYPOINT_DEVIATION_M = 0.006, 0.02
"""How far keypoints of two hand models lie apart; and when the surfaces lead, which know better:
knuckles of MANO lie up to a centimetre from ours."""
SURFACE_DEVIATION_M = 0.001
"""Of the distances between the surfaces."""
REACH_M = (0.03, 0.015, 0.008)
"""Pairs farther apart are left out; round by round."""
LEAST_AGREEMENT = 0.4
"""Cosine between the normals of a pair."""
FLEXION_DEVIATION_RAD = 0.35
"""Of the angles between the rest poses of two models, about each axis."""
ROUNDS_PER_REACH, KEYPOINT_ROUNDS = 2, 4
STIFFNESS = (3.0, 0.6, 0.1)
"""Of the offsets, over the pull to the other surface; round by round."""
NUM_KEPT = 8
"""Correspondences in the cache, some 100 kB each."""
STEP = 1e-5
"""Of finite differences."""


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """The open hand's vertices on another hand's mesh."""

    surface: Surface
    """The other's."""
    feet: Feet
    """Where on it each of the open hand's vertices lies, whatever the other's shape."""
    is_sure: Bool[Tensor, " open_verts"]
    """The other mesh has such a place; it may e.g. end nearer to the hand on the forearm."""
    betas: Float[Tensor, " open_betas"]
    """Of the open hand that is nearest to the other's mean shape."""
    R_other_open: Float[Tensor, "16 3 3"]
    """How each bone is turned from the open hand's rest frame to the other's."""
    fit_mm: float
    """Root mean square distance of the open hand, shaped and bent, from the other's surface."""
    residual_mm: float
    """The same with the offsets, before points are put onto the surface."""

    def open_verts(
        self, verts: Float[Tensor, "*batch verts 3"]
    ) -> Float[Tensor, "*batch open_verts 3"]:
        """The open hand's vertices on the other's mesh, which may be shaped and bent."""
        return self.surface.at(self.feet, verts)

    @property
    def matrix(self) -> Float[Tensor, "open_verts verts"]:
        """The same as weights; rows sum to one."""
        return self.surface.matrix(self.feet)


def correspondence(other: HandModel) -> Correspondence:
    """Find the open hand's vertices on a right hand of any model, in about a second.

    Those of the last few rest meshes are kept.

    Raises:
        ValueError: If the other is a left hand.
    """
    return _kept(_Key(other))


class _Key:
    """A model by its rest mesh and joints, to a micrometre, for the cache.

    So MANO's two hands share one, the left one mirrored: its triangles begin at other corners, and
    one of its fingertips has another number.
    """

    def __init__(self, model: HandModel):
        self.model = model
        points = torch.cat((model.template, model.joint_template))
        micrometres = (1e6 * points).round().to(torch.int64)
        corners = model.faces.sort(1).values
        parts = (micrometres, corners)
        self.content = (model.is_right, *(part.cpu().numpy().tobytes() for part in parts))

    def __hash__(self) -> int:
        return hash(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.content == other.content


@lru_cache(maxsize=NUM_KEPT)
def _kept(key: _Key) -> Correspondence:
    return _found(key.model)


def _found(other: HandModel) -> Correspondence:
    if not other.is_right:
        raise ValueError(
            f"hand model '{other.name}' is a left hand; correspondence is between right hands: "
            "give its mirror image"
        )
    model = open_hand()
    mine = Surface(model.faces, len(model.template))
    if other.name == OPEN_HAND:
        return Correspondence(
            surface=mine,
            feet=mine.corners(),
            is_sure=torch.ones(len(model.template), dtype=torch.bool),
            betas=torch.zeros(model.num_betas, dtype=torch.float64),
            R_other_open=torch.eye(3, dtype=torch.float64).repeat(16, 1, 1),
            fit_mm=0.0,
            residual_mm=0.0,
        )
    fit = _Fit(model, other)
    fit.by_keypoints()
    for reach_m in REACH_M:
        fit.by_surfaces(reach_m)
    bent = fit.verts()
    moved = _with_offsets(bent, fit.mine, fit.theirs, other.template)
    feet = fit.theirs.feet(moved, other.template)
    is_sure = _agree(moved, fit.mine, feet, fit.theirs, other.template, REACH_M[-1])
    return Correspondence(
        surface=fit.theirs,
        feet=feet,
        is_sure=is_sure,
        betas=fit.x[: model.num_betas],
        R_other_open=fit.bone_rotations(),
        fit_mm=_distance_mm(bent, fit.theirs, other.template, is_sure),
        residual_mm=_distance_mm(moved, fit.theirs, other.template, is_sure),
    )


class Bent:
    """A model's shape, joint rotations and place as one vector of parameters.

    In turn the betas, 16 rotation vectors of which the wrist's comes after a fixed rotation, and
    the wrist's place.
    """

    def __init__(self, model: HandModel, R_wrist: Float[Tensor, "3 3"]):
        self.model, self.R_wrist = model, R_wrist
        self.num_betas = model.num_betas

    def rotations(self, x: Float[Tensor, "batch params"]) -> Float[Tensor, "batch 16 3 3"]:
        """Of the joints."""
        local = rotation_from_vector(x[:, self.num_betas : -3].unflatten(-1, (16, 3)))
        return torch.cat(((self.R_wrist @ local[:, 0])[:, None], local[:, 1:]), 1)

    def __call__(
        self, x: Float[Tensor, "batch params"]
    ) -> tuple[Float[Tensor, "batch verts 3"], Float[Tensor, "batch 21 3"]]:
        """Vertices and keypoints."""
        hand = self.model.with_shape(x[:, : self.num_betas])
        posed = hand.posed(self.rotations(x), x[:, -3:])
        return posed.verts, posed.keypoints


def stepped(
    values: Callable[[Float[Tensor, "batch params"]], Float[Tensor, "batch residuals"]],
    x: Float[Tensor, " params"],
) -> Float[Tensor, " params"]:
    """One step of Gauss and Newton towards the least sum of squares, by finite differences."""
    moved = torch.cat((x[None], x + STEP * torch.eye(len(x), dtype=x.dtype)))
    rows = values(moved)
    J = (rows[1:] - rows[0]) / STEP
    return x - torch.linalg.solve(J @ J.mT, J @ rows[0])


class _Fit:
    """The open hand on its way to another's rest mesh."""

    def __init__(self, model: FittableHand, other: HandModel):
        self.model, self.other = model, other
        self.mine = Surface(model.faces, len(model.template))
        self.theirs = Surface(other.faces, len(other.template))
        self.goal = other.keypoint_template
        scale, R, _ = procrustes(model.keypoint_template, self.goal)
        self.bent = Bent(model, R)
        zero = torch.zeros(model.num_betas, dtype=torch.float64)
        betas = model.resized(zero, scale)
        self.x = torch.cat((betas, torch.zeros(48, dtype=torch.float64), self.goal[0]))

    def verts(self) -> Float[Tensor, "verts 3"]:
        """As they are now."""
        return self.bent(self.x[None])[0][0]

    def bone_rotations(self) -> Float[Tensor, "16 3 3"]:
        """From the open hand's rest frame."""
        rotations = self.bent.rotations(self.x[None])[0]
        hand = self.model.with_shape(self.x[: self.model.num_betas])
        return hand.chain(rotations, self.x[-3:])[0]

    def by_keypoints(self) -> None:
        """Bring the keypoints near to the other's."""

        def values(x: Tensor) -> Tensor:
            apart = (self.bent(x)[1] - self.goal) / KEYPOINT_DEVIATION_M
            return torch.cat((apart.flatten(1), self._prior(x)), 1)

        for _ in range(KEYPOINT_ROUNDS):
            self.x = stepped(values, self.x)

    def by_surfaces(self, reach_m: float) -> None:
        """Bring the surfaces together along their normals, from either side."""
        template = self.other.template
        normals = self.theirs.normals(template)
        for _ in range(ROUNDS_PER_REACH):
            verts = self.verts()
            there = self.theirs.feet(verts, template)
            back = self.mine.feet(template, verts)
            out = _agree(verts, self.mine, there, self.theirs, template, reach_m)
            home = _agree(template, self.theirs, back, self.mine, verts, reach_m)
            goal = self.theirs.at(there, template)[out]
            across = self.theirs.at(there, normals)[out]
            back = Feet(
                face=back.face[home], weights=back.weights[home], on_border=back.on_border[home]
            )

            def values(
                x: Tensor, out=out, goal=goal, across=across, back=back, home=home
            ) -> Tensor:
                verts, keypoints = self.bent(x)
                forth = ((verts[:, out] - goal) * across).sum(-1)
                returned = ((self.mine.at(back, verts) - template[home]) * normals[home]).sum(-1)
                apart = (keypoints - self.goal) / LATER_KEYPOINT_DEVIATION_M
                return torch.cat(
                    (
                        forth / SURFACE_DEVIATION_M,
                        returned / SURFACE_DEVIATION_M,
                        apart.flatten(1),
                        self._prior(x),
                    ),
                    1,
                )

            self.x = stepped(values, self.x)

    def _prior(self, x: Float[Tensor, "batch params"]) -> Float[Tensor, "batch residuals"]:
        """Likely people, in poses that are not far apart at rest."""
        num = self.model.num_betas
        return torch.cat((x[:, :num], x[:, num + 3 : -3] / FLEXION_DEVIATION_RAD), 1)


def _agree(
    points: Float[Tensor, "points 3"],
    own: Surface,
    feet: Feet,
    surface: Surface,
    verts: Float[Tensor, "verts 3"],
    reach_m: float,
) -> Bool[Tensor, " points"]:
    """Whether vertices of a mesh and their feet on another are pairs."""
    near = (surface.at(feet, verts) - points).norm(dim=-1) < reach_m
    agreement = (own.normals(points) * surface.at(feet, surface.normals(verts))).sum(-1)
    return near & (agreement > LEAST_AGREEMENT) & ~feet.on_border


def _with_offsets(
    bent: Float[Tensor, "open_verts 3"],
    mine: Surface,
    theirs: Surface,
    template: Float[Tensor, "verts 3"],
) -> Float[Tensor, "open_verts 3"]:
    """The bent hand drawn onto the other surface by offsets that neighbours nearly share."""
    first, second = mine.edges.unbind(1)
    laplacian = torch.zeros(len(bent), len(bent), dtype=bent.dtype)
    one = torch.ones(len(first), dtype=bent.dtype)
    for i, j in ((first, second), (second, first)):
        laplacian.index_put_((i, i), one, accumulate=True)
        laplacian.index_put_((i, j), -one, accumulate=True)
    moved = bent
    for stiffness in STIFFNESS:
        there, back = theirs.feet(moved, template), mine.feet(template, moved)
        out = _agree(moved, mine, there, theirs, template, REACH_M[-1])
        home = _agree(template, theirs, back, mine, moved, REACH_M[-1])
        pull = stiffness * laplacian
        pull.diagonal().add_(out)
        wanted = torch.where(out[:, None], theirs.at(there, template) - bent, 0.0)
        # A foot of the other's vertices pulls at the three corners of its triangle.
        at, share = mine.faces[back.face[home]], back.weights[home]
        to_foot = share[..., None] * (template - mine.at(back, bent))[home][:, None]
        products = share[:, :, None] * share[:, None]
        pull.index_put_((at[:, :, None], at[:, None]), products, accumulate=True)
        wanted = wanted.index_add(0, at.flatten(), to_foot.flatten(0, 1))
        moved = bent + torch.linalg.solve(pull, wanted)
    return moved


def _distance_mm(
    points: Float[Tensor, "points 3"],
    surface: Surface,
    verts: Float[Tensor, "verts 3"],
    chosen: Bool[Tensor, " points"],
) -> float:
    feet = surface.feet(points, verts)
    apart = (surface.at(feet, verts) - points)[chosen].norm(dim=-1)
    return 1e3 * float(apart.square().mean().sqrt())
