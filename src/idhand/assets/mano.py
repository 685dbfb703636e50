"""MANO's arrays → a hand model like every other: our joint order, our right-hand convention.

MANO: Romero, Tzionas and Black, "Embodied Hands", SIGGRAPH Asia 2017.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets.mano_file import NUM_BETAS, ManoFile
from idhand.assets.mano_reading import PARENTS as MANO_PARENTS
from idhand.assets.mano_tips import DEFAULT_TIPS, tip_verts, with_tips
from idhand.hand import (
    HAND_LENGTH,
    JOINT_NAMES,
    BonePoints,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
    landmark_points,
)

MANO_JOINTS = (0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9)
"""For each joint of ours, its place among MANO's, whose order is wrist, index, middle, little, ring
and thumb."""
LIMIT_DEVIATIONS, MIN_LIMIT_RAD = 4.0, 0.5
"""The limits of an angle lie this many deviations from its mean, and at least this far."""
LANDMARK_DEVIATION_M = 2.3e-3
"""How far the landmarks of a person lie from where the model has them: the open hand's mean over
its points (docs/method.md)."""
_FLIP = np.array([-1.0, 1.0, 1.0])
"""Points of a left hand → the mirrored right hand's."""
_FLIP_TURN = np.array([1.0, -1.0, -1.0])
"""Rotation vectors of a left hand → the mirrored right hand's."""

CarriedOver = Callable[[HandModel], tuple[Measures, BonePoints]]
"""What gives a model of MANO's its measures and the points of the landmark net."""


def mano_hand(
    file: ManoFile,
    carried_over: CarriedOver | None = None,
    tips: str | tuple[int, ...] = DEFAULT_TIPS,
) -> FittableHand:
    """The hand of a MANO file, as a right hand in our joint order and MANO's own rest frame.

    Of a left file it is the mirror image, which carries the fault of the file as it is shipped: the
    shape basis of MANO_LEFT lacks the change of sign in x. Labels that were fitted with that file
    (DexYCB's) mean this hand; for new work take the right file's for both sides. The names of the
    two differ, so their betas never meet.

    Args:
        file: Its arrays.
        carried_over: Measures and landmarks; None: `plain_parts`.
        tips: The fingertips, see `idhand.assets.mano_tips`.

    Raises:
        ValueError: If the tips are none, or the poses of the file have a direction without any
            spread.
    """
    model = with_tips(_model(file), tips)
    measures, landmarks = (carried_over or plain_parts)(model)
    return FittableHand(
        **{f.name: getattr(model, f.name) for f in fields(model)},
        pose_space=_pose_space(file),
        landmarks=landmarks,
        measures=measures,
        prior=ShapePrior(
            mean=torch.zeros(NUM_BETAS, dtype=torch.float64),
            covariance=torch.eye(NUM_BETAS, dtype=torch.float64),
        ),
    )


def mano_name(file: ManoFile) -> str:
    """`mano-` and eight hex digits of a hash of the arrays; of a left file `mano-left-`.

    So betas of a stand-in never meet those of the real hand.
    """
    digest = hashlib.sha256()
    for f in fields(file):
        array = getattr(file, f.name)
        if isinstance(array, np.ndarray):
            kind = "<i8" if f.name == "faces" else "<f8"
            digest.update(np.ascontiguousarray(array, kind).tobytes())
    return f"mano-{'' if file.is_right else 'left-'}{digest.hexdigest()[:8]}"


def _model(file: ManoFile) -> HandModel:
    """The file's mesh and joints; of a left file mirrored."""
    order: list[int] = list(MANO_JOINTS)
    model = HandModel(
        name=mano_name(file),
        template=torch.from_numpy(file.template),
        shape_basis=torch.from_numpy(file.shape_basis),
        pose_basis=torch.from_numpy(file.pose_basis[..., _columns(9)]),
        joint_regressor=torch.from_numpy(file.joint_regressor[order]),
        skinning=torch.from_numpy(file.skinning[:, order]),
        parents=tuple(order.index(MANO_PARENTS[j]) if j else -1 for j in order),
        faces=torch.from_numpy(file.faces),
        tip_verts=tip_verts(DEFAULT_TIPS, is_right=file.is_right),
        is_right=file.is_right,
    )
    return model if file.is_right else model.mirrored()


def _columns(each: int) -> list[int]:
    """Columns of an array that has so many a finger joint: MANO's order → ours."""
    return [each * (joint - 1) + k for joint in MANO_JOINTS[1:] for k in range(each)]


def _pose_space(file: ManoFile) -> PoseSpace:
    """Three axes a joint, so that the angles are rotation vectors and say every rotation."""
    turn = np.ones(45) if file.is_right else np.tile(_FLIP_TURN, 15)
    mean = torch.from_numpy((file.pose_mean * turn)[_columns(3)])
    components = torch.from_numpy((file.pose_components * turn)[:, _columns(3)])
    covariance = components.mT @ components
    if float(torch.linalg.matrix_rank(components)) < 45:
        raise ValueError(
            f"the poses of hand model '{mano_name(file)}' have directions without any spread "
            "('hands_components'); all 45 components are needed"
        )
    reach = (LIMIT_DEVIATIONS * covariance.diagonal().sqrt()).clamp_min(MIN_LIMIT_RAD)
    return PoseSpace(
        names=tuple(f"{joint}_{axis}" for joint in JOINT_NAMES[1:] for axis in "xyz"),
        joint=torch.arange(45) // 3 + 1,
        axis=torch.eye(3, dtype=torch.float64).repeat(15, 1),
        mean=mean,
        covariance=covariance,
        lower=mean - reach,
        upper=mean + reach,
        components=components,
    )


def plain_parts(model: HandModel) -> tuple[Measures, BonePoints]:
    """Measures along the bones, and the keypoints in the landmarks' place.

    For a mesh of which no more is known. The length of the hand is that of the middle finger's
    chain from the wrist joint, which is not quite ANSUR's.
    """
    fingers = {name: 4 * k + 1 for k, name in enumerate(("thumb", "index", "middle", "ring"))}
    fingers["little"] = 17
    bones = [(base + k, base + k + 1) for base in fingers.values() for k in range(3)]
    coefficients = torch.zeros(6, len(bones) + 1, dtype=torch.float64)
    for row, base in enumerate(fingers.values()):
        for k in range(3):
            coefficients[row + 1, bones.index((base + k, base + k + 1))] = 1.0
    coefficients[0] = coefficients[3]
    coefficients[0, -1] = 1.0
    measures = Measures(
        names=(HAND_LENGTH, *(f"{name}_length" for name in fingers)),
        points=model.keypoint_template,
        shape_basis=model.keypoint_basis,
        segments=torch.tensor([*bones, (0, fingers["middle"])]),
        coefficients=coefficients,
    )
    spread: Float[Tensor, "63 63"] = LANDMARK_DEVIATION_M**2 * torch.eye(63, dtype=torch.float64)
    nothing = torch.zeros(21, 3, dtype=torch.float64)
    return measures, landmark_points(model, measures.growth, nothing, spread)
