"""Frames of a video → hands that stay the same hands: found again, searched for, sides by vote.

A hand that is followed is read where it was in the last frame. Every so often, and at once when one
is lost, the whole frame is searched. Readings are assigned to hands by place and side together.
Each frame votes on the sides; the fit of a frame uses the sides as voted so far. For a recorded
video, `Tracker.find` for all frames before `Tracker.fit` for all frames gives each hand one side
from its first frame on.
"""

from idhand.tracking.association import MAX_JUMP, apart, assigned
from idhand.tracking.clock import MAX_GAP_S, MIN_STEP_S, Clock
from idhand.tracking.config import TrackerConfig
from idhand.tracking.records import FoundHand, TrackedHand, hand_name
from idhand.tracking.tracker import Tracker

__all__ = [
    "MAX_GAP_S",
    "MAX_JUMP",
    "MIN_STEP_S",
    "Clock",
    "FoundHand",
    "TrackedHand",
    "Tracker",
    "TrackerConfig",
    "apart",
    "assigned",
    "hand_name",
]
