"""The stage: frames → hands with names, one step a frame."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from idhand.detection import Side
from idhand.detection.sides import checked_side
from idhand.identity import Identity
from idhand.lens import Distortion
from idhand.records import Detection
from idhand.tracking.association import apart, assigned, improved
from idhand.tracking.clock import Clock
from idhand.tracking.config import TrackerConfig
from idhand.tracking.records import FoundHand, FramePipeline, TrackedHand
from idhand.tracking.votes import Votes

_MIN_VELOCITY_STEP_S = 0.01
"""Frames nearer than this in time do not make a velocity larger: their times are doubtful."""


class Tracker:
    """Follows the hands of one video, frame by frame.

    Args:
        pipe: From `idhand.load()`.
        identity: Whose hands these are: fixes the shape, for left and right.
        max_hands: At most this many are followed; boxes are all read.
        mirrored: The frames are mirror images (selfie preview), so sides swap.
        side: The person's side of all hands, "left" or "right", if it is known.
        config: Settings.

    Raises:
        ValueError: If `max_hands` or `side` is not usable.
    """

    def __init__(
        self,
        pipe: FramePipeline,
        identity: Identity | None = None,
        *,
        max_hands: int = 2,
        mirrored: bool = False,
        side: Side | None = None,
        config: TrackerConfig | None = None,
    ):
        if max_hands < 1:
            raise ValueError(f"max_hands must be at least 1, got {max_hands}")
        self.pipe, self.identity = pipe, identity
        self.config = config or TrackerConfig()
        self._max_hands, self._mirrored = max_hands, mirrored
        self._votes = Votes(self.config, checked_side(side))
        self._clock, self._num_tracks, self._searched_s = Clock(), 0, -math.inf
        self._recent: list[_Track] = []

    def step(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        time_s: float,
        K: Float[np.ndarray, "3 3"] | None = None,
        dist: Distortion = None,
        *,
        boxes_px: Sequence[Any] | np.ndarray | None = None,
    ) -> list[TrackedHand]:
        """The hands of the next frame: `find` and `fit`.

        Args:
            rgb: The frame.
            time_s: Its time, by any clock that goes on; frames need not be evenly spaced.
            K: Intrinsics in px; without, 60° across the longer side are assumed.
            dist: Lens distortion, as in `Pipeline`.
            boxes_px: Hands are read in these xyxy boxes and not looked for.

        Raises:
            ValueError: As in `Pipeline`.
        """
        return self.fit(rgb, self.find(rgb, time_s, boxes_px=boxes_px), K, dist)

    def find(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        time_s: float,
        *,
        boxes_px: Sequence[Any] | np.ndarray | None = None,
    ) -> list[FoundHand]:
        """Where the hands of the next frame are and which hands they are; takes its votes.

        Hands that are followed come first, in the order of the last frame; new ones come last.
        Arguments and errors as in `step`. About 2 kB a hand, for those who keep what is found.
        """
        time_s = self._clock.increasing(time_s)
        gap_s = self.config.max_gap_s
        self._recent = [t for t in self._recent if time_s - t.last_s <= gap_s or t.is_followed]
        followed = [track for track in self._recent if track.is_followed]
        before = {track.number for track in followed}
        if boxes_px is None:
            pairs = self._followed(rgb, followed, time_s)
            if self._is_search_due(time_s, pairs):
                self._searched_s = time_s
                pairs = pairs + self._searched(rgb, pairs, time_s)
        else:
            read = self.pipe.detector.in_boxes(rgb, boxes_px, mirrored=self._mirrored)
            seen = [hand for hand in read if hand is not None]
            pairs = self._continued(self._recent, seen, time_s)
        for track in self._recent:
            track.is_followed = False
        for track, detection in pairs:
            track.see(detection, time_s)
        self._votes.take([track.number for track, _ in pairs], [d for _, d in pairs], time_s)
        return [
            FoundHand(
                track=track.number,
                detection=detection,
                age_s=time_s - track.first_s,
                is_new=track.number not in before,
            )
            for track, detection in pairs
        ]

    def fit(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        found: Sequence[FoundHand],
        K: Float[np.ndarray, "3 3"] | None = None,
        dist: Distortion = None,
    ) -> list[TrackedHand]:
        """Fit what was found in this frame, with the sides as voted by now.

        Args:
            rgb: The frame in which it was found.
            found: By `find`, in this frame or in an earlier one.
            K: As in `step`.
            dist: As in `step`.

        Raises:
            ValueError: As in `Pipeline`.
        """
        sides = self._votes.sides()
        detections = [replace(f.detection, is_right=sides[f.track]) for f in found]
        if self._votes.known is not None:
            known = float(self._votes.known)
            detections = [replace(d, right_probability=known) for d in detections]
        hands = self.pipe.estimate(rgb, detections, K, dist, self.identity)
        return [
            TrackedHand(track=f.track, hand=hand, age_s=f.age_s, is_new=f.is_new)
            for f, hand in zip(found, hands, strict=True)
        ]

    def _followed(
        self, rgb: UInt8[np.ndarray, "height width 3"], tracks: Sequence["_Track"], time_s: float
    ) -> list[tuple["_Track", Detection]]:
        """The last frame's hands in this one; where two were exchanged, they are changed back."""
        if not tracks:
            return []
        places = [track.detection for track in tracks]
        read = self.pipe.detector.track(rgb, places, mirrored=self._mirrored)
        rows = [i for i, hand in enumerate(read) if hand is not None]
        seen = [hand for hand in read if hand is not None]
        costs = self._costs(tracks, seen, time_s) + self.config.switch_cost
        costs[costs >= self.config.max_jump] = np.inf
        own = rows, range(len(rows))
        costs[own] = self._costs(tracks, seen, time_s)[own]
        kept = improved(costs, dict(zip(*own, strict=True)))
        return [(tracks[i], seen[k]) for i, k in kept.items()]

    def _is_search_due(self, time_s: float, pairs: Sequence[Any]) -> bool:
        """Whether to search the frame in which these hands were followed."""
        if not pairs:
            return True
        if len(pairs) >= self._max_hands:
            return False
        there = {track.number for track, _ in pairs}
        lost = [track for track in self._recent if track.number not in there]
        if any(track.is_followed for track in lost):
            return True
        interval_s = self.config.lost_interval_s if lost else self.config.search_interval_s
        return time_s - self._searched_s >= interval_s * (1 - 1e-6)

    def _searched(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        pairs: Sequence[tuple["_Track", Detection]],
        time_s: float,
    ) -> list[tuple["_Track", Detection]]:
        """Hands that the frame shows beside those that were followed."""
        seen = self.pipe.detector.detect(rgb, max_hands=self._max_hands, mirrored=self._mirrored)
        same, old = self.config.same_hand, [detection for _, detection in pairs]
        new = [
            hand
            for hand in seen
            if not any(
                apart(hand.landmarks_px, other.landmarks_px, hand.bbox_px, other.bbox_px) < same
                for other in old
            )
        ]
        there = {track.number for track, _ in pairs}
        lost = [track for track in self._recent if track.number not in there]
        return self._continued(lost, new[: self._max_hands - len(pairs)], time_s)

    def _continued(
        self, tracks: Sequence["_Track"], seen: Sequence[Detection], time_s: float
    ) -> list[tuple["_Track", Detection]]:
        """Each reading with the track that it goes on with, or with a new one."""
        costs = self._costs(tracks, seen, time_s)
        costs[costs >= self.config.max_jump] = np.inf
        of = {k: tracks[i] for i, k in assigned(costs).items()}
        pairs = []
        for k, detection in enumerate(seen):
            if k not in of:
                of[k] = _Track(self._num_tracks, time_s)
                self._num_tracks += 1
                self._recent.append(of[k])
            pairs.append((of[k], detection))
        return pairs

    def _costs(
        self, tracks: Sequence["_Track"], seen: Sequence[Detection], time_s: float
    ) -> Float[np.ndarray, "tracks hands"]:
        """How far each reading is from where each track is expected, plus the cost of its side.

        In parts of the longer box side.
        """
        costs = np.zeros((len(tracks), len(seen)))
        for i, track in enumerate(tracks):
            expected_px = track.expected_px(time_s, self.config.velocity_s)
            right = self._votes.right_probability(track.number)
            for k, hand in enumerate(seen):
                p = self._votes.limited(hand.right_probability)
                agreement = right * p + (1 - right) * (1 - p)
                place = apart(hand.landmarks_px, expected_px, hand.bbox_px, track.detection.bbox_px)
                costs[i, k] = place - self.config.side_weight * math.log(agreement)
        return costs


class _Track:
    """Where a hand was seen last, and how it moved."""

    detection: Detection

    def __init__(self, number: int, time_s: float):
        self.number, self.first_s, self.last_s = number, time_s, -math.inf
        self.is_followed = False
        self._velocity_px_s = np.zeros(2)

    def see(self, detection: Detection, time_s: float) -> None:
        """Go on with what a frame shows."""
        if self.last_s > -math.inf:
            step_s = max(time_s - self.last_s, _MIN_VELOCITY_STEP_S)
            moved_px = (detection.landmarks_px - self.detection.landmarks_px).mean(0)
            self._velocity_px_s = moved_px / step_s
        self.detection, self.last_s, self.is_followed = detection, time_s, True

    def expected_px(self, time_s: float, velocity_s: float) -> Float[np.ndarray, "21 2"]:
        """Where its landmarks should be now."""
        after_s = min(time_s - self.last_s, velocity_s)
        return self.detection.landmarks_px + after_s * self._velocity_px_s
