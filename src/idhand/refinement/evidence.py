"""From detections to observations: left hands mirrored, lens distortion removed, noise scaled."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float

from idhand.records import Detection
from idhand.refinement.objective import BONE_END, BONE_START, ObjectiveConfig, Observations

IMAGE_DEPTH_WEIGHT = 1.5
"""Weight of the bone directions of image landmarks with relative depth, against the world points'.

The net says the third dimension twice and the two errors differ: on the stereo clip the fit's
aligned error falls from 13.0 (world points) or 12.4 (image landmarks) to 10.3 mm (both)."""

MEAN_HAND_LENGTH_M = 0.187
"""Hand length of the average adult, ANSUR II, men and women in equal parts."""

FLIP = np.array([-1.0, 1.0, 1.0])


def hand_size_px(detection: Detection) -> float:
    """Length of the hand in the image, were it flat: does not shrink with pose or tilt."""
    seen = detection.landmarks_px - detection.landmarks_px.mean(0)
    world = (detection.landmarks_world - detection.landmarks_world.mean(0))[:, :2]
    return MEAN_HAND_LENGTH_M * float(np.sqrt((seen**2).sum() / max((world**2).sum(), 1e-9)))


def mirrored_intrinsics(K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Camera that sees the world mirrored in x, pixels negated in x."""
    return np.diag([-1.0, 1.0, 1.0]) @ K @ np.diag(FLIP)


def undistorted(
    points_px: Float[np.ndarray, "points 2"],
    K: Float[np.ndarray, "3 3"],
    dist: Float[np.ndarray, " 5"] | None,
) -> Float[np.ndarray, "points 2"]:
    """Where the points would lie in a pinhole image with the same K."""
    if dist is None or not dist.any():
        return points_px
    return cv2.undistortPoints(points_px[:, None].astype(np.float64), K, dist, P=K)[:, 0]


def unit_bones(points: Float[torch.Tensor, "batch 21 3"]) -> Float[torch.Tensor, "batch 20 3"]:
    """Unit directions from each keypoint's parent to it."""
    return torch.nn.functional.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)


def observations(
    detections: Sequence[Detection],
    Ks: Sequence[Float[np.ndarray, "3 3"]],
    dists: Sequence[Float[np.ndarray, " 5"] | None],
    config: ObjectiveConfig,
) -> tuple[Observations, Float[torch.Tensor, "batch 21 3"]]:
    """Evidence of a batch of hands, all as right hands, and the net's world points, float64.

    Args:
        detections: One per hand.
        Ks: Intrinsics of each hand's image.
        dists: Lens distortion of each image, or None.
        config: Noise levels.
    """
    points, worlds, images, cameras, sigmas = [], [], [], [], []
    for d, K, dist in zip(detections, Ks, dists, strict=True):
        pixels = undistorted(d.landmarks_px, K, dist)
        flip = np.ones(3) if d.is_right else FLIP
        points.append(pixels * flip[:2])
        worlds.append(d.landmarks_world * flip)
        images.append(np.concatenate((d.landmarks_px, d.landmarks_z_px[:, None]), 1) * flip)
        cameras.append(K if d.is_right else mirrored_intrinsics(K))
        certainty = np.clip(d.confidence, 0.05, 1.0)
        sigmas.append(config.sigma_px * hand_size_px(d) / np.sqrt(certainty))
    world = torch.from_numpy(np.stack(worlds).astype(np.float64))
    image = torch.from_numpy(np.stack(images).astype(np.float64))
    directions = unit_bones(world) + IMAGE_DEPTH_WEIGHT * unit_bones(image)
    sigma = torch.from_numpy(np.stack(sigmas))
    seen = Observations(
        points_px=torch.from_numpy(np.stack(points)),
        sigma_px=sigma,
        directions=torch.nn.functional.normalize(directions, dim=-1),
        sigma_direction=torch.full((len(world), 20), config.sigma_direction, dtype=world.dtype),
        K=torch.from_numpy(np.stack(cameras).astype(np.float64)),
    )
    return seen, world
