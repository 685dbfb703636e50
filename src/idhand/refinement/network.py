"""A network's estimate beside the landmark net's: a start, bone directions, points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import project
from idhand.hand import BonePoints, FittableHand
from idhand.nets.crops import landmark_roi, view_of
from idhand.records import FLIP, HandInImage
from idhand.refinement.config import ObservationSource, RefinementConfig, Trust
from idhand.refinement.objective import Objective
from idhand.refinement.observing import mirrored_intrinsics, observed, unit_bones
from idhand.refinement.points import keypoints as model_keypoints
from idhand.refinement.points import posed_points
from idhand.refinement.problem import Observations, State
from idhand.refinement.residuals import BONE_END, BONE_START
from idhand.refinement.solver import ASTRAY, DIVERGED, Solution, solve
from idhand.refinement.start import translation

KNUCKLE = 9
"""The middle finger's keypoint."""
MOST_SPREAD = 0.3
"""More than this share is not given back."""
MAX_DEPTH_RATIO = 1.5
"""A solution that is nearer or farther than the closed form by more than this went astray."""


@dataclass(frozen=True, kw_only=True)
class NetworkKeypoints:
    """What the keypoint network sees of right hands, in the pixels of `Observations`."""

    points_px: Float[Tensor, "batch 21 2"]
    cov_px: Float[Tensor, "batch 21 2 2"]
    log_size: Float[Tensor, " batch"]
    """As `Observations.log_size`."""
    log_size_std: Float[Tensor, " batch"]
    directions: Float[Tensor, "batch 20 3"]
    """As `Observations.directions`, but of the keypoints' bones."""
    directions_std: Float[Tensor, "batch 20"]

    def __getitem__(self, index: Tensor | slice) -> "NetworkKeypoints":
        """Some of the batch."""
        return NetworkKeypoints(**{name: values[index] for name, values in vars(self).items()})


def network_keypoints(hands: Sequence[HandInImage]) -> NetworkKeypoints | None:
    """What the keypoint network sees of a batch of hands, left ones mirrored; float64.

    None if it has not seen all of them.
    """
    rows = [_seen_row(hand) for hand in hands if hand.detection.keypoints is not None]
    if len(rows) < len(hands) or not hands:
        return None
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return NetworkKeypoints(**{name: torch.from_numpy(values) for name, values in columns.items()})


def _seen_row(hand: HandInImage) -> dict[str, np.ndarray | np.float64]:
    """One hand's fields of `NetworkKeypoints`."""
    seen, camera, is_right = hand.detection.keypoints, hand.camera, hand.detection.is_right
    assert seen is not None
    points = observed(seen.points_px, camera.K, camera.dist, is_right)
    flip = np.ones(2) if is_right else FLIP[:2]
    step = 0.05 * np.exp(seen.log_length_px)
    cross = seen.points_px[KNUCKLE] + step * np.array([[-1.0, 0], [1, 0], [0, -1], [0, 1]])
    left, right, above, below = observed(cross, camera.K, camera.dist, is_right)
    sides = np.abs(np.linalg.det(np.stack((right - left, below - above)))) / (2 * step) ** 2
    focal_px = np.sqrt(np.linalg.det(camera.K[:2, :2]))
    ray = np.linalg.solve(
        camera.K if is_right else mirrored_intrinsics(camera.K), np.append(points[KNUCKLE], 1.0)
    )
    stretch = np.sqrt(np.linalg.norm(ray) / np.abs(ray[2]))
    log_size = seen.log_length_px + np.log(np.sqrt(sides) / focal_px / stretch)
    view = view_of(landmark_roi(hand.detection.landmarks_px), camera.K, camera.dist, is_right)
    return {
        "points_px": points,
        "cov_px": seen.cov_px * (flip[:, None] * flip),
        "log_size": np.float64(log_size),
        "log_size_std": np.float64(seen.log_length_std),
        "directions": seen.directions @ view.R_cam_view.T,
        "directions_std": seen.directions_std,
    }


