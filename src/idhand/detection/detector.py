"""The stage: image → detections. Several readings per hand, averaged; retries; tracking."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from idhand.assets.nets import load_net, run_net
from idhand.detection.config import DetectorConfig
from idhand.detection.palms import PalmDetector, thumbnail_of, tile_corners
from idhand.detection.readings import Reading, distinct, merged, num_sure
from idhand.detection.roi import (
    CROP_SIZE_PX,
    Roi,
    box_overlap,
    check_near,
    checked_box,
    crop,
    roi_from_landmarks,
)
from idhand.detection.sides import Side, checked_side, checked_sides, decide_sides
from idhand.records import Detection

MAX_TILED_ASPECT = 20
"""Longer over shorter side of an image up to which its tiles are as high or wide as it is."""

BOX_ROTATIONS = 4
"""Rotations in which a known box is read. Eight find 1.5 % more hands of the studio's validation
pictures, but with more gross errors."""
UPRIGHT_LEAD = 0.2
"""By which an upright reading of a known box is ahead of turned ones, beside two presences and an
overlap of 0..1 each: where little is seen, turned readings are more often sure than right."""
LEAST_BOX_OVERLAP = 0.2
"""A reading whose landmarks' box shares less with the known box is not of its hand (intersection
over union): landmarks drawn together in a spot, or on another hand. Of 637 pictures two have such
readings, both far from the truth; a right reading of a box with twice the sides has 0.25."""

VIEWS = ((-1, False), (1, True), (1, False), (-1, True), (0, False), (0, True))
"""Views of one hand in the order of use: turn in units of `view_rotation_deg`, mirrored or not."""


class HandDetector:
    """Finds hands in images, and follows them from frame to frame. Holds the two nets.

    A hand is read more than once, and the readings are averaged: the palm's ROI and, in a second
    reading, a tighter one, or `views` crops that are turned and mirrored. On 120 pairs of stereo
    frames this lowers the triangulation residual from 1.53 (second reading alone) to 1.51 (both)
    and 1.34 % of hand size (two views; four bring no more).

    The confidence of a landmark is presence / (1 + (spread / spread_scale)²), spread being the
    standard deviation between the readings over hand size, and a tenth of it outside the image or
    the crop. On the same pairs the residual grows with the spread of four views: 1.1 % of hand size
    in the lowest eighth, 3.8 % in the highest (two readings: 1.3 and 3.4). `track` with one view
    has a single reading, so the spread counts as zero there.
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
        sides: Side | None = None,
    ) -> list[Detection]:
        """Find the hands of one image, surest first.

        Palms are looked for in the whole image with growing margins until `max_hands` sure hands
        are there or a margin brings nothing new; then in tiles, where the image is long or more
        than two hands are wanted, and faint palms are read; these hands must be sure. Where all
        this leads to no sure hand, the image is read in several rotations. Sides are decided
        together (`decide_sides`).

        Args:
            rgb: The image, 0..255.
            max_hands: At most so many hands are returned.
            mirrored: The image is a mirror image (selfie view): sides are swapped. Landmarks stay
                in image coordinates.
            views: Number of crops per hand that are averaged, 1..6; two are more precise, four give
                a better confidence; each costs as much as one more hand.
            sides: The person's side of all hands in the image, if it is known.

        Raises:
            ValueError: If the image is not uint8 of shape (height, width, 3), `views` is not 1..6,
                or `sides` is neither "left" nor "right".
        """
        rgb = _checked(rgb, views)
        known = checked_side(sides)
        found = self._whole(rgb, max_hands, views)
        if not num_sure(found, self.config):
            found = _surer(found, self._search(rgb, views))
        found = found[:max_hands]
        return self._detections(rgb, found, mirrored, [known] * len(found))

    def track(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        previous: Sequence[Detection],
        *,
        mirrored: bool = False,
        views: int = 1,
        sides: Side | Sequence[Side | None] | None = None,
    ) -> list[Detection | None]:
        """Find the hands of the previous frame again, each in its place; no new hands are found.

        Args:
            rgb: The image, 0..255.
            previous: Hands of the previous frame.
            mirrored: As in `detect`.
            views: As in `detect`.
            sides: The person's side, if it is known: of all hands, or one per hand (None where
                unknown). `is_right` follows it; `right_probability` is what this frame shows, so
                that it can be averaged over time.

        Returns:
            One per hand of `previous`: the hand in this frame; None if it is gone, or where a surer
            one of the others has moved to the same place.

        Raises:
            ValueError: As in `detect`, or if `sides` is a list of another length.
        """
        rgb = _checked(rgb, views)
        known = checked_sides(sides, len(previous))
        readings = self._viewed(rgb, [self._landmark_roi(d.landmarks_px) for d in previous], views)
        kept = {id(r) for r in distinct(readings, self.config)}
        rows = [i for i, r in enumerate(readings) if id(r) in kept]
        right = [known[i] for i in rows]
        found = [readings[i] for i in rows]
        hands: list[Detection | None] = [None] * len(readings)
        seen = [_seen_right(r, mirrored) for r in found]
        for i, hand, p in zip(
            rows, self._detections(rgb, found, mirrored, right), seen, strict=True
        ):
            hands[i] = replace(hand, right_probability=p)
        return hands

    def in_boxes(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        boxes_px: Sequence[Any] | np.ndarray,
        *,
        mirrored: bool = False,
        views: int = 1,
        sides: Side | Sequence[Side | None] | None = None,
    ) -> list[Detection | None]:
        """Read the hands in boxes that are known already, each in its place; see `in_box`.

        Args:
            rgb: The image, 0..255.
            boxes_px: xyxy boxes, four numbers each; they may leave the image in part.
            mirrored: As in `detect`.
            views: As in `detect`.
            sides: The person's side, if it is known: of all hands, or one per box (None where
                unknown).

        Returns:
            One per box: its hand; None if the net does not see one there.

        Raises:
            ValueError: As in `detect`, if a box is none or not in the image, or if `sides`
                is a list of another length.
        """
        rgb = _checked(rgb, views)
        boxes = [checked_box(box, f"box {i}") for i, box in enumerate(boxes_px)]
        for i, box in enumerate(boxes):
            check_near(box, f"box {i}", rgb.shape[1], rgb.shape[0])
        known = checked_sides(sides, len(boxes))
        read = [self._read_box(rgb, box, views) for box in boxes]
        rows = [i for i, r in enumerate(read) if r is not None]
        right = [known[i] for i in rows]
        found = [r for r in read if r is not None]
        hands: list[Detection | None] = [None] * len(boxes)
        for i, hand in zip(rows, self._detections(rgb, found, mirrored, right), strict=True):
            hands[i] = hand
        return hands

    def in_box(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        bbox_px: Float[np.ndarray, " 4"],
        *,
        is_right: bool | None = None,
        views: int = 1,
    ) -> Detection | None:
        """Read the hand in a box that is known already, as data sets give it.

        The palm detector is not used. The box is read upright and turned by one, two and three
        quarters, because an upright reading can be sure of itself and yet take a hand that points
        down for one that points up. Each is read again; taken is the one that is surest in both
        readings and fills the box best, the upright one if in doubt. Of 137 hands that point
        anywhere, 5 are then turned by more than 30° from the truth, where an upright reading that
        is sure ends the search 19 (`benchmarks/turned_hands.py`). It costs four times the time of
        an upright reading.

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
        found = self._read_box(rgb, checked_box(bbox_px, "the box"), views)
        return None if found is None else self._detections(rgb, [found], False, [is_right])[0]

    def _read_box(
        self, rgb: UInt8[np.ndarray, "height width 3"], box_px: Float[np.ndarray, " 4"], views: int
    ) -> Reading | None:
        low, high = box_px[:2], box_px[2:]
        side = max(self.config.box_scale * float((high - low).max()), 1.0)
        first = self._turned(rgb, (low + high) / 2, side, BOX_ROTATIONS)
        again = self._read(rgb, [self._landmark_roi(r.points_px) for r in first])
        leads = (UPRIGHT_LEAD, *(0.0,) * (BOX_ROTATIONS - 1))
        rated = [
            (a.presence + b.presence + overlap + lead, a)
            for a, b, lead in zip(first, again, leads, strict=True)
            if (overlap := box_overlap(b.points_px, box_px)) >= LEAST_BOX_OVERLAP
        ]
        if not rated:
            return None
        _, surest = max(rated, key=lambda pair: pair[0])
        found = self._second_look(rgb, [surest], views)
        return found[0] if found else None

    def _whole(
        self, rgb: UInt8[np.ndarray, "height width 3"], max_hands: int, views: int
    ) -> list[Reading]:
        """Hands whose palms are seen, surest first."""
        c, thumbnail = self.config, thumbnail_of(rgb)
        hands: list[Reading] = []
        faint: list[Roi] = []
        for padding in c.paddings:
            palms = self._palms.find(thumbnail, rgb.shape[:2], padding)
            faint += palms.faint
            before = len(hands), num_sure(hands, c)
            hands = self._with_palms(rgb, hands, palms.clear, max_hands, views)
            now = len(hands), num_sure(hands, c)
            if now[1] >= max_hands or (now[1] and now == before):
                break
        if num_sure(hands, c) < max_hands:
            found = [roi for part in self._tiles(rgb, max_hands) for roi in part] + faint
            once = [roi for i, roi in enumerate(found) if not any(map(roi.is_near, found[:i]))]
            hands = self._with_palms(rgb, hands, once, max_hands, views, c.sure_presence)
        return hands

    def _with_palms(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        hands: list[Reading],
        rois: Sequence[Roi],
        max_hands: int,
        views: int,
        least_presence: float = 0.0,
    ) -> list[Reading]:
        """The hands with those that these ROIs lead to; ROIs of sure hands are not read again."""
        sure = [h.roi for h in hands if h.presence >= self.config.sure_presence]
        new = [roi for roi in rois if not any(map(roi.is_near, sure))][: 2 * max_hands]
        found = self._second_look(rgb, self._read(rgb, new), views)
        found = [r for r in found if r.presence >= least_presence]
        return distinct([*hands, *found], self.config)

    def _tiles(
        self, rgb: UInt8[np.ndarray, "height width 3"], max_hands: int
    ) -> Iterator[list[Roi]]:
        """ROIs of the palms in squares that overlap by half, for hands that are small in the image.

        Their side is half the image's longer one or, in long images, the shorter one, but not
        less than the longer one over `MAX_TILED_ASPECT`, so that a stripe has a few dozen at most.
        """
        h, w = rgb.shape[:2]
        if max_hands <= 2 and max(h, w) < self.config.tiled_aspect * min(h, w):
            return
        least = ceil(max(h, w) / MAX_TILED_ASPECT)
        side = min(max(min(h, w), least), (max(h, w) + 1) // 2)
        for x, y in tile_corners(rgb.shape[:2], side):
            part = rgb[y : y + side, x : x + side]
            rois = self._palms.rois(thumbnail_of(part), part.shape[:2], 0.0)
            yield [replace(roi, center_px=roi.center_px + np.array([x, y])) for roi in rois]

    def _landmark_roi(self, points_px: Float[np.ndarray, "21 2"]) -> Roi:
        c = self.config
        return roi_from_landmarks(points_px, scale=c.landmark_roi_scale, shift=c.landmark_roi_shift)

    def _read(self, rgb: UInt8[np.ndarray, "height width 3"], rois: Sequence[Roi]) -> list[Reading]:
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
                Reading(
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

    def _viewed(
        self, rgb: UInt8[np.ndarray, "height width 3"], rois: Sequence[Roi], views: int
    ) -> list[Reading]:
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
        return [
            merged(readings[i : i + views], self.config) for i in range(0, len(readings), views)
        ]

    def _second_look(
        self, rgb: UInt8[np.ndarray, "height width 3"], first: list[Reading], views: int
    ) -> list[Reading]:
        """Read the ROIs that follow from the first landmarks; drop what is not a hand."""
        again = self._viewed(rgb, [self._landmark_roi(r.points_px) for r in first], views)
        if views == 1:
            again = [merged([b, a], self.config) for a, b in zip(first, again, strict=True)]
        return distinct(again, self.config)

    def _search(self, rgb: UInt8[np.ndarray, "height width 3"], views: int) -> list[Reading]:
        """Take the whole image for the ROI, in several rotations."""
        h, w = rgb.shape[:2]
        count = self.config.num_rotations
        if count == 0:
            return []
        center = np.array([(w - 1) / 2, (h - 1) / 2])
        turned = self._turned(rgb, center, float(max(h, w)), count)
        best = max(turned, key=lambda r: r.presence)
        found = self._second_look(rgb, [best], views)
        return [r for r in found if r.presence >= self.config.search_presence]

    def _turned(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        center_px: Float[np.ndarray, " 2"],
        size_px: float,
        num_rotations: int,
    ) -> list[Reading]:
        """Readings of a square in rotations that divide the circle, the first one upright."""
        angles = [2 * np.pi * i / num_rotations for i in range(num_rotations)]
        return self._read(
            rgb, [Roi(center_px=center_px, size_px=size_px, angle_rad=a) for a in angles]
        )

    def _detections(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        readings: Sequence[Reading],
        mirrored: bool,
        known: Sequence[bool | None],
    ) -> list[Detection]:
        """Records of the image's hands, their sides decided together."""
        seen = [_seen_right(r, mirrored) for r in readings]
        centers = np.array([r.center_px for r in readings]).reshape(-1, 2)
        sizes = np.array([r.size_px for r in readings])
        sides = decide_sides(seen, centers, sizes, known=known, config=self.config.sides)
        rows = zip(readings, sides, seen, known, strict=True)
        return [
            self._detection(rgb, r, side, p if k is None else float(k)) for r, side, p, k in rows
        ]

    def _detection(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        r: Reading,
        is_right: bool,
        right_probability: float,
    ) -> Detection:
        spread = r.spread_px / r.size_px / self.config.spread_scale
        confidence = r.presence / (1 + spread**2)
        local = r.roi.from_image(r.points_px)
        size = np.array(rgb.shape[1::-1])
        depth_px = np.minimum(r.points_px + 0.5, size - 0.5 - r.points_px).min(1)
        inside = (depth_px >= 0) & ((local >= 0) & (local <= 1)).all(1)
        is_cut = bool((depth_px < 0).any())
        margin_px = self.config.border_margin * r.size_px if is_cut else 0.0
        return Detection(
            is_right=is_right,
            right_probability=right_probability,
            score=r.presence,
            bbox_px=np.concatenate((r.points_px.min(0), r.points_px.max(0))),
            landmarks_px=r.points_px,
            landmarks_z_px=r.z_px - r.z_px[0],
            landmarks_world=r.world,
            confidence=np.where(inside, 1.0, self.config.outside_confidence) * confidence,
            outside=depth_px < margin_px,
        )


def _surer(a: list[Reading], b: list[Reading]) -> list[Reading]:
    """Of two attempts at an image the one with more presence in all; the first if equal."""
    return b if sum(r.presence for r in b) > sum(r.presence for r in a) else a


def _seen_right(r: Reading, mirrored: bool) -> float:
    """Probability of the person's right hand."""
    return 1 - r.right if mirrored else r.right


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
