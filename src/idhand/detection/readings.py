"""Readings of the landmark net: averaging those of one hand, telling hands apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from idhand.detection.roi import Roi


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """When readings belong to one hand, and when a reading is a hand."""

    presence_threshold: float = 0.5
    """Least presence of a hand that is returned, 0..1. Source: hand_landmark_cpu.pbtxt."""
    sure_presence: float = 0.95
    """A hand this sure is not read again, 0..1; below it, sides were seen to be mistaken."""
    presence_margin: float = 0.2
    """A reading this much less sure than the best one of the same hand is not used, 0..1."""
    outlier_distance: float = 0.1
    """A reading whose landmarks lie farther from the first one's is not used; mean, over size."""
    duplicate_distance: float = 0.2
    """Hands whose landmarks lie this near to each other are one hand; mean, over hand size."""
    shared_area: float = 0.8
    """A hand that is not sure, and whose box lies by this share or more within a surer one's (of
    the smaller box), is a second reading of that hand, 0..1. Of 235 photos of one hand (sign
    digits), 6 have such a reading."""

    def __post_init__(self):
        for name in ("presence_threshold", "sure_presence", "shared_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What the landmark net reads of one hand, from one ROI or several, in image px."""

    points_px: Float[np.ndarray, "21 2"]
    z_px: Float[np.ndarray, " 21"]
    world: Float[np.ndarray, "21 3"]
    presence: float
    right: float
    """Probability of a right hand in an image that is not mirrored, 0..1."""
    roi: Roi
    spread_px: Float[np.ndarray, " 21"]
    """Standard deviation between the readings that were averaged; zero for a single one."""

    @property
    def size_px(self) -> float:
        """Hand size: diagonal of the landmarks' box over the square root of two."""
        return float(np.linalg.norm(np.ptp(self.points_px, axis=0))) / np.sqrt(2) + 1e-9

    @property
    def center_px(self) -> Float[np.ndarray, " 2"]:
        """Middle of the landmarks' box."""
        return (self.points_px.min(0) + self.points_px.max(0)) / 2


def merged(readings: Sequence[Reading], config: ReadingConfig) -> Reading:
    """Mean of the readings of one hand that agree with the first one that is sure enough."""
    floor = max(r.presence for r in readings) - config.presence_margin
    sure = [r for r in readings if r.presence >= floor]
    lead = sure[0]
    near = config.outlier_distance * lead.size_px
    used = [r for r in sure if _distance(r, lead) <= near]
    points = np.stack([r.points_px for r in used])
    deviations = ((points - points.mean(0)) ** 2).sum((0, 2))
    return Reading(
        points_px=points.mean(0),
        z_px=np.mean([r.z_px for r in used], 0),
        world=np.mean([r.world for r in used], 0),
        presence=max(r.presence for r in used),
        right=float(np.mean([r.right for r in used])),
        roi=lead.roi,
        spread_px=np.sqrt(deviations / max(len(used) - 1, 1)),
    )


def distinct(readings: Sequence[Reading], config: ReadingConfig) -> list[Reading]:
    """Those that are hands, surest first, each hand once (its surest reading)."""
    kept: list[Reading] = []
    for r in sorted(readings, key=lambda r: -r.presence):
        if r.presence < config.presence_threshold:
            continue
        if not any(_same_hand(r, other, config) for other in kept):
            kept.append(r)
    return kept


def num_sure(readings: Sequence[Reading], config: ReadingConfig) -> int:
    """How many of them are sure."""
    return sum(r.presence >= config.sure_presence for r in readings)


def _same_hand(r: Reading, surer: Reading, config: ReadingConfig) -> bool:
    if _chamfer(r, surer) <= config.duplicate_distance * r.size_px:
        return True
    return r.presence < config.sure_presence and _shared(r, surer) >= config.shared_area


def _distance(a: Reading, b: Reading) -> float:
    """Mean distance of corresponding landmarks, px."""
    return float(np.linalg.norm(a.points_px - b.points_px, axis=1).mean())


def _chamfer(a: Reading, b: Reading) -> float:
    """Mean distance to the nearest landmark of the other, px: also where the side was mistaken."""
    d = np.linalg.norm(a.points_px[:, None] - b.points_px, axis=2)
    return float((d.min(0).mean() + d.min(1).mean()) / 2)


def _shared(a: Reading, b: Reading) -> float:
    """Overlap of the landmarks' boxes over the smaller one's area."""
    low = np.maximum(a.points_px.min(0), b.points_px.min(0))
    high = np.minimum(a.points_px.max(0), b.points_px.max(0))
    areas = [np.ptp(r.points_px, axis=0).prod() for r in (a, b)]
    return float(np.clip(high - low, 0, None).prod() / max(min(areas), 1e-9))