def whitening(
    cov_px: Float[Tensor, "batch 21 2 2"],
    points_px: Float[Tensor, "batch 21 2"],
    scale_std: float,
) -> Float[Tensor, "batch 42 42"]:
    """Root of the precision of points that are off each by itself, and together in scale.

    Args:
        cov_px: Of each point.
        points_px: About whose weighted mean they are off together.
        scale_std: Deviation of their common scale.
    """
    root = torch.linalg.inv(torch.linalg.cholesky(cov_px))
    weight = 1 / cov_px.diagonal(dim1=-2, dim2=-1).sum(-1)
    middle = (weight[..., None] * points_px).sum(1) / weight.sum(1, keepdim=True)
    off = (root @ (points_px - middle[:, None])[..., None])[..., 0].flatten(1)
    length = off.norm(dim=1, keepdim=True).clamp_min(1e-9)
    share = 1 - 1 / (1 + (scale_std * length).square()).sqrt()
    axis = off / length
    each = root.new_zeros(len(root), 21, 2, 21, 2)
    index = torch.arange(21, device=root.device)
    each[:, index, :, index] = root.transpose(0, 1)
    each = each.flatten(3).flatten(1, 2)
    return each - (share * axis)[..., None] * (axis[:, None] @ each)


def spread_out(
    points_px: Float[Tensor, "batch 21 2"], cov_px: Float[Tensor, "batch 21 2 2"]
) -> Float[Tensor, "batch 21 2"]:
    """Points that were drawn together, as wide apart as the true ones are.

    A network's points are means of what is possible: the truth scatters about them, not they about
    the truth, so they span less than it. Fitted by least squares with the weights cov⁻¹, a hand of
    the true form is then smaller by the share 1 / (1 + 42 / Σ vᵀ cov⁻¹ v), in which v are the
    points about their middle; this share is given back.
    """
    precision = torch.linalg.inv(cov_px)
    weight = precision.sum(1)
    middle = torch.linalg.solve(weight, (precision @ points_px[..., None]).sum(1))[..., 0]
    off = points_px - middle[:, None]
    span = (off[..., None, :] @ precision @ off[..., None]).sum((1, 2, 3))
    lost = 2 * points_px.shape[1] / span.clamp_min(1e-9)
    return points_px + lost.clamp_max(MOST_SPREAD)[:, None, None] * off


def with_network(
    model: FittableHand,
    rotations: Float[Tensor, "batch 16 3 3"],
    betas: Float[Tensor, "batch betas"],
    seen: Observations,
    network_px: Float[Tensor, "batch 21 2"] | None = None,
    trust: Trust | None = None,
    marks: BonePoints | None = None,
    keypoints: NetworkKeypoints | None = None,
) -> tuple[State, Observations]:
    """A network's estimate as a start and as observations.

    The start is its pose, as near as the model's joints can take it, where the points project best.
    The landmark net's points are others than the network's; at the network's pose both are known,
    and their difference takes the network's points to where that net would see them.

    Args:
        model: Float64.
        rotations: Each joint relative to its parent, the wrist's to the camera.
        betas: Shapes to start from.
        seen: The landmark net's.
        network_px: Points as the network sees them, in the pixels of `seen`; None: it has none.
        trust: How much each counts.
        marks: Where these points lie on the hand model; None: they are its keypoints.
        keypoints: What the keypoint network sees, instead of `network_px`.
    """
    trust = trust or Trust()
    point_weight = torch.full_like(seen.sigma_px, trust.point_weight)
    direction_weight = torch.full_like(seen.sigma_direction, trust.direction_weight)
    guessed = seen.unseen[:, BONE_END] | seen.unseen[:, BONE_START]
    point_weight[seen.unseen] = trust.unseen_point_weight
    direction_weight[guessed] = trust.unseen_direction_weight
    space = model.pose_space
    hand, at_origin = model.with_shape(betas), torch.zeros_like(rotations[:, 0, 0])
    points = posed_points(model.landmarks, hand, rotations, at_origin)
    if keypoints is not None:
        network_px = keypoints.points_px
    own = points
    if network_px is not None and trust.points != "landmarks":
        own = (
            model_keypoints(hand, rotations, at_origin)
            if marks is None
            else posed_points(marks, hand, rotations, at_origin)
        )
        wrist = translation(own, replace(seen, points_px=network_px))[:, None]
        shift = project(points + wrist, seen.K) - project(own + wrist, seen.K)
        if keypoints is not None:
            moved = replace(keypoints, points_px=network_px + shift)
            seen = _with_keypoints(seen, moved, project(points + wrist, seen.K), trust)
        else:
            mixed = _mixed(
                seen.points_px, network_px + shift, trust.points, point_weight[..., None]
            )
            seen = replace(seen, points_px=mixed)
    bones = unit_bones(points)
    if keypoints is None or trust.directions == "landmarks":
        directions = _mixed(seen.directions, bones, trust.directions, direction_weight[..., None])
        seen = replace(seen, directions=torch.nn.functional.normalize(directions, dim=-1))
    else:
        of_keypoints = keypoints.directions + bones - unit_bones(own)
        seen = _with_directions(seen, bones, replace(keypoints, directions=of_keypoints), trust)
    angles = space.angles(rotations[:, 1:]).clamp(space.lower, space.upper)
    wrist = translation(points, seen)
    return State(R=rotations[:, 0], wrist=wrist, angles=angles, betas=betas), seen


