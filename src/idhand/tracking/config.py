"""Settings of the tracker."""

import math
from dataclasses import dataclass, field

from idhand.detection import SideConfig
from idhand.tracking.association import MAX_JUMP
from idhand.tracking.clock import MAX_GAP_S


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """When to search, which reading is whose, and how sides are voted on."""

    search_interval_s: float = 0.5
    """The frame is searched for further hands this often while fewer than asked for are followed;
    each search takes as long as some three frames. Where no hand is followed, every frame is."""
    lost_interval_s: float = 0.1
    """The same while a hand is lost, for `max_gap_s`; at once in the frame that loses it."""
    max_gap_s: float = MAX_GAP_S
    """A hand that was out of sight for longer comes back under a new name."""
    max_jump: float = MAX_JUMP
    """A hand goes on where it is expected, within this part of its box's longer side; what speaks
    against its side takes from that."""
    same_hand: float = 0.3
    """Two readings in one frame are of one hand if their landmarks are nearer than this part of the
    longer box side, on average."""
    side_weight: float = 0.2
    """What a side that does not agree costs, in box sides: this times the negative logarithm of the
    probability of agreement, so 0.5 where both are sure (`vote_limit`)."""
    switch_cost: float = 0.1
    """A reading stays with the hand in whose place it was read, unless another assignment is
    cheaper by this for each reading that changes, in box sides."""
    velocity_s: float = 0.3
    """A hand is expected where its last velocity takes it within this time, and then stays there:
    hands swing to and fro in about a second."""
    vote_interval_s: float = 0.1
    """Frames nearer than this in time have in proportion less of a vote: they show nearly the same
    picture."""
    vote_limit: float = 0.95
    """A frame's probability of a side counts as at most this, above 0.5: a single frame can be
    sure and mistaken."""
    sides: SideConfig = field(default_factory=SideConfig)
    """Which hands are one person's, who has a left and a right one."""

    def __post_init__(self):
        for name in ("search_interval_s", "lost_interval_s", "max_gap_s", "velocity_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be seconds, 0 or more, got {value}")
        for name in ("max_jump", "same_hand", "vote_interval_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("side_weight", "switch_cost"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not 0.5 < self.vote_limit < 1:
            raise ValueError(f"vote_limit must lie between 0.5 and 1, got {self.vote_limit}")
