"""Solutions → what the user gets: real hands with meshes, pixels, deviations and a status."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import project
from idhand.records import FLIP, HandInImage, HandResult
from idhand.refinement.deviations import (
    AS_STATED,
    Recalibration,
    Stated,
    misfit_m,
    visibility_of,
)
from idhand.refinement.objective import Objective
from idhand.refinement.problem import Observations
from idhand.refinement.solver import STATUS_NAMES, Solution
from idhand.refinement.uncertainty import residual_px, uncertainty


def hand_results(
    objective: Objective,
    hands: Sequence[HandInImage],
    seen: Observations,
    solution: Solution,
    shape_cov: Float[Tensor, "betas betas"] | None,
    recalibration: Recalibration = AS_STATED,
) -> list[HandResult]:
    """One result per hand, left ones mirrored back.

    Args:
        objective: Of the fit.
        hands: What was fitted.
        seen: Their observations.
        solution: What came out.
        shape_cov: Covariance of the known person's betas; None: the shape was also estimated.
        recalibration: What becomes of the posterior's deviations.
    """
    state, model = solution.state, objective.model
    rotations = torch.cat((state.R[:, None], model.pose_space.rotations(state.angles)), 1)
    posed = model.with_shape(state.betas).posed(rotations, state.wrist)
    residual = residual_px(objective, state, seen)
    at_keypoints = replace(model, landmarks=model.keypoints_on_bones)
    on_joints = replace(objective, model=at_keypoints)
    depth_m, size = state.wrist[:, 2], model.relative_size(state.betas)
    stated = Stated(
        uncertainty=uncertainty(objective, on_joints, state, seen, shape_cov),
        depth_m=depth_m,
        size=size,
        visible=torch.from_numpy(np.stack([visibility_of(h.detection) for h in hands])),
        misfit_m=misfit_m(residual, seen.K, depth_m, size),
    )
    spread, depth = recalibration.deviations(stated)
    results = []
    for i, hand in enumerate(hands):
        detection, camera = hand.detection, hand.camera
        flip = np.ones(3) if detection.is_right else FLIP
        keypoints = posed.keypoints[i].numpy() * flip
        faces = model.faces if detection.is_right else model.faces.flip(-1)
        results.append(
            HandResult(
                is_right=detection.is_right,
                score=detection.score,
                bbox_px=detection.bbox_px,
                keypoints_px=project(
                    torch.from_numpy(keypoints), torch.from_numpy(camera.K)
                ).numpy(),
                keypoints_cam=keypoints,
                verts_cam=posed.verts[i].numpy() * flip,
                faces=faces.numpy(),
                rotations=rotations[i].numpy(),
                model=model.name,
                betas=state.betas[i].numpy(),
                K=camera.K,
                K_is_guess=camera.is_guess,
                status=STATUS_NAMES[int(solution.status[i])],
                residual_px=float(residual[i]),
                keypoints_std_m=spread[i].numpy(),
                depth_std_m=float(depth[i]),
                detection=detection,
            )
        )
    return results
