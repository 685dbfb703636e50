"""The stage: image → detections. Several readings per hand, averaged; retries; tracking."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from idhand.assets.nets import load_net, run_net
from idhand.detection.palms import PalmConfig, PalmDetector, thumbnail_of
from idhand.detection.roi import CROP_SIZE_PX, Roi, crop, roi_from_landmarks
from idhand.records import Detection

VIEWS = ((-1, False), (1, True), (1, False), (-1, True), (0, False), (0, True))
"""Views of one hand in the order of use: turn in units of `view_rotation_deg`, mirrored or not."""


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Thresholds and geometry of `HandDetector`; the defaults are MediaPipe's where it has one."""

    palm: PalmConfig = field(default_factory=PalmConfig)
    presence_threshold: float = 0.5
    """Least presence of a hand that is returned, 0..1. Source: hand_landmark_cpu.pbtxt."""
    sure_presence: float = 0.95
    """No retries once a hand is this sure, 0..1; below it, sides were seen to be mistaken."""
    box_scale: float = 1.6
    """Side of the square that is looked at first over the longer side of a known box; of 1.3 to
    2.3, 1.5 and 1.7 miss the fewest hands (studio, validation)."""
    search_presence: float = 0.8
    """Least presence of a hand found without a palm, by rotating the image, 0..1."""
    paddings: tuple[float, ...] = (0.0, 0.25, 0.5, 0.8)
    """Margins tried in turn around the image, as a fraction of its longer side."""
    num_rotations: int = 8
    """Rotations of the full image tried when no palm leads to a sure hand; 0 = do not try."""
    landmark_roi_scale: float = 2.0
    """ROI side over landmark box. Source: hand_landmark_landmarks_to_roi.pbtxt."""
    landmark_roi_shift: float = -0.1
    """ROI shift along the hand (negative: to the fingers) over landmark box. Source: the same."""
    presence_margin: float = 0.2
    """A reading this much less sure than the best one of the same hand is not used, 0..1."""
    outlier_distance: float = 0.1
    """A reading whose landmarks lie farther from the first one's is not used; mean, over size."""
    duplicate_distance: float = 0.2
    """Hands whose landmarks lie this near to each other are one hand; mean, over hand size."""
    view_rotation_deg: float = 12.0
    """Turn of the views' ROIs; 24 is worse, 6 brings less (stereo pairs, see `HandDetector`)."""
    spread_scale: float = 0.025
    """Spread of the readings that halves the confidence, over hand size: the net's own error."""
    outside_confidence: float = 0.1
    """Factor on the confidence of a landmark outside the image or the crop: it is a guess."""

    def __post_init__(self):
        for name in ("presence_threshold", "sure_presence", "search_presence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if not self.paddings or min(self.paddings) < 0:
            raise ValueError(f"paddings must be one or more numbers >= 0, got {self.paddings}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reading:
    """What the landmark net says of one hand, from one ROI or several, in image px."""

    points_px: Float[np.ndarray, "21 2"]
    z_px: Float[np.ndarray, " 21"]
    world: Float[np.ndarray, "21 3"]
    presence: float
    right: float
    roi: Roi
    spread_px: Float[np.ndarray, " 21"]
    """Standard deviation between the readings that were averaged; zero for a single one."""

    @property
    def size_px(self) -> float:
        """Hand size: diagonal of the landmarks' box over the square root of two."""
        return float(np.linalg.norm(np.ptp(self.points_px, axis=0))) / np.sqrt(2) + 1e-9


class HandDetector:
    """Finds hands in images, and follows them from frame to frame. Holds the two nets.

    A hand is read more than once, and the readings are averaged: the palm's ROI and a second look
    with a tighter one, or `views` crops that are turned and mirrored. On 120 pairs of stereo frames
    this lowers the triangulation residual from 1.53 (second look alone) to 1.51 (both looks) and
    1.34 % of hand size (two views; four bring no more).

    The confidence of a landmark is presence / (1 + (spread / spread_scale)²), spread being the
    standard deviation between the readings over hand size, and a tenth of it outside the image or
    the crop. On the same pairs the residual grows with the spread of four views: 1.1 % of hand size
    in the lowest eighth, 3.8 % in the highest (two looks: 1.3 and 3.4). `track` with one view has a
    single reading, so the spread counts as zero there.
    """

    def __init__(self, config: DetectorConfig | None = None):
        self.config = config or DetectorConfig()
        self._palms = PalmDetector(self.config.palm)
        self._landmark_net = load_net("hand_landmark_full").eval()

    def detect(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        max_hands: int = 2,
        mirrored: bool = False,
        views: int = 1,
    ) -> list[Detection]:
        """Find the hands of one image, best first.

        Args:
            rgb: The image, 0..255.
            max_hands: At most so many hands are returned.
            mirrored: The image is a mirror image (selfie view): sides are swapped. Landmarks stay
                in image coordinates.
            views: Number of crops per hand that are averaged, 1..6; two are more precise, four give
                a better confidence; each costs as much as one more hand.

        Raises:
            ValueError: If the image is not uint8 of shape (height, width, 3), or `views` is not
                1..6.
        """
        rgb = _checked(rgb, views)
        thumbnail = thumbnail_of(rgb)
        best: list[_Reading] = []
        for padding in self.config.paddings:
            rois = self._palms.rois(thumbnail, rgb.shape[:2], padding)[: 2 * max_hands]
            best = _surer(best, self._second_look(rgb, self._read(rgb, rois), views))
            if best and best[0].presence >= self.config.sure_presence:
                break
        else:
            best = _surer(best, self._search(rgb, views))
        return [self._detection(rgb, r, mirrored) for r in best[:max_hands]]

    def track(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        previous: Sequence[Detection],
        *,
        mirrored: bool = False,
        views: int = 1,
    ) -> list[Detection]:
        """Find the hands of the previous frame again; those that are gone are dropped.

        No new hands are found; the order stays. Arguments and errors as in `detect`.
        """
        rgb = _checked(rgb, views)
        readings = self._look(rgb, [self._landmark_roi(d.landmarks_px) for d in previous], views)
        found = self._sorted(readings)
        return [self._detection(rgb, r, mirrored) for r in readings if r in found]

    def in_box(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        bbox_px: Float[np.ndarray, " 4"],
        *,
        is_right: bool | None = None,
        views: int = 1,
    ) -> Detection | None:
        """Read the hand in a box that is known already, as data sets give it.

        The palm detector is not asked. Where an upright look leads to no hand, the box is looked at
        in `num_rotations` rotations, and the surest one leads to the second look: of the studio's
        validation pictures, 7 % are missed instead of 9.

        Args:
            rgb: The image, 0..255.
            bbox_px: xyxy box of the keypoints; may leave the image.
            is_right: The person's side, if it is known.
            views: As in `detect`.

        Returns:
            The hand; None if the net does not see one there.

        Raises:
            ValueError: As in `detect`, or if the box is none.
        """
        rgb = _checked(rgb, views)
        if not np.isfinite(bbox_px).all() or (bbox_px[2:] <= bbox_px[:2]).any():
            raise ValueError(
                f"the box {bbox_px.tolist()} is none; give left, top, right and bottom in px"
            )
        low, high = bbox_px[:2], bbox_px[2:]
        side = max(self.config.box_scale * float((high - low).max()), 1.0)
        square = Roi(center_px=(low + high) / 2, size_px=side, angle_rad=0.0)
        upright = self._read(rgb, [square])
        sure = upright[0].presence >= self.config.presence_threshold
        found = self._second_look(rgb, upright, views) if sure else []
        if not found:
            step = 2 * np.pi / max(self.config.num_rotations, 1)
            turns = range(1, self.config.num_rotations)
            turned = [replace(square, angle_rad=step * turn) for turn in turns]
            best = max(upright + self._read(rgb, turned), key=lambda r: r.presence)
            found = self._second_look(rgb, [best], views)
        if not found:
            return None
        hand = self._detection(rgb, found[0], mirrored=False)
        return hand if is_right is None else replace(hand, is_right=is_right)

    def _landmark_roi(self, points_px: Float[np.ndarray, "21 2"]) -> Roi:
        c = self.config
        return roi_from_landmarks(points_px, scale=c.landmark_roi_scale, shift=c.landmark_roi_shift)

    def _read(
        self, rgb: UInt8[np.ndarray, "height width 3"], rois: Sequence[Roi]
    ) -> list[_Reading]:
        """Run the landmark net on several ROIs at once."""
        if not rois:
            return []
        outputs = run_net(self._landmark_net, [crop(rgb, roi) for roi in rois])
        readings = []
        for i, roi in enumerate(rois):
            local = outputs["landmarks"][i].reshape(21, 3) / CROP_SIZE_PX
            world = outputs["world"][i].reshape(21, 3)
            right = float(outputs["handedness"][i, 0])
            readings.append(
                _Reading(
                    points_px=roi.to_image(local[:, :2]),
                    z_px=(local[:, 2] - local[0, 2]) * roi.size_px,
                    world=np.concatenate((world[:, :2] @ roi.axes_image_roi.T, world[:, 2:]), 1),
                    presence=float(outputs["presence"][i, 0]),
                    right=1 - right if roi.is_mirrored else right,
                    roi=roi,
                    spread_px=np.zeros(21),
                )
            )
        return readings

    def _look(
        self, rgb: UInt8[np.ndarray, "height width 3"], rois: Sequence[Roi], views: int
    ) -> list[_Reading]:
        """One reading per ROI, each averaged over the views of it."""
        if views == 1:
            return self._read(rgb, rois)
        step = np.deg2rad(self.config.view_rotation_deg)
        turned = [
            replace(roi, angle_rad=roi.angle_rad + turn * step, is_mirrored=mirrored)
            for roi in rois
            for turn, mirrored in VIEWS[:views]
        ]
        readings = self._read(rgb, turned)
        return [self._merged(readings[i : i + views]) for i in range(0, len(readings), views)]

    def _second_look(
        self, rgb: UInt8[np.ndarray, "height width 3"], first: list[_Reading], views: int
    ) -> list[_Reading]:
        """Look again at ROIs that follow from the first landmarks; drop what is no hand."""
        looks = self._look(rgb, [self._landmark_roi(r.points_px) for r in first], views)
        if views == 1:
            looks = [self._merged([b, a]) for a, b in zip(first, looks, strict=True)]
        return self._sorted(looks)

    def _merged(self, readings: Sequence[_Reading]) -> _Reading:
        """Mean of the readings of one hand that agree with the first one that is sure enough."""
        c = self.config
        floor = max(r.presence for r in readings) - c.presence_margin
        sure = [r for r in readings if r.presence >= floor]
        lead = sure[0]
        near = c.outlier_distance * lead.size_px
        used = [r for r in sure if _distance(r, lead) <= near]
        points = np.stack([r.points_px for r in used])
        deviations = ((points - points.mean(0)) ** 2).sum((0, 2))
        return _Reading(
            points_px=points.mean(0),
            z_px=np.mean([r.z_px for r in used], 0),
            world=np.mean([r.world for r in used], 0),
            presence=max(r.presence for r in used),
            right=float(np.mean([r.right for r in used])),
            roi=lead.roi,
            spread_px=np.sqrt(deviations / max(len(used) - 1, 1)),
        )

    def _sorted(self, readings: Sequence[_Reading]) -> list[_Reading]:
        """Those that are hands, best first, each hand once."""
        kept: list[_Reading] = []
        for r in sorted(readings, key=lambda r: -r.presence):
            near = self.config.duplicate_distance * r.size_px
            if r.presence < self.config.presence_threshold:
                continue
            if all(_chamfer(r, other) > near for other in kept):
                kept.append(r)
        return kept

    def _search(self, rgb: UInt8[np.ndarray, "height width 3"], views: int) -> list[_Reading]:
        """Take the whole image for the ROI, in several rotations."""
        h, w = rgb.shape[:2]
        count = self.config.num_rotations
        if count == 0:
            return []
        center, side = np.array([(w - 1) / 2, (h - 1) / 2]), float(max(h, w))
        angles = [2 * np.pi * i / count for i in range(count)]
        rois = [Roi(center_px=center, size_px=side, angle_rad=angle) for angle in angles]
        best = max(self._read(rgb, rois), key=lambda r: r.presence)
        found = self._second_look(rgb, [best], views)
        return [r for r in found if r.presence >= self.config.search_presence]

    def _detection(
        self, rgb: UInt8[np.ndarray, "height width 3"], r: _Reading, mirrored: bool
    ) -> Detection:
        spread = r.spread_px / r.size_px / self.config.spread_scale
        confidence = r.presence / (1 + spread**2)
        local = r.roi.from_image(r.points_px)
        size = np.array(rgb.shape[1::-1])
        inside = ((r.points_px >= -0.5) & (r.points_px <= size - 0.5)).all(1)
        inside &= ((local >= 0) & (local <= 1)).all(1)
        return Detection(
            is_right=(r.right > 0.5) != mirrored,
            score=r.presence,
            bbox_px=np.concatenate((r.points_px.min(0), r.points_px.max(0))),
            landmarks_px=r.points_px,
            landmarks_z_px=r.z_px - r.z_px[0],
            landmarks_world=r.world,
            confidence=np.where(inside, 1.0, self.config.outside_confidence) * confidence,
        )


def _surer(a: list[_Reading], b: list[_Reading]) -> list[_Reading]:
    """Of two attempts at an image the one with more presence in all; the first if equal."""
    return b if sum(r.presence for r in b) > sum(r.presence for r in a) else a


def _distance(a: _Reading, b: _Reading) -> float:
    """Mean distance of corresponding landmarks, px."""
    return float(np.linalg.norm(a.points_px - b.points_px, axis=1).mean())


def _chamfer(a: _Reading, b: _Reading) -> float:
    """Mean distance to the nearest landmark of the other, px: also where the side was mistaken."""
    d = np.linalg.norm(a.points_px[:, None] - b.points_px, axis=2)
    return float((d.min(0).mean() + d.min(1).mean()) / 2)


def _checked(rgb: Any, views: int) -> UInt8[np.ndarray, "height width 3"]:
    """The image in one piece of memory, or the user's mistake in words."""
    if not isinstance(rgb, np.ndarray):
        raise ValueError(f"the image must be a NumPy array, got {type(rgb).__name__}")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(
            "the image must be RGB, uint8, of shape (height, width, 3); "
            f"got {rgb.dtype} of shape {rgb.shape}: convert it first"
        )
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views must be 1..{len(VIEWS)}, got {views}")
    return np.ascontiguousarray(rgb)
