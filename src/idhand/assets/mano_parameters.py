"""A hand in MANO's own numbers ↔ our rotations and wrist position.

MANO's layers (manopth, smplx) turn the hand about its shaped wrist at rest and then shift it, so
the wrist stands at its place at rest plus the shift. Their finger pose is told from the flat hand
or from the mean pose, as principal components, rotation vectors or matrices, in MANO's joint order.
"""

from dataclasses import dataclass
from typing import Literal

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets.mano import MANO_JOINTS
from idhand.geometry import rotation_from_vector
from idhand.hand import FittableHand

PoseForm = Literal["pca", "axis_angle", "matrices"]
"""Coefficients of the first principal components; 15 rotation vectors; 15 matrices, row-major."""
NUM_ANGLES = 45
_THEIRS = torch.tensor(MANO_JOINTS[1:]) - 1
"""For each finger joint of ours, its place among MANO's."""
_OURS = _THEIRS.argsort()


@dataclass(frozen=True, kw_only=True)
class ManoParameters:
    """Hands in MANO's own numbers: of left hands those of the real left hand."""

    global_orient: Float[Tensor, "*batch 3"]
    """Rotation vector of the wrist, to the frame that the hand is in, radians."""
    hand_pose: Float[Tensor, "*batch numbers"]
    """The fingers, in the form that `form` says."""
    betas: Float[Tensor, "*batch betas"]
    transl: Float[Tensor, "*batch 3"]
    """Metres, added after turning about the wrist at rest."""
    form: PoseForm = "axis_angle"
    about_mean: bool = False
    """`hand_pose` is an offset from the mean pose (`flat_hand_mean=False`); else it is told from
    the flat hand. Matrices are always told from the flat hand."""

    def __post_init__(self) -> None:
        numbers = self.hand_pose.shape[-1]
        fits = {"pca": 0 < numbers <= NUM_ANGLES, "axis_angle": numbers == NUM_ANGLES}
        if not fits.get(self.form, numbers == 9 * 15):
            needed = {"pca": "1 to 45", "axis_angle": "45"}.get(self.form, "135")
            raise ValueError(
                f"a pose of MANO's as '{self.form}' has {needed} numbers, got {numbers}; name the "
                "form that they are in"
            )
        if self.form == "matrices" and self.about_mean:
            raise ValueError("matrices are told from the flat hand; give about_mean=False")


@dataclass(frozen=True, kw_only=True)
class PlacedHand:
    """Hands in our numbers, as `idhand.records.Sample` and `HandResult` have them."""

    rotations: Float[Tensor, "*batch 16 3 3"]
    """Each joint relative to its parent; of left hands the mirrored right hand's."""
    wrist_cam: Float[Tensor, "*batch 3"]
    """Metres; of the real hand."""
    betas: Float[Tensor, "*batch betas"]


def from_mano(hand: FittableHand, parameters: ManoParameters, *, is_right: bool) -> PlacedHand:
    """MANO's numbers as ours.

    Args:
        hand: Of `idhand.assets.mano_hands`; for left hands the one that the numbers were made with.
        parameters: In any frame, which takes the camera frame's place.
        is_right: The side of the real hands.

    Raises:
        ValueError: If the hand has another number of betas or of principal components.
    """
    flip, turn = _flips(parameters.betas, is_right=is_right)
    wrist = rotation_from_vector(parameters.global_orient * turn)[..., None, :, :]
    numbers = parameters.hand_pose
    match parameters.form:
        case "matrices":
            signs = (flip[:, None] * flip).to(numbers)
            fingers = numbers.unflatten(-1, (15, 3, 3))[..., _THEIRS, :, :] * signs
        case "pca":
            angles = hand.pose_space.angles_of(numbers, about_mean=parameters.about_mean)
            fingers = hand.pose_space.rotations(angles)
        case "axis_angle":
            vectors = numbers.unflatten(-1, (15, 3))[..., _THEIRS, :] * turn
            mean = hand.pose_space.vectors(hand.pose_space.mean)
            fingers = rotation_from_vector(vectors + mean if parameters.about_mean else vectors)
    root = hand.with_shape(parameters.betas).rest_joints[..., 0, :] * flip
    return PlacedHand(
        rotations=torch.cat((wrist, fingers), -3),
        wrist_cam=root + parameters.transl,
        betas=parameters.betas,
    )


def to_mano(
    hand: FittableHand,
    placed: PlacedHand,
    *,
    is_right: bool,
    form: PoseForm = "axis_angle",
    about_mean: bool = False,
    num_components: int = NUM_ANGLES,
) -> ManoParameters:
    """Our numbers as MANO's; the opposite of `from_mano`.

    Args:
        hand: Of `idhand.assets.mano_hands`.
        placed: In our convention.
        is_right: The side of the real hands.
        form: How to tell the fingers' pose.
        about_mean: Tell it from the mean pose.
        num_components: Of `pca`; with fewer than 45 the pose is the nearest that they can tell.

    Raises:
        ValueError: If the hand has another number of betas or too few principal components.
    """
    flip, turn = _flips(placed.betas, is_right=is_right)
    space, fingers = hand.pose_space, placed.rotations[..., 1:, :, :]
    match form:
        case "matrices":
            signs = flip[:, None] * flip
            numbers = (fingers * signs)[..., _OURS, :, :].flatten(-3)
        case "pca":
            offset = space.angles(fingers) - (space.mean if about_mean else 0.0)
            basis = space.angles_of(torch.eye(num_components).to(offset), about_mean=False)
            numbers = offset @ torch.linalg.pinv(basis)
        case "axis_angle":
            vectors = roma.rotmat_to_rotvec(fingers)
            vectors = vectors - space.vectors(space.mean) if about_mean else vectors
            numbers = (vectors * turn)[..., _OURS, :].flatten(-2)
    root = hand.with_shape(placed.betas).rest_joints[..., 0, :] * flip
    return ManoParameters(
        global_orient=roma.rotmat_to_rotvec(placed.rotations[..., 0, :, :]) * turn,
        hand_pose=numbers,
        betas=placed.betas,
        transl=placed.wrist_cam - root,
        form=form,
        about_mean=about_mean,
    )


def _flips(like: Tensor, *, is_right: bool) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Signs of points and of rotation vectors between a real hand and the right hand it mirrors."""
    x = 1.0 if is_right else -1.0
    return like.new_tensor([x, 1, 1]), like.new_tensor([1, x, x])
