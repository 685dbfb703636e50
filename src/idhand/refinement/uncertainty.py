"""The residual of a fit and its uncertainty."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import project
from idhand.refinement.objective import Objective
from idhand.refinement.problem import Observations, State


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
) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, " batch"]]:
    """Standard deviation of the keypoints about the wrist (batch, 21) and of the depth, metres.

    Laplace approximation. A known shape brings its own covariance: the part that the image
    does not determine (above all size) goes fully into the depth.

    Args:
        objective: Of the fit.
        on_joints: The same with the keypoints in place of the landmark points.
        state: What came out.
        seen: The observations.
        shape_cov: Covariance of the known person's betas; None: the shape was also estimated.
    """
    H = objective.linearise(state, seen, shape=True).hessian
    num_pose = 6 + state.angles.shape[-1]
    # A limit bounds one side only, so it has little information on an angle that is not observed.
    free = objective.limit_hessian(state.angles) * objective.unseen_angles(seen)
    H[:, 6:num_pose, 6:num_pose] -= torch.diag_embed(free)
    if shape_cov is None:
        covariance = torch.linalg.inv(H)
    else:
        pose = torch.linalg.inv(H[:, :num_pose, :num_pose])
        slope = -pose @ H[:, :num_pose, num_pose:]
        covariance = torch.cat(
            (
                torch.cat((pose + slope @ shape_cov @ slope.mT, slope @ shape_cov), -1),
                torch.cat(((slope @ shape_cov).mT, shape_cov.expand(len(H), -1, -1)), -1),
            ),
            -2,
        )
    _, J = on_joints.point_jacobian(state, shape=True, bias=False)
    about_wrist = J - J[:, :1]
    variance = torch.einsum("bpak,bkl,bpal->bp", about_wrist, covariance, about_wrist)
    return variance.clamp_min(0).sqrt(), covariance[:, 5, 5].clamp_min(0).sqrt()
