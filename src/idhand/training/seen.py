"""What a crop shows of its hand beside pose and shape, and crops that show less of it.

Things before a hand, the picture's border through it and small pictures are put into crops that
were cut already: one rendered picture serves many times.
"""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from idhand.assets import hand
from idhand.detection.roi import CROP_SIZE_PX
from idhand.hand import FittableHand
from idhand.nets.crops import View
from idhand.nets.keypoints import KNUCKLE, MAP_SIDES
from idhand.records import FLIP, OTHER_PART, Sample

PARTS_SIDE = MAP_SIDES[-1]
SHIFT_BITS = 4
"""Of OpenCV's fixed point numbers."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Of one crop; fields as in `SeenLabels`."""

    visible: Float32[np.ndarray, " 21"]
    log_size: np.float32
    parts: UInt8[np.ndarray, "56 56"]


@dataclass(frozen=True, kw_only=True)
class HarmConfig:
    """What is done to crops, each independently.

    Raises:
        ValueError: If a share is none.
    """

    cover_share: float = 0.35
    """Of the crops, with something before the hand."""
    cover_side: tuple[float, float] = (0.15, 0.7)
    """Smallest and largest side of what covers it, in sides of the crop."""
    border_share: float = 0.15
    """Of the crops, that a border of the picture goes through."""
    small_share: float = 0.3
    """Of the crops, from small pictures."""
    smallest_px: float = 48.0
    """Side of the crop in these, at the least."""

    def __post_init__(self):
        shares = (self.cover_share, self.border_share, self.small_share)
        low, high = self.cover_side
        if min(shares) < 0 or max(shares) > 1 or not 0 < low <= high:
            raise ValueError(f"shares must be within 0..1 and sides positive, got {self}")
        if not 1 <= self.smallest_px <= CROP_SIZE_PX:
            raise ValueError(f"smallest_px must be 1 to {CROP_SIZE_PX}, got {self.smallest_px}")


def in_crop_px(
    points_px: Float[np.ndarray, "points 2"], view: View
) -> Float[np.ndarray, "points 2"]:
    """Pixels of the picture → of the crop."""
    return view.roi.from_image(points_px) * CROP_SIZE_PX - 0.5


def what_is_seen(sample: Sample, view: View) -> Seen:
    """The labels of a crop.

    Args:
        sample: With the hand's pose, parts and visible keypoints.
        view: How the crop was cut.

    Raises:
        ValueError: If the sample lacks one of these.
    """
    if sample.keypoints_cam is None or sample.parts is None or sample.visible is None:
        raise ValueError(
            f"sample {sample.id} of '{sample.dataset}' has no keypoints in space, no parts or no "
            "visible keypoints; use a data set with them, such as those of `idhand synth`"
        )
    assert sample.betas is not None
    assert sample.model is not None
    length_m = _hand_length_m(sample.model, sample.betas)
    own = sample.keypoints_cam * (np.ones(3) if sample.is_right else FLIP)
    M = view.roi.axes_image_roi.T / view.roi.size_px * PARTS_SIDE
    shift = 0.5 * PARTS_SIDE - 0.5 - M @ view.roi.center_px
    parts = cv2.warpAffine(
        sample.parts, np.concatenate((M, shift[:, None]), 1), (PARTS_SIDE, PARTS_SIDE),
        flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0,
    )  # fmt: skip
    return Seen(
        visible=sample.visible.astype(np.float32),
        log_size=np.float32(log_size(sample.K, own[KNUCKLE], view.roi.size_px, length_m)),
        parts=np.asarray(parts, np.uint8),
    )


def log_size(
    K: Float[np.ndarray, "3 3"],
    at_cam: Float[np.ndarray, " 3"],
    side_px: float,
    length_m: float,
) -> float:
    """Logarithm of a flat hand's length in sides of the crop.

    Of a hand that faces the camera's centre; off the picture's middle, pictures are stretched away
    from it, and the mean of both directions is taken.

    Args:
        K: Intrinsics of the whole picture, px.
        at_cam: Where it is.
        side_px: Of the crop, in the picture.
        length_m: Of the hand.
    """
    focal_px = np.sqrt(np.linalg.det(K[:2, :2]))
    stretch = np.sqrt(np.linalg.norm(at_cam) / at_cam[2])
    return float(np.log(focal_px * length_m / at_cam[2] * stretch / side_px))


def _hand_length_m(model_name: str, betas: Float[np.ndarray, " betas"]) -> float:
    """Of a hand, to first order in its betas, as the solver has it."""
    model = _model(model_name)
    size = model.relative_size(torch.from_numpy(betas).to(model.template))
    return float(size) * model.mean_length_m


@cache
def _model(name: str) -> FittableHand:
    return hand(name)


def harmed(
    rgb: UInt8[np.ndarray, "224 224 3"],
    seen: Seen,
    points_px: Float[np.ndarray, "21 2"],
    rng: np.random.Generator,
    config: HarmConfig,
) -> tuple[UInt8[np.ndarray, "224 224 3"], Seen]:
    """The crop with less of its hand, and what is still seen.

    Args:
        rgb: The crop.
        seen: Before.
        points_px: Keypoints in the crop, about which the harm is done.
        rng: Draws as it needs.
        config: How.
    """
    cover, border, small = rng.random(3) < (
        config.cover_share, config.border_share, config.small_share,
    )  # fmt: skip
    if cover:
        corners = _cover_corners(points_px, rng, config)
        mask = _filled(corners)
        rgb = np.where(mask[..., None] > 0, _stuff(rgb, rng), rgb)
        seen = _hidden(seen, mask, points_px, OTHER_PART)
    if border:
        mask = _filled(_beyond_border(points_px, rng))
        rgb = np.where(mask[..., None] > 0, np.uint8(0), rgb)
        seen = _hidden(seen, mask, points_px, 0)
    if small:
        rgb = _as_from_small(rgb, rng, config.smallest_px)
    return rgb, seen


