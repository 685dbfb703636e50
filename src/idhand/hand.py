"""The parametric hand in three stages: model → one person's hand → that hand in a pose.

Linear blend skinning in the SMPL/MANO form. Pure; knows no file. Each model has a rest frame of its
own, in metres. The open right hand's has the wrist joint at the origin, the fingers point to −y,
the palm faces −z and the thumb lies at +x, so that an identity wrist rotation shows the palm to the
camera; `idhand.anatomy` finds these directions in any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.hand_parts import HAND_LENGTH as HAND_LENGTH
from idhand.hand_parts import BonePoints as BonePoints
from idhand.hand_parts import Measures as Measures
from idhand.hand_parts import PoseSpace as PoseSpace
from idhand.hand_parts import ShapePrior as ShapePrior
from idhand.skinning import as_planes, skinned

JOINT_NAMES = (
    "wrist",
    *(f"thumb_{part}" for part in ("cmc", "mcp", "ip")),
    *(f"{f}_{p}" for f in ("index", "middle", "ring", "little") for p in ("mcp", "pip", "dip")),
)
"""The 16 joints, in order."""

KEYPOINT_NAMES = (
    "wrist",
    *(f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")),
    *(
        f"{finger}_{part}"
        for finger in ("index", "middle", "ring", "little")
        for part in ("mcp", "pip", "dip", "tip")
    ),
)
"""The 21 keypoints, in order."""

KEYPOINT_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Parent of each keypoint: the 20 bones of the skeleton."""

KEYPOINT_JOINT = (0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12, 12, 13, 14, 15, 15)
"""The joint whose frame carries each keypoint; a fingertip moves with its last joint."""

KEYPOINT_ORDER = (0, 1, 2, 3, 16, 4, 5, 6, 17, 7, 8, 9, 18, 10, 11, 12, 19, 13, 14, 15, 20)
"""Keypoint order as indices into 16 joints followed by 5 fingertips."""


@dataclass(frozen=True, kw_only=True)
class PosedHand:
    """A hand in a pose, in the camera frame, in metres."""

    verts: Float[Tensor, "*batch verts 3"]
    joints: Float[Tensor, "*batch joints 3"]
    keypoints: Float[Tensor, "*batch keypoints 3"]
    """16 joints and 5 fingertips on the skin, in the order of `KEYPOINT_NAMES`."""


