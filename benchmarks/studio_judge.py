"""The judge: what nets trained on real photos make of a picture, and how far off they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from real_shape import bone_lengths
from real_stereo import MIDDLE, aligned_error_mm

from idhand import Pipeline
from idhand.assets.nets import GraphNet, load_net
from idhand.detection.roi import crop, roi_from_landmarks
from idhand.geometry import intrinsics_from_fov
from idhand.hand import KEYPOINT_PARENTS, FittableHand
from idhand.records import FLIP, OTHER_PART, Detection, HandResult, Sample
from idhand.refinement import hand_size_px
from idhand.refinement.points import posed_points

POSE_NODE, NUM_POSE_FEATURES = "t160", 1152
"""The landmark net's last map, averaged over the crop: what all of its outputs are read from.

It tells poses apart rather than looks: the kernel distance between the digit signs 0–4 and 5–9 of
different students is 194 thousandths, that between sign_digits and dexretarget 93."""
SKIN_NODE, NUM_SKIN_FEATURES = "t113", 24
"""An early map (edges and colours, 56×56), averaged along the bones of the hand.

It tells looks apart rather than poses: 170 for the same digits, 1170 and more between sources."""
BONE_WIDTH = 4
"""Of the lines along which it is averaged, in cells of the map: 16 px of 224, a finger's width."""
FOUND_WITHIN = 0.5
"""A hand is found if the landmarks lie this near to its keypoints on average, over hand size."""
MIN_VISIBLE = 18
MAX_COVERED = 0.1
"""A hand is unoccluded with so many visible keypoints and at most this share under other things."""
STEPS_PER_BONE = 5
"""Points looked at along each bone, to see how much of the hand lies under other things."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture for the judge."""

    group: str
    """Pictures that are alike: those of one person, or of one second of a clip."""
    rgb: np.ndarray
    K: np.ndarray | None
    """None if unknown: the pipeline then assumes a field of view of 60°."""
    dist: np.ndarray | None
    num_hands: int = 1
    """So many hands are in it; without a truth the surest ones are taken for them."""
    is_right: bool | None = None
    """None if unknown."""
    truth: Sample | None = None