def _with_keypoints(
    seen: Observations,
    network: NetworkKeypoints,
    start_px: Float[Tensor, "batch 21 2"],
    trust: Trust,
) -> Observations:
    """The points of both nets by their covariances, and the size that the network sees.

    Args:
        seen: With the landmark net's points.
        network: With its own, where that net would see them.
        start_px: Where these points are in the start's pose, which is how they are scaled together.
        trust: How much each counts.
    """
    cov = trust.keypoint_factor**2 * network.cov_px
    points = network.points_px
    if trust.points == "both":
        factor = torch.where(seen.unseen, 1.0, trust.landmark_factor)
        of_landmarks = (factor * seen.sigma_px).square().reciprocal()[..., None, None]
        of_landmarks = of_landmarks * torch.eye(2, dtype=cov.dtype, device=cov.device)
        precision = torch.linalg.inv(cov)
        cov = torch.linalg.inv(of_landmarks + precision)
        weighted = of_landmarks @ seen.points_px[..., None] + precision @ points[..., None]
        points = (cov @ weighted)[..., 0]
    return replace(
        seen,
        points_px=spread_out(points, cov) if trust.spreads_points else points,
        sigma_px=(cov.diagonal(dim1=-2, dim2=-1).sum(-1) / 2).sqrt(),
        whiten_px=whitening(cov, start_px, trust.scale_std),
        log_size=network.log_size,
        log_size_std=trust.size_factor * network.log_size_std,
    )


def _with_directions(
    seen: Observations,
    bones: Float[Tensor, "batch 20 3"],
    keypoints: NetworkKeypoints,
    trust: Trust,
) -> Observations:
    """The bones' directions of all nets.

    Those of the pose network, which may know the person, are better than the keypoint network's,
    but only the latter says how sure they are, and where it is unsure both err.

    Args:
        seen: With the landmark net's.
        bones: Of the pose network.
        keypoints: With the keypoint network's, for the same points.
        trust: How much each counts.
    """
    if trust.directions == "landmarks":
        return seen
    directions = bones
    precision = (trust.direction_factor * keypoints.directions_std) ** -2
    if trust.directions == "both":
        guessed = seen.unseen[:, BONE_END] | seen.unseen[:, BONE_START]
        factor = torch.where(guessed, 1.0, trust.landmark_factor)
        of_landmarks = (factor * seen.sigma_direction) ** -2
        weighted = precision[..., None] * directions + of_landmarks[..., None] * seen.directions
        precision = precision + of_landmarks
        directions = weighted / precision[..., None]
    return replace(
        seen,
        directions=torch.nn.functional.normalize(directions, dim=-1),
        sigma_direction=precision.rsqrt(),
    )


def _mixed(landmarks: Tensor, network: Tensor, source: ObservationSource, weight: Tensor) -> Tensor:
    match source:
        case "landmarks":
            return landmarks
        case "network":
            return network
        case "both":
            return (landmarks + weight * network) / (1 + weight)


def solve_near(
    objective: Objective,
    seen: Observations,
    start: State,
    config: RefinementConfig,
    *,
    shape: bool,
) -> Solution:
    """As `solve`, but a hand that went astray is put back to its start.

    Its cost and Hessian are then those of the start. Astray is what lies nearer or farther than the
    start by more than `MAX_DEPTH_RATIO`. A hand that
    diverged stays so: neither its numbers nor those of its start mean anything.
    """
    solution = solve(objective, seen, start, config, shape=shape)
    ratio = solution.state.wrist[:, 2] / start.wrist[:, 2]
    kept = (ratio > 1 / MAX_DEPTH_RATIO) & (ratio < MAX_DEPTH_RATIO)
    kept |= solution.status == DIVERGED
    if bool(kept.all()):
        return solution
    status = torch.where(kept, solution.status, torch.full_like(solution.status, ASTRAY))
    there = objective.linearise(start, seen, shape=shape)
    return replace(
        solution,
        state=solution.state.where(kept, start),
        status=status,
        cost=torch.where(kept, solution.cost, there.cost),
        hessian=torch.where(kept[:, None, None], solution.hessian, there.hessian),
    )
