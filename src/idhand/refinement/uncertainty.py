"""The residual of a fit and its uncertainty."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import project
from idhand.refinement.objective import Objective
from idhand.refinement.problem import Observations, State


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Variances of a batch of fits, m²: what the picture leaves open, and what the shape adds.

    The first part is that of a hand of known shape. The second is what the uncertainty of the shape
    brings, above all the size, which goes fully into the depth.
    """

    keypoints_pose: Float[Tensor, "batch 21"]
    """Of each keypoint about the wrist."""
    keypoints_shape: Float[Tensor, "batch 21"]
    depth_pose: Float[Tensor, " batch"]
    """Of the wrist's depth."""
    depth_shape: Float[Tensor, " batch"]

    @property
    def keypoints_std_m(self) -> Float[Tensor, "batch 21"]:
        """Standard deviation of the keypoints about the wrist, metres."""
        return (self.keypoints_pose + self.keypoints_shape).sqrt()

    @property
    def depth_std_m(self) -> Float[Tensor, " batch"]:
        """Standard deviation of the wrist's depth, metres."""
        return (self.depth_pose + self.depth_shape).sqrt()


def residual_px(objective: Objective, state: State, seen: Observations) -> Float[Tensor, " batch"]:
    """Root mean square distance between fitted and observed landmarks."""
    *_, points = objective.kinematics(state)
    off = project(points, seen.K) - seen.points_px
    return off.square().sum(-1).mean(-1).sqrt()


def uncertainty(
    objective: Objective,
    on_joints: Objective,
    state: State,
    seen: Observations,
    shape_cov: Float[Tensor, "betas betas"] | None,
) -> Uncertainty:
    """Uncertainty of the keypoints about the wrist and of the depth (Laplace approximation).

    Args:
        objective: Of the fit.
        on_joints: The same with the keypoints in place of the landmark points.
        state: What came out.
        seen: The observations.
        shape_cov: Covariance of the known person's betas; None: the shape was also estimated.
    """
    H = objective.linearise(state, seen, shape=True).hessian
    n = 6 + state.angles.shape[-1]
    # A limit bounds one side only, so it has little information on an angle that is not observed.
    free = objective.limit_hessian(state.angles) * objective.unseen_angles(seen)
    H[:, 6:n, 6:n] -= torch.diag_embed(free)
    shape = (
        torch.linalg.inv(H)[:, n:, n:] if shape_cov is None else shape_cov.expand(len(H), -1, -1)
    )
    pose = torch.linalg.inv(H[:, :n, :n])
    along = -pose @ H[:, :n, n:]  # how the pose follows a change of the shape
    _, J = on_joints.point_jacobian(state, shape=True, bias=False)
    about_wrist = J - J[:, :1]
    of_pose = about_wrist[..., :n]
    of_shape = of_pose @ along[:, None] + about_wrist[..., n:]
    depth = along[:, 5]
    return Uncertainty(
        keypoints_pose=torch.einsum("bpak,bkl,bpal->bp", of_pose, pose, of_pose).clamp_min(0),
        keypoints_shape=torch.einsum("bpak,bkl,bpal->bp", of_shape, shape, of_shape).clamp_min(0),
        depth_pose=pose[:, 5, 5].clamp_min(0),
        depth_shape=torch.einsum("bk,bkl,bl->b", depth, shape, depth).clamp_min(0),
    )