@dataclass(frozen=True, kw_only=True)
class HandModel:
    """A family of hands: a template mesh, how it varies between people, and how it bends."""

    name: str
    """Profiles carry it, so that betas never meet another model's basis."""
    template: Float[Tensor, "verts 3"]
    shape_basis: Float[Tensor, "verts 3 betas"]
    """Metres per standard deviation of each beta."""
    pose_basis: Float[Tensor, "verts 3 pose"] | None
    """Pose correctives: metres per entry of the 15 finger rotations minus identity, row-major."""
    joint_regressor: Float[Tensor, "joints verts"]
    skinning: Float[Tensor, "verts joints"]
    """Rows sum to one."""
    parents: tuple[int, ...]
    """Parent of each joint; parents come before children and the wrist's is −1."""
    faces: Int[Tensor, "faces 3"]
    """Outward normals by the right-hand rule."""
    tip_verts: tuple[int, ...]
    """Vertices of the five fingertips, thumb to little finger."""
    is_right: bool = True
    betas_of: str | None = None
    """Name of the model whose betas mean the same hands, if this one differs from it by nothing but
    its fingertips."""

    @property
    def shape_name(self) -> str:
        """What profiles call the model: the same for models whose betas mean the same hands."""
        return self.betas_of or self.name

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients."""
        return self.shape_basis.shape[-1]

    @cached_property
    def joint_template(self) -> Float[Tensor, "joints 3"]:
        """Joints of the mean shape at rest, metres."""
        return self.joint_regressor @ self.template

    @cached_property
    def joint_basis(self) -> Float[Tensor, "joints 3 betas"]:
        """Metres per standard deviation of each beta."""
        return torch.einsum("jv,vak->jak", self.joint_regressor, self.shape_basis)

    def with_shape(self, betas: Float[Tensor, "*batch betas"]) -> "Hand":
        """Fix the shape: once per person, then reuse the result for every frame.

        Raises:
            ValueError: If the number of betas is not the model's.
        """
        if betas.shape[-1] != self.num_betas:
            raise ValueError(
                f"hand model '{self.name}' takes {self.num_betas} betas, got {betas.shape[-1]}; "
                "betas of one model mean nothing to another"
            )
        planes = as_planes(self.template) + betas @ self._shape_planes
        joints = self.joint_template.flatten() + betas @ self.joint_basis.flatten(0, 1).T
        return Hand(
            model=self,
            betas=betas,
            rest_verts=planes.unflatten(-1, (3, -1)).mT,
            rest_joints=joints.unflatten(-1, (-1, 3)),
        )

    @cached_property
    def _shape_planes(self) -> Float[Tensor, "betas planes"]:
        """The shape basis as a matrix onto all x, then all y, then all z: fast to multiply."""
        return self.shape_basis.permute(2, 1, 0).flatten(1).contiguous()

    @cached_property
    def _pose_planes(self) -> Float[Tensor, "pose planes"]:
        """The pose basis in the same form."""
        assert self.pose_basis is not None
        return self.pose_basis.permute(2, 1, 0).flatten(1).contiguous()

    @cached_property
    def _levels(self) -> tuple[tuple[Int[Tensor, " joints"], Int[Tensor, " joints"]], ...]:
        """Joints of equal depth below the wrist, and where their parents stand one level up."""
        depth = [0]
        for parent in self.parents[1:]:
            depth.append(depth[parent] + 1)
        levels = [[j for j, d in enumerate(depth) if d == k] for k in range(max(depth) + 1)]
        device = self.template.device
        return tuple(
            (
                torch.tensor(here, device=device),
                torch.tensor([above.index(self.parents[j]) for j in here], device=device),
            )
            for above, here in pairwise(levels)
        )

    @cached_property
    def _level_order(self) -> Int[Tensor, " joints"]:
        """Where each joint stands when the levels are put after one another."""
        wrist = torch.zeros(1, dtype=torch.long, device=self.template.device)
        return torch.cat((wrist, *(joints for joints, _ in self._levels))).argsort()

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "HandModel":
        """The same model in another floating-point type, or on another device."""
        return _moved(self, dtype, device)

    def mirrored(self) -> "HandModel":
        """The other hand: x negated, faces turned so that normals stay outward.

        Pose it with rotations conjugated by diag(−1, 1, 1). Its betas are the same person's.
        """
        flip = self.template.new_tensor([-1.0, 1.0, 1.0])
        return HandModel(
            name=self.name,
            template=self.template * flip,
            shape_basis=self.shape_basis * flip[:, None],
            pose_basis=None if self.pose_basis is None else self._mirrored_pose_basis(flip),
            joint_regressor=self.joint_regressor,
            skinning=self.skinning,
            parents=self.parents,
            faces=self.faces.flip(-1),
            tip_verts=self.tip_verts,
            is_right=not self.is_right,
        )

    @cached_property
    def keypoint_template(self) -> Float[Tensor, "21 3"]:
        """The keypoints of the mean shape at rest, metres."""
        tips = self.template[list(self.tip_verts)]
        return torch.cat((self.joint_template, tips))[list(KEYPOINT_ORDER)]

    @cached_property
    def keypoint_basis(self) -> Float[Tensor, "21 3 betas"]:
        """Metres per standard deviation of each beta."""
        tips = self.shape_basis[list(self.tip_verts)]
        return torch.cat((self.joint_basis, tips))[list(KEYPOINT_ORDER)]

    @cached_property
    def keypoint_regressor(self) -> Float[Tensor, "21 verts"]:
        """Takes vertices to keypoints regressed from them: joints as at rest, and the tips.

        In a pose they are not those of `PosedHand`, whose joints the bones carry.
        """
        tips = torch.zeros_like(self.joint_regressor[:5])
        tips[range(5), self.tip_verts] = 1.0
        return torch.cat((self.joint_regressor, tips))[list(KEYPOINT_ORDER)]

    def _mirrored_pose_basis(self, flip: Float[Tensor, " 3"]) -> Float[Tensor, "verts 3 pose"]:
        assert self.pose_basis is not None
        signs = (flip[:, None] * flip).flatten().repeat(self.pose_basis.shape[-1] // 9)
        return self.pose_basis * flip[:, None] * signs


@dataclass(frozen=True, kw_only=True)
class FittableHand(HandModel):
    """A right hand that can be fitted to pictures: with pose space, landmarks, measures and prior.

    Raises:
        ValueError: If a part is missing, or the hand is a left one.
    """

    pose_space: PoseSpace
    landmarks: BonePoints
    """The 21 points of the landmark net."""
    measures: Measures
    """Among them `HAND_LENGTH`."""
    prior: ShapePrior
    """Of an unknown person."""
    populations: Mapping[str, ShapePrior] = field(default_factory=dict)
    """Priors of parts of the population, by name, see `of_population`; `all` where it is not the
    model's own."""

    def __post_init__(self) -> None:
        parts = ("pose_space", "landmarks", "measures", "prior")
        missing = [name.replace("_", " ") for name in parts if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"hand model '{self.name}' cannot be fitted: it has no {', no '.join(missing)}; "
                "give all parts, or use it as a HandModel"
            )
        if not self.is_right:
            raise ValueError(
                f"hand model '{self.name}' is a left hand; fits are made with the right one, left "
                "hands are mirrored: give the right hand"
            )
        if HAND_LENGTH not in self.measures.names:
            raise ValueError(
                f"hand model '{self.name}' has no measure '{HAND_LENGTH}', which sizes are given "
                f"by; it has {', '.join(self.measures.names) or 'none'}: add it"
            )

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "FittableHand":
        """The same model in another floating-point type, or on another device."""
        return _moved(self, dtype, device)

    def of_population(self, name: str) -> "FittableHand":
        """The model with the prior of a part of the population.

        Args:
            name: `all`, or one of `populations`.

        Raises:
            ValueError: If the model knows no such population.
        """
        priors = {"all": self.prior, **self.populations}
        if priors.get(name) is self.prior:
            return self
        if name not in priors:
            known = ", ".join(priors)
            raise ValueError(
                f"hand model '{self.name}' knows no population '{name}'; it knows {known}"
            )
        return replace(self, prior=priors[name], populations=priors)

    @cached_property
    def uniform_growth(self) -> Float[Tensor, " betas"]:
        """The betas by which the mean hand grows to twice its size, proportions kept.

        Least squares over the mesh; in the built-in model 0.02 % of it are left.
        """
        from_wrist = (self.template - self.joint_template[0]).flatten()
        basis = (self.shape_basis - self.joint_basis[0]).flatten(0, 1)
        growth = torch.linalg.lstsq(basis, from_wrist[:, None]).solution[:, 0]
        return growth / (self.measures.growth @ growth)

    @cached_property
    def mean_length_m(self) -> float:
        """Length of the mean hand, see `HAND_LENGTH`."""
        zero = torch.zeros_like(self.measures.growth)
        return float(self.measures.lengths(zero)[self.measures.names.index(HAND_LENGTH)])

    def relative_size(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch"]:
        """Length of a hand over the mean hand's, to first order."""
        return 1 + betas @ self.measures.growth

    def resized(
        self, betas: Float[Tensor, "*batch betas"], size: Float[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch betas"]:
        """Hands of the same proportions at another size.

        Args:
            betas: Of the hands.
            size: Length over the mean hand's, see `relative_size`.
        """
        scale = size / self.relative_size(betas)
        return (betas + self.uniform_growth) * scale[..., None] - self.uniform_growth

    @cached_property
    def keypoints_on_bones(self) -> BonePoints:
        """The 21 keypoints as points fixed to bones; pose correctives do not move them."""
        return BonePoints(
            template=self.keypoint_template,
            shape_basis=self.keypoint_basis,
            joint=torch.tensor(KEYPOINT_JOINT, device=self.template.device),
            bias_covariance=torch.zeros_like(self.landmarks.bias_covariance),
        )


def landmark_points(
    model: HandModel,
    growth: Float[Tensor, " betas"],
    offsets: Float[Tensor, "21 3"],
    bias_covariance: Float[Tensor, "63 63"],
    gain: float = 1.0,
) -> BonePoints:
    """Points at fixed offsets from the keypoints, in the bones' frames.

    Args:
        model: Whose keypoints.
        growth: Relative change of the hand's length per beta, see `Measures.growth`.
        offsets: Metres from each keypoint in the model's rest frame, for the mean hand; they grow
            with the hand's length.
        bias_covariance: See `BonePoints`.
        gain: How much of a person's proportions the points show; below one they draw everybody
            nearer to the average hand, about the wrist. Size is not affected.
    """
    from_wrist = model.keypoint_template - model.keypoint_template[:1]
    scaling = from_wrist[..., None] * growth
    return BonePoints(
        template=model.keypoint_template + offsets,
        shape_basis=scaling + gain * (model.keypoint_basis - scaling) + offsets[..., None] * growth,
        joint=torch.tensor(KEYPOINT_JOINT, device=offsets.device),
        bias_covariance=bias_covariance,
    )


def _moved(value: Any, dtype: torch.dtype | None, device: torch.device | str | None) -> Any:
    """A record, a table or a tensor with all tensors in this type and on this device."""
    if torch.is_tensor(value):
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: _moved(getattr(value, f.name), dtype, device) for f in fields(value)}
        return replace(value, **parts)
    if isinstance(value, Mapping):
        return {name: _moved(part, dtype, device) for name, part in value.items()}
    return value


@dataclass(frozen=True, kw_only=True)
class Hand:
    """One person's hand: the model with its shape fixed. This is what calibration is for."""

    model: HandModel
    betas: Float[Tensor, "*batch betas"]
    """Shape coefficients, in standard deviations of the model's shape space."""
    rest_verts: Float[Tensor, "*batch verts 3"]
    rest_joints: Float[Tensor, "*batch joints 3"]

    def posed(
        self,
        rotations: Float[Tensor, "*#batch joints 3 3"],
        wrist_cam: Float[Tensor, "*#batch 3"],
    ) -> PosedHand:
        """Bend the joints and place the wrist.

        Args:
            rotations: Each joint relative to its parent; the first is the wrist's, to the camera.
            wrist_cam: Position of the wrist joint in metres.

        Source: Loper et al., "SMPL", 2015, eq. 2–4 and 9; translation as in docs/conventions.md.
        """
        R, joints = self.chain(rotations, wrist_cam)
        shift = joints[..., None] - R @ self.rest_joints[..., None]
        transforms = torch.cat((R, shift), -1).flatten(-2).mT
        planes = self._corrected(rotations)
        batch = torch.broadcast_shapes(transforms.shape[:-2], planes.shape[:-2])
        moved = skinned(
            transforms.expand(*batch, -1, -1).reshape(-1, *transforms.shape[-2:]),
            planes.expand(*batch, -1, -1).reshape(-1, *planes.shape[-2:]),
            self.model.skinning,
        )
        verts = moved.reshape(*batch, *planes.shape[-2:]).mT
        tips = verts[..., self.model.tip_verts, :]
        keypoints = torch.cat((joints, tips), -2)[..., KEYPOINT_ORDER, :]
        return PosedHand(verts=verts, joints=joints, keypoints=keypoints)

    def chain(
        self,
        rotations: Float[Tensor, "*#batch joints 3 3"],
        wrist_cam: Float[Tensor, "*#batch 3"],
    ) -> tuple[Float[Tensor, "*batch joints 3 3"], Float[Tensor, "*batch joints 3"]]:
        """Orientation and position of every joint in the camera frame, without the mesh."""
        model = self.model
        bones = self.rest_joints[..., 1:, :] - self.rest_joints[..., model.parents[1:], :]
        batch = torch.broadcast_shapes(rotations.shape[:-3], wrist_cam.shape[:-1], bones.shape[:-2])
        turns = rotations[..., 1:, :, :].expand(*batch, -1, 3, 3)
        local = torch.cat((turns, bones.expand(*batch, -1, 3)[..., None]), -1)
        R = rotations[..., :1, :, :].expand(*batch, 1, 3, 3)
        t = wrist_cam[..., None, :, None].expand(*batch, 1, 3, 1)
        all_R, all_t = [R], [t]
        for joints, parents in model._levels:
            below = R[..., parents, :, :] @ local[..., joints - 1, :, :]
            R, t = below[..., :3], below[..., 3:] + t[..., parents, :, :]
            all_R.append(R)
            all_t.append(t)
        order = model._level_order
        return torch.cat(all_R, -3)[..., order, :, :], torch.cat(all_t, -3)[..., order, :, 0]

    def _corrected(
        self, rotations: Float[Tensor, "*batch joints 3 3"]
    ) -> Float[Tensor, "*batch2 3 verts"]:
        """Rest vertices as planes, with the model's pose correctives if it has any."""
        planes = self.rest_verts.mT
        if self.model.pose_basis is None:
            return planes
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        features = (rotations[..., 1:, :, :] - eye).flatten(-3)
        return planes + (features @ self.model._pose_planes).unflatten(-1, (3, -1))
