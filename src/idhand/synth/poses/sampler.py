"""Poses that hands really take: from a library, between its poses, and beyond it; and in motion.

All are within the joints' limits, and no part of a hand is deeper in another than skin yields.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from idhand.hand import FittableHand, Hand
from idhand.synth.poses.capsules import (
    CAPSULE_NAMES,
    MAX_PENETRATION_M,
    CapsuleRig,
    HandCapsules,
    penetration_m,
)
from idhand.synth.poses.gestures import GESTURES, GestureKind
from idhand.synth.poses.motion import minimum_jerk, wander

Angles = Float[np.ndarray, " dofs"]

SOURCE_SHARES = {"library": 0.4, "blend": 0.2, "mixed": 0.2, "synergy": 0.14, "uniform": 0.06}
"""How poses are made: one of the library; between two; each finger from one of two; normal as in
the pose space; anything within the limits."""
LIBRARY_SOURCES = {"library": 0.7, "blend": 0.3}
"""Where poses of given kinds come from."""

MAX_LIBRARY_NOISE = 0.25
"""Largest deviation from the library, as a share of everyday poses' deviation from their mean."""

MAX_TRIES = 10
"""Draws of a pose until one can be freed of what is too deep; then the hand is open."""
SAFE_POSE = "open"

THUMB_DOFS = 6
FINGER_DOFS = 5
FIRST_MCP, FIRST_ABDUCTION, FIRST_TWIST, FIRST_PIP, FIRST_DIP = range(THUMB_DOFS, 11)
"""Of the index finger; the others' follow every `FINGER_DOFS`."""

ABDUCTION_LOSS = 0.7
"""Share of abduction that is lost at 90 degrees of MCP flexion, where the ligaments are taut.
Source: Kapandji, "The Physiology of the Joints", vol. 1; the number is ours."""
DIP_FOLLOWS = (0.25, 0.75)
"""Least and most flexion of the distal joint as shares of the middle one's. Source: about 2/3,
Rijpkema and Girard, "Computer animation of knowledge-based human grasping", 1991."""
DIP_FREEDOM_RAD = math.radians(20.0)
"""Passive bending of the distal joint beyond these."""
PASSIVE_SHARE = 0.5
"""Of the limits, that twists use of their own accord."""

PATH_CHECKS = 14
"""Poses on the way of a move that are looked at."""
PATH_MARGIN_M = 0.0008
"""Depth that is kept for trembling and for what lies between the checks."""
MOVE_WINDOWS = (((0.0, 1.0), (0.0, 1.0)), ((0.0, 0.6), (0.4, 1.0)), ((0.4, 1.0), (0.0, 0.6)))
"""When thumb and fingers begin and end, as shares of the move: together, or one after another."""
MAX_HOLD_S = 0.6
MOVE_PACE = (0.8, 1.6)
"""Slowness of a person's moves: factor on their usual time."""
MOVE_S, MOVE_S_PER_RAD = 0.35, 0.29
"""Usual time of a move: for the least, and for each radian of the angle that changes most."""
TREMOR_RAD = (math.radians(0.35), math.radians(0.06))
TREMOR_BANDS_HZ = ((0.3, 1.5), (8.0, 12.0))
"""Drift of a held posture, and physiological tremor. Source: Elble, "Physiologic and essential
tremor", Neurology 1986."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Joint angles, and where they come from."""

    angles: Angles
    """Of the model's pose space, radians."""
    name: str
    """One of `GESTURES`, or how the pose was made."""


@dataclass(frozen=True, kw_only=True)
class _Idea:
    """A pose before its contacts are put right."""

    angles: Angles
    name: str
    touches: Int[np.ndarray, "touches 2"]


NO_TOUCHES = np.empty((0, 2), np.int64)


