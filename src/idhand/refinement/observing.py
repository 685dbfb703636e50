"""From detections to observations: left hands mirrored, lens distortion removed, noise scaled."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from idhand.geometry import back_project, rotation_towards
from idhand.lens import Distortion, undistorted_px
from idhand.records import FLIP, Detection, HandInImage
from idhand.refinement.problem import ObjectiveConfig, Observations
from idhand.refinement.residuals import BONE_END, BONE_START

IMAGE_WEIGHT = 2.0
"""Weight of the image landmarks with their relative depth against the world points.

The net gives the third dimension twice, and the two errors differ: on the stereo clip the fit's
aligned error is 13.0 mm with the world points, 12.4 with the image landmarks, 10.3 with both."""
IMAGE_DEPTH_GAIN, WORLD_DEPTH_GAIN = 1.5, 0.7
"""The image landmarks are too flat and the world points too deep: slopes of the true depth of a
unit bone on the seen one, 1.4-1.9 and 0.3-0.7 on the stereo clip and on renders."""

MEAN_HAND_LENGTH_M = 0.187
"""Hand length of the average adult, ANSUR II, men and women in equal parts."""


def hand_size_px(detection: Detection) -> float:
    """Length of the hand in the image, were it flat: does not shrink with pose or tilt."""
    seen = detection.landmarks_px - detection.landmarks_px.mean(0)
    world = (detection.landmarks_world - detection.landmarks_world.mean(0))[:, :2]
    return MEAN_HAND_LENGTH_M * float(np.sqrt((seen**2).sum() / max((world**2).sum(), 1e-9)))


def mirrored_intrinsics(K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Camera that sees the world mirrored in x, pixels negated in x."""
    return np.diag(FLIP) @ K @ np.diag(FLIP)


def observed(
    points_px: Float[np.ndarray, "points 2"],
    K: Float[np.ndarray, "3 3"],
    dist: Distortion,
    is_right: bool,
) -> Float[np.ndarray, "points 2"]:
    """Points of the real picture as `Observations` have them: straight, of a right hand."""
    return undistorted_px(points_px, K, dist) * (np.ones(2) if is_right else FLIP[:2])


def unit_bones(points: Float[torch.Tensor, "batch 21 3"]) -> Float[torch.Tensor, "batch 20 3"]:
    """Unit directions from each keypoint's parent to it."""
    return torch.nn.functional.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)


def observations(hands: Sequence[HandInImage], config: ObjectiveConfig) -> Observations:
    """What the landmark net sees of a batch of hands, all as right hands, float64.

    The net sees a crop as if the camera looked straight at it, so its third dimension is turned
    from the ray through the hand to the camera's axis.

    Args:
        hands: Each with the camera of its image.
        config: Noise levels.
    """
    points, worlds, images, cameras, sigmas, unseen = [], [], [], [], [], []
    for hand in hands:
        d, K, dist = hand.detection, hand.camera.K, hand.camera.dist
        flip = np.ones(3) if d.is_right else FLIP
        points.append(observed(d.landmarks_px, K, dist, d.is_right))
        worlds.append(d.landmarks_world * flip)
        images.append(np.concatenate((d.landmarks_px, d.landmarks_z_px[:, None]), 1) * flip)
        cameras.append(K if d.is_right else mirrored_intrinsics(K))
        unseen.append(np.zeros(21, bool) if d.outside is None else d.outside)
        certainty = np.sqrt(d.confidence.clip(0.05, 1.0))
        share = np.where(unseen[-1], config.unseen_sigma_px, config.sigma_px / certainty)
        sigmas.append(share * hand_size_px(d))
    pixels, K = torch.from_numpy(np.stack(points)), torch.from_numpy(np.stack(cameras))
    world = torch.from_numpy(np.stack(worlds)) * pixels.new_tensor([1.0, 1.0, WORLD_DEPTH_GAIN])
    image = torch.from_numpy(np.stack(images)) * pixels.new_tensor([1.0, 1.0, IMAGE_DEPTH_GAIN])
    directions = unit_bones(world) + IMAGE_WEIGHT * unit_bones(image)
    towards = rotation_towards(back_project(pixels, K).mean(1))
    sigma = torch.from_numpy(np.stack(sigmas))
    guessed = torch.from_numpy(np.stack(unseen))
    sigma_direction = torch.where(
        guessed[:, BONE_END] | guessed[:, BONE_START],
        world.new_tensor(config.unseen_sigma_direction),
        world.new_tensor(config.sigma_direction),
    )
    return Observations(
        points_px=pixels,
        sigma_px=sigma,
        directions=torch.nn.functional.normalize(directions, dim=-1) @ towards.mT,
        sigma_direction=sigma_direction,
        K=K,
        unseen=guessed,
        world=world @ towards.mT,
    )