def _cover_corners(
    points_px: Float[np.ndarray, "21 2"], rng: np.random.Generator, config: HarmConfig
) -> Float[np.ndarray, "corners 2"]:
    """A board of four corners, or something rounder, near a keypoint."""
    low, high = np.log(config.cover_side)
    sides = CROP_SIZE_PX * np.exp(rng.uniform(low, high, 2))
    centre = points_px[rng.integers(len(points_px))] + rng.normal(0, 0.25, 2) * sides
    turn = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        corners = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    else:
        angles = np.linspace(0, 2 * np.pi, int(rng.integers(5, 16)), endpoint=False)
        corners = np.stack((np.cos(angles), np.sin(angles)), 1) / 2
        corners *= rng.uniform(0.8, 1.2, (len(corners), 1))
    c, s = np.cos(turn), np.sin(turn)
    return centre + (corners * sides) @ np.array([[c, s], [-s, c]])


def _beyond_border(
    points_px: Float[np.ndarray, "21 2"], rng: np.random.Generator
) -> Float[np.ndarray, "4 2"]:
    """What lies beyond a straight border that cuts off up to seven tenths of the keypoints."""
    turn = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(turn), np.sin(turn)])
    along = np.array([-away[1], away[0]])
    start = np.quantile(points_px @ away, rng.uniform(0.3, 1.0))
    far = 4.0 * CROP_SIZE_PX
    middle = start * away + (points_px @ along).mean() * along
    return middle + np.array(
        [-far * along, far * along, far * (along + away), far * (away - along)]
    )


def _filled(corners: Float[np.ndarray, "corners 2"]) -> UInt8[np.ndarray, "224 224"]:
    """One inside the polygon."""
    mask = np.zeros((CROP_SIZE_PX, CROP_SIZE_PX), np.uint8)
    fixed = np.rint(corners * 2**SHIFT_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=SHIFT_BITS)
    return mask


def _stuff(
    rgb: UInt8[np.ndarray, "224 224 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "224 224 3"]:
    """A picture of what covers the hand: a painted board, or another place of the same picture."""
    kind = rng.random()
    if kind < 0.35:  # turned and enlarged, so that nothing lies where it was
        turn, scale = rng.uniform(60, 300), rng.uniform(1.0, 2.0)
        M = cv2.getRotationMatrix2D((CROP_SIZE_PX / 2, CROP_SIZE_PX / 2), turn, scale)
        M[:, 2] += rng.uniform(-60, 60, 2)
        size = (CROP_SIZE_PX, CROP_SIZE_PX)
        return np.asarray(cv2.warpAffine(rgb, M, size, borderMode=cv2.BORDER_REFLECT), np.uint8)
    tone = rng.uniform(0, 255, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0, 255))
    ramp = np.linspace(-1, 1, CROP_SIZE_PX)
    slope = rng.normal(0, 25, 2)
    light = slope[0] * ramp[:, None] + slope[1] * ramp
    if rng.random() < 0.4:
        period, phase = rng.uniform(6, 60), rng.uniform(0, 2 * np.pi)
        turn = rng.uniform(0, np.pi)
        wave = np.cos(turn) * ramp[:, None] + np.sin(turn) * ramp
        light = light + rng.uniform(5, 60) * np.sign(
            np.sin(np.pi * CROP_SIZE_PX / period * wave + phase)
        )
    grain = rng.normal(0, rng.uniform(0, 8), (CROP_SIZE_PX, CROP_SIZE_PX))
    return np.clip(tone + (light + grain)[..., None], 0, 255).astype(np.uint8)


def _hidden(
    seen: Seen,
    mask: UInt8[np.ndarray, "224 224"],
    points_px: Float[np.ndarray, "21 2"],
    part: int,
) -> Seen:
    """Without what lies under a mask, where a part is seen now."""
    x, y = np.rint(points_px).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < CROP_SIZE_PX) & (y < CROP_SIZE_PX)
    under = np.zeros(len(points_px), bool)
    under[inside] = mask[y[inside], x[inside]] > 0
    step = CROP_SIZE_PX // PARTS_SIDE
    coarse = mask[step // 2 :: step, step // 2 :: step] > 0
    return replace(
        seen,
        visible=np.where(under, np.float32(0), seen.visible),
        parts=np.where(coarse, np.uint8(part), seen.parts),
    )


def _as_from_small(
    rgb: UInt8[np.ndarray, "224 224 3"], rng: np.random.Generator, smallest_px: float
) -> UInt8[np.ndarray, "224 224 3"]:
    """The crop as if it were cut from a picture of fewer pixels."""
    side = round(float(np.exp(rng.uniform(np.log(smallest_px), np.log(CROP_SIZE_PX)))))
    small = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (CROP_SIZE_PX, CROP_SIZE_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(back, np.uint8)