class PoseSampler:
    """Draws poses of the open hand's pose space.

    Args:
        model: A hand with the pose space of the open hand, of any shape.
    """

    def __init__(self, model: FittableHand):
        space = model.pose_space
        self.rig = CapsuleRig(model=model)
        self.names = tuple(GESTURES)
        degrees = [sum(g.degrees, ()) for g in GESTURES.values()]
        self.library: Float[np.ndarray, "gestures dofs"] = np.radians(np.array(degrees, float))
        self._touches = [
            np.array(
                [[CAPSULE_NAMES.index(name) for name in pair] for pair in g.touches], np.int64
            ).reshape(-1, 2)
            for g in GESTURES.values()
        ]
        self._mean, self._root = space.mean.numpy(), np.linalg.cholesky(space.covariance.numpy())
        self._lower, self._upper = space.lower.numpy(), space.upper.numpy()
        self._sources: dict[str, Callable[[np.random.Generator, Int[np.ndarray, " some"]], _Idea]]
        self._sources = {
            "library": self._from_library,
            "blend": self._between_two,
            "mixed": self._finger_by_finger,
            "synergy": self._from_synergies,
            "uniform": self._uniform,
        }

    def capsules(self, hand: Hand) -> HandCapsules:
        """What `draw` and `sequence` have to know of a person: 2 ms, once."""
        return self.rig.capsules(hand)

    def draw(
        self,
        rng: np.random.Generator,
        capsules: HandCapsules,
        kinds: Collection[GestureKind] | None = None,
    ) -> Pose:
        """A pose for this person, of certain kinds or of any and none.

        Raises:
            ValueError: If no kind is named.
        """
        if kinds is not None and not kinds:
            raise ValueError(
                "kinds is empty; name one or more kinds of poses, or give None for all"
            )
        return self._draw(rng, capsules, kinds, MAX_PENETRATION_M)

    def sequence(
        self,
        rng: np.random.Generator,
        capsules: HandCapsules,
        num_frames: int,
        fps: float,
        kinds: Collection[GestureKind] | None = None,
    ) -> Float[np.ndarray, "frames dofs"]:
        """Angles of a hand that moves from pose to pose, pauses, and trembles a little.

        Raises:
            ValueError: If there would be no frame, or no time between frames.
        """
        if num_frames < 1 or not 0 < fps < math.inf:
            raise ValueError(
                "a sequence needs frames and a positive rate, got "
                f"{num_frames} frames at {fps} per s"
            )
        times_s = np.arange(num_frames) / fps
        limit_m = MAX_PENETRATION_M - PATH_MARGIN_M
        here = self._draw(rng, capsules, kinds, limit_m).angles
        angles = np.tile(here, (num_frames, 1))
        pace = rng.uniform(*MOVE_PACE)
        # The first pose has been held or reached before the film begins.
        start_s = float(rng.uniform(-MAX_HOLD_S, MAX_HOLD_S))
        while start_s < times_s[-1]:
            there = self._draw(rng, capsules, kinds, limit_m).angles
            duration_s = pace * (MOVE_S + MOVE_S_PER_RAD * float(np.abs(there - here).max()))
            windows = _free_windows(capsules, here, there, limit_m)
            if windows is not None:
                shares = (times_s - start_s) / duration_s
                after = shares > 0
                angles[after] = _on_the_way(here, there, shares[after], windows)
                here = there
                start_s += duration_s
            start_s += float(rng.uniform(0.0, MAX_HOLD_S))
        for size_rad, band_hz in zip(TREMOR_RAD, TREMOR_BANDS_HZ, strict=True):
            angles += size_rad * wander(rng, times_s, angles.shape[1], band_hz)
        return np.clip(angles, self._lower, self._upper)

    def limits(self, angles: Angles) -> tuple[Angles, Angles]:
        """Least and most of each angle, given the others.

        Bent knuckles cannot spread, and the distal joint follows the middle one.
        """
        lower, upper = self._lower.copy(), self._upper.copy()
        fingers = slice(FIRST_ABDUCTION, None, FINGER_DOFS)
        bent = np.clip(angles[FIRST_MCP::FINGER_DOFS] / (math.pi / 2), 0.0, 1.0)
        lower[fingers] *= 1 - ABDUCTION_LOSS * bent
        upper[fingers] *= 1 - ABDUCTION_LOSS * bent
        pip, dip = angles[FIRST_PIP::FINGER_DOFS], slice(FIRST_DIP, None, FINGER_DOFS)
        lower[dip] = np.maximum(lower[dip], DIP_FOLLOWS[0] * pip - DIP_FREEDOM_RAD)
        upper[dip] = np.minimum(upper[dip], DIP_FOLLOWS[1] * pip + DIP_FREEDOM_RAD)
        return lower, upper

    def _draw(
        self,
        rng: np.random.Generator,
        capsules: HandCapsules,
        kinds: Collection[GestureKind] | None,
        limit_m: float,
    ) -> Pose:
        allowed = np.array(
            [k for k, g in enumerate(GESTURES.values()) if kinds is None or g.kind in kinds]
        )
        shares = SOURCE_SHARES if kinds is None else LIBRARY_SOURCES
        for _ in range(MAX_TRIES):
            source = tuple(shares)[rng.choice(len(shares), p=tuple(shares.values()))]
            idea = self._sources[source](rng, allowed)
            angles = np.clip(idea.angles, self._lower, self._upper)
            angles = capsules.settled(angles, self.limits(angles), idea.touches)
            if penetration_m(capsules, angles) <= limit_m:
                return Pose(angles=angles, name=idea.name)
        return Pose(angles=self.library[self.names.index(SAFE_POSE)].copy(), name=SAFE_POSE)

    def _noise(self, rng: np.random.Generator) -> Angles:
        """Correlated as everyday poses are, of random strength."""
        strength = rng.uniform(0.0, MAX_LIBRARY_NOISE)
        return strength * self._root @ rng.standard_normal(len(self._mean))

    def _from_library(self, rng: np.random.Generator, allowed: Int[np.ndarray, " some"]) -> _Idea:
        k = int(rng.choice(allowed))
        angles = self.library[k] + self._noise(rng)
        return _Idea(angles=angles, name=self.names[k], touches=self._touches[k])

    def _between_two(self, rng: np.random.Generator, allowed: Int[np.ndarray, " some"]) -> _Idea:
        a, b = self.library[rng.choice(allowed, 2)]
        angles = a + rng.uniform(0.15, 0.85) * (b - a) + self._noise(rng)
        return _Idea(angles=angles, name="blend", touches=NO_TOUCHES)

    def _finger_by_finger(
        self, rng: np.random.Generator, allowed: Int[np.ndarray, " some"]
    ) -> _Idea:
        finger = np.concatenate([np.zeros(THUMB_DOFS, int), np.repeat(range(1, 5), FINGER_DOFS)])
        is_first = rng.random(5) < 0.5
        a, b = self.library[rng.choice(allowed, 2)]
        angles = np.where(is_first[finger], a, b) + self._noise(rng)
        return _Idea(angles=angles, name="mixed", touches=NO_TOUCHES)

    def _from_synergies(self, rng: np.random.Generator, allowed: Int[np.ndarray, " some"]) -> _Idea:
        angles = self._mean + self._root @ rng.standard_normal(len(self._mean))
        return _Idea(angles=angles, name="synergy", touches=NO_TOUCHES)

    def _uniform(self, rng: np.random.Generator, allowed: Int[np.ndarray, " some"]) -> _Idea:
        angles = rng.uniform(self._lower, self._upper)
        angles[FIRST_TWIST::FINGER_DOFS] *= PASSIVE_SHARE
        follows = rng.uniform(*DIP_FOLLOWS, 4)
        angles[FIRST_DIP::FINGER_DOFS] = follows * angles[FIRST_PIP::FINGER_DOFS]
        return _Idea(angles=angles, name="uniform", touches=NO_TOUCHES)


Windows = tuple[tuple[float, float], tuple[float, float]]


def _on_the_way(
    start: Angles, end: Angles, shares: Float[np.ndarray, " times"], windows: Windows
) -> Float[np.ndarray, "times dofs"]:
    """Angles at shares of a move's time; thumb and fingers have their own windows of it."""
    thumb, fingers = (
        minimum_jerk((shares - begin) / (finish - begin)) for begin, finish in windows
    )
    done = np.repeat([thumb, fingers], [THUMB_DOFS, len(start) - THUMB_DOFS], 0).T
    return start + done * (end - start)


def _free_windows(
    capsules: HandCapsules, start: Angles, end: Angles, limit_m: float
) -> Windows | None:
    """How to move without running into oneself: at once, or thumb first, or last, or not at all."""
    shares = np.linspace(0.0, 1.0, PATH_CHECKS)
    for windows in MOVE_WINDOWS:
        path = _on_the_way(start, end, shares, windows)
        if penetration_m(capsules, path) <= limit_m:
            return windows
    return None