def pictures_of(samples: Sequence[Sample], num_pictures: int) -> Iterator[Picture]:
    """So many pictures, evenly spread over a set with truth."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, num_pictures).round().astype(int))
    for i in chosen.tolist():
        sample = samples[i]
        yield Picture(
            group=sample.subject,
            rgb=sample.rgb,
            K=sample.K,
            dist=sample.dist,
            is_right=sample.is_right,
            truth=sample,
        )


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What the judge says: one row per hand, found or not; NaN for what is not known."""

    group: np.ndarray
    detected: np.ndarray
    """Something was found that may be the hand."""
    same_side: np.ndarray
    """1 if it was called by its true side, else 0."""
    residual: np.ndarray
    """Root mean square distance of the fit to the landmarks, over hand size."""
    pose_features: Float[np.ndarray, "hands features"]
    """Pooled features of the landmark net on the upright crop, left hands mirrored."""
    skin_features: Float[np.ndarray, "hands features"]
    """Its early features on the hand."""
    visible: np.ndarray
    """Number of visible keypoints."""
    covered: np.ndarray
    """Share of the hand under other things."""
    gap: np.ndarray
    """Mean distance of the landmarks to the true keypoints, over true hand size."""
    landmark_error: np.ndarray
    """The same to the true points that the net marks, which are not the joints."""
    aligned_mm: np.ndarray
    """Error of the fit's 3D keypoints after Procrustes with scale; of hands of the right side."""
    rooted_mm: np.ndarray
    """The same relative to the wrist, turned and scaled by nothing."""

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, keep: np.ndarray) -> "Readings":
        """The rows of a mask."""
        return Readings(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    @property
    def unoccluded(self) -> np.ndarray:
        """Which hands can be seen well; where nothing is known of it, it is taken for granted."""
        return ~(self.visible < MIN_VISIBLE) & self.uncovered

    @property
    def uncovered(self) -> np.ndarray:
        """Which hands lie under nothing but themselves; they may hide their own keypoints."""
        return ~(self.covered > MAX_COVERED)

    @property
    def found(self) -> np.ndarray:
        """Where the hand itself was found, by either side; without a truth, where any was."""
        return self.detected & ~(self.gap > FOUND_WITHIN)


def together(parts: Mapping[str, Readings]) -> Readings:
    """Several sets as one, each hand counting once."""
    every = list(parts.values())
    columns = {f.name: [getattr(part, f.name) for part in every] for f in fields(Readings)}
    return Readings(**{name: np.concatenate(values) for name, values in columns.items()})


class Judge:
    """Reads pictures; holds the pipeline and the landmark net."""

    def __init__(self, pipe: Pipeline):
        self.pipe = pipe
        self._net: GraphNet = load_net("hand_landmark_full").eval()

    def read(self, pictures: Iterable[Picture]) -> Readings:
        """One row per hand of the pictures."""
        rows = [row for picture in pictures for row in self._rows(picture)]
        return Readings(
            **{f.name: np.array([row[f.name] for row in rows]) for f in fields(Readings)}
        )

    def _rows(self, picture: Picture) -> Iterator[dict]:
        hands, truth = self.pipe.detector.detect(picture.rgb), picture.truth
        if truth is not None:
            hands = sorted(hands, key=lambda hand: _gap(hand, truth))
        hands = hands[: picture.num_hands]
        height, width = picture.rgb.shape[:2]
        K = intrinsics_from_fov(width, height).numpy() if picture.K is None else picture.K
        for hand in hands:
            fit = self.pipe.fit([hand], K, picture.dist)[0]
            row = _unknown(picture) | {
                "detected": True,
                "residual": fit.residual_px / hand_size_px(hand),
            }
            row["pose_features"], row["skin_features"] = self.features(picture.rgb, hand)
            if picture.is_right is not None:
                row["same_side"] = float(hand.is_right == picture.is_right)
            if truth is not None:
                row |= self._errors(hand, fit, truth)
            yield row
        for _ in range(picture.num_hands - len(hands)):
            yield _unknown(picture)

    def features(
        self, rgb: np.ndarray, hand: Detection
    ) -> tuple[Float[np.ndarray, " pose"], Float[np.ndarray, " skin"]]:
        """Features of the net on the crop that it takes of this hand in the next frame."""
        config = self.pipe.detector.config
        scale, shift = config.landmark_roi_scale, config.landmark_roi_shift
        roi = roi_from_landmarks(hand.landmarks_px, scale=scale, shift=shift)
        roi = replace(roi, is_mirrored=not hand.is_right)
        batch = torch.from_numpy(crop(rgb, roi))[None].permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            maps = self._net(batch, features=(POSE_NODE, SKIN_NODE))
        early = maps[SKIN_NODE][0].numpy()
        on_hand = _along_bones(roi.from_image(hand.landmarks_px), early.shape[-1])
        return maps[POSE_NODE][0].numpy(), early[:, on_hand].mean(1)

    def _errors(self, hand: Detection, fit: HandResult, truth: Sample) -> dict[str, float]:
        """What only the truth can tell."""
        errors = {"gap": _gap(hand, truth)}
        if errors["gap"] > FOUND_WITHIN:
            return errors
        if truth.model == self.pipe.model.name:
            marks = (marked_points(self.pipe.model, truth) @ truth.K.T)[truth.valid]
            pixels = marks[:, :2] / marks[:, 2:]
            off = np.linalg.norm(hand.landmarks_px[truth.valid] - pixels, axis=1).mean()
            errors["landmark_error"] = float(off) / true_size_px(truth)
        if hand.is_right == truth.is_right:
            assert truth.keypoints_cam is not None
            mine, true = fit.keypoints_cam[truth.valid], truth.keypoints_cam[truth.valid]
            errors["aligned_mm"] = float(aligned_error_mm(mine[None], true[None])[0])
            off = (mine - fit.keypoints_cam[0]) - (true - truth.keypoints_cam[0])
            errors["rooted_mm"] = 1e3 * float(np.linalg.norm(off, axis=1).mean())
        return errors


def _unknown(picture: Picture) -> dict:
    """A row of a hand that nothing was found of."""
    truth, unknown = picture.truth, {f.name: np.nan for f in fields(Readings)}
    if truth is not None and truth.visible is not None:
        unknown["visible"] = float(truth.visible.sum())
    if truth is not None and truth.parts is not None:
        unknown["covered"] = covered_share(truth)
    return unknown | {
        "group": picture.group,
        "detected": False,
        "pose_features": np.zeros(NUM_POSE_FEATURES, np.float32),
        "skin_features": np.zeros(NUM_SKIN_FEATURES, np.float32),
    }


def _along_bones(points: Float[np.ndarray, "21 2"], side: int) -> np.ndarray:
    """Which cells of a square map lie on the hand; points are 0..1 of the square."""
    cells = np.round(points * side - 0.5).astype(int).tolist()
    canvas = np.zeros((side, side), np.uint8)
    for child, parent in enumerate(KEYPOINT_PARENTS[1:], start=1):
        cv2.line(canvas, cells[parent], cells[child], 1, BONE_WIDTH)
    return canvas > 0


# ---------------------------------------------------------------- what the truth says


def true_size_px(truth: Sample) -> float:
    """Length of the hand from the wrist joint to the middle fingertip, were it flat, at its depth.

    Raises:
        ValueError: If the sample has no keypoints in the camera's frame.
    """
    if truth.keypoints_cam is None:
        raise ValueError(
            f"picture '{truth.id}' of '{truth.dataset}' has no keypoints in 3D; the judge compares "
            "with an exact truth: give a rendered set"
        )
    length_m = float(bone_lengths(truth.keypoints_cam)[MIDDLE].sum())
    return float(truth.K[0, 0]) * length_m / float(truth.keypoints_cam[:, 2].mean())


def _gap(hand: Detection, truth: Sample) -> float:
    off = np.linalg.norm(hand.landmarks_px - truth.keypoints_px, axis=1)[truth.valid]
    return float(off.mean()) / true_size_px(truth)


def covered_share(truth: Sample) -> float:
    """Share of the points along the hand's bones that lie under something that is not the hand.

    Of the points in the picture; 1 if none is.
    """
    assert truth.parts is not None
    along = np.linspace(0, 1, STEPS_PER_BONE)[:, None, None]
    start, end = truth.keypoints_px[list(KEYPOINT_PARENTS[1:])], truth.keypoints_px[1:]
    column, row = np.round((1 - along) * start + along * end).astype(int).reshape(-1, 2).T
    height, width = truth.parts.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    if not inside.any():
        return 1.0
    return float((truth.parts[row[inside], column[inside]] == OTHER_PART).mean())


def marked_points(model: FittableHand, truth: Sample) -> Float[np.ndarray, "21 3"]:
    """The points of the true hand that the landmark net marks, camera frame, metres."""
    assert truth.betas is not None
    assert truth.rotations is not None
    assert truth.wrist_cam is not None
    betas, flip = torch.from_numpy(truth.betas), np.ones(3) if truth.is_right else FLIP
    hand = model.with_shape(betas[None])
    R, wrist = torch.from_numpy(truth.rotations), torch.from_numpy(truth.wrist_cam * flip)
    points = posed_points(model.landmarks, hand, R[None], wrist[None])
    return points[0].numpy() * flip
