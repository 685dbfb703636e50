"""The optimisation of the ECCV 2022 paper as its authors released it, on any hand model.

Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
ECCV 2022; details from the released code, docs/method.md, section 11. It knows no prior, no
confidences and no third dimension: only the distance to the points in the picture.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import back_project, project, rotation_from_6d
from idhand.hand import BonePoints, Hand
from idhand.refinement.points import keypoints, posed_points


@dataclass(frozen=True, kw_only=True)
class OfficialConfig:
    """The published schedule."""

    steps: tuple[int, int] = (200, 100)
    """For the translation alone, then for translation and pose."""
    rates: tuple[float, float] = (1e-2, 1e-3)
    """Learning rates of the two stages."""
    start_depth_m: float = 0.85

    def __post_init__(self):
        if min(self.steps) < 0 or min(self.rates) <= 0 or self.start_depth_m <= 0:
            raise ValueError("steps may not be negative; rates and the depth must be positive")


@dataclass(frozen=True, kw_only=True)
class OfficialFit:
    """Where the schedule ended."""

    rotations: Float[Tensor, "batch 16 3 3"]
    wrist_cam: Float[Tensor, "batch 3"]
    loss_px2: Float[Tensor, " batch"]
    """Mean squared distance in the picture, of the start of the last step."""


def fit_officially(
    hand: Hand,
    sixd: Float[Tensor, "batch 16 6"],
    points_px: Float[Tensor, "batch 21 2"],
    K: Float[Tensor, "batch 3 3"],
    config: OfficialConfig | None = None,
    marks: BonePoints | None = None,
) -> OfficialFit:
    """Optimise translation and raw 6D rotations of right hands; the shapes stay.

    Each hand has a loss and, by Adam's scale invariance, a course of its own: the result does not
    depend on the rest of the batch. The start of the translation ignores where the model's wrist
    lies, as the authors' does.

    Args:
        hand: One shape for each pose.
        sixd: The network's last state, the wrist's to the camera.
        points_px: Seen in the picture, without lens distortion.
        K: Intrinsics, px.
        config: The schedule.
        marks: The points on the bones that are seen; None: the keypoints, as in the paper.
    """
    config = config or OfficialConfig()
    on_hand = keypoints if marks is None else partial(posed_points, marks)
    origin = hand.rest_joints[:, 0]
    ray = back_project(points_px[:, :1], K)[:, 0]
    T = config.start_depth_m * torch.cat((ray, torch.ones_like(ray[:, :1])), 1)
    pose = sixd.detach().clone()
    loss = torch.full_like(T[:, 0], torch.nan)
    for stage in (0, 1):
        unknowns = [T.requires_grad_(True)]
        if stage == 1:
            unknowns.append(pose.requires_grad_(True))
        optimiser = torch.optim.Adam(unknowns, lr=config.rates[stage])
        fixed = on_hand(hand, rotation_from_6d(pose), origin).detach() if stage == 0 else None
        for _ in range(config.steps[stage]):
            # Rotations turn the hand about its wrist: a translation only moves the points.
            model_points = on_hand(hand, rotation_from_6d(pose), origin) if fixed is None else fixed
            off_px = project(model_points + T[:, None], K) - points_px
            loss = off_px.square().sum(-1).mean(-1)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
    with torch.no_grad():
        return OfficialFit(
            rotations=rotation_from_6d(pose.detach()),
            wrist_cam=origin + T.detach(),
            loss_px2=loss.detach(),
        )
