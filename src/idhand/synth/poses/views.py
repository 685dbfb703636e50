"""Where cameras meet hands: orientation, distance and lens of a shot, and how they drift in a film.

Cameras stand level or nearly so; x right, y down, z forward.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from idhand.synth.people.body import rotation_about
from idhand.synth.poses.motion import wander

ViewKind = Literal["egocentric", "selfie", "third_person", "any"]

VIEW_SHARES: dict[ViewKind, float] = {
    "egocentric": 0.3,
    "selfie": 0.3,
    "third_person": 0.25,
    "any": 0.15,
}

CAMERA_ROLL_DEG = 4.0
"""Standard deviation: nobody holds a camera quite level."""

MIDDLE_STD = 0.14
"""Of where the hand's middle lies in the picture, as a share of its sides."""
MIDDLE_RANGE = (0.2, 0.8)

FILM_BAND_HZ = (0.08, 0.7)
"""Frequencies of deliberate motion of arm and camera."""
FILM_TURN_DEG = 60.0
"""Largest turn of the hand about each axis against the first frame; half of it is common."""
FILM_SHAKE_DEG = 8.0
"""Largest turn of the camera about each axis."""
FILM_ZOOM = 0.35
"""Largest change of the logarithm of the distance."""
FILM_SHIFT = 0.2
"""Largest shift in the picture, as a share of its sides."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a hand stands before a camera."""

    kind: ViewKind
    R_cam_wrist: Float[np.ndarray, "3 3"]
    up_cam: Float[np.ndarray, " 3"]
    """Unit vector against gravity."""
    distance_m: float
    """Depth of the hand's middle."""
    fov_deg: float
    """Across the longer side of the full picture."""
    at: tuple[float, float]
    """Where in the full picture the hand's middle lies, as shares of its width and height."""


@dataclass(frozen=True, kw_only=True)
class _Habit:
    """What views of one kind have in common. Angles as in `_wrist_rotation`."""

    yaws_deg: tuple[tuple[float, float, float], ...]
    """Share, mean and standard deviation of each cluster."""
    pitches_deg: tuple[tuple[float, float, float], ...]
    roll_deg: tuple[float, float]
    """Mean and standard deviation."""
    tilt_deg: tuple[float, float]
    """The camera looks down by an angle within these."""
    distance_m: tuple[float, float]
    fovs_deg: tuple[tuple[float, float], ...]
    """Ranges of the devices, equally common."""


PHONE_FOV_DEG, WEBCAM_FOV_DEG, HEADSET_FOV_DEG = (60.0, 80.0), (55.0, 90.0), (70.0, 120.0)

_HABITS: dict[ViewKind, _Habit] = {
    # From the head: fingers away from it and up, the back or the thumb's side to the camera; the
    # right arm comes from below on the right.
    "egocentric": _Habit(
        yaws_deg=((0.55, 180.0, 35.0), (0.2, 100.0, 30.0), (0.25, 0.0, 45.0)),
        pitches_deg=((0.8, -45.0, 25.0), (0.2, 0.0, 25.0)),
        roll_deg=(-20.0, 35.0),
        tilt_deg=(0.0, 65.0),
        distance_m=(0.25, 0.7),
        fovs_deg=(HEADSET_FOV_DEG, PHONE_FOV_DEG),
    ),
    # To one's own camera: fingers up, palm, side or back shown.
    "selfie": _Habit(
        yaws_deg=((0.55, 0.0, 30.0), (0.2, 180.0, 30.0), (0.125, 90.0, 30.0), (0.125, -90.0, 30.0)),
        pitches_deg=((0.85, 3.0, 20.0), (0.15, 40.0, 25.0)),
        roll_deg=(0.0, 35.0),
        tilt_deg=(-20.0, 25.0),
        distance_m=(0.3, 1.0),
        fovs_deg=(PHONE_FOV_DEG, WEBCAM_FOV_DEG),
    ),
    # Somebody looks on: arms hang, reach and point anywhere, also at the camera.
    "third_person": _Habit(
        yaws_deg=((1.0, 0.0, 120.0),),
        pitches_deg=((0.6, 0.0, 35.0), (0.25, 65.0, 20.0), (0.15, -60.0, 20.0)),
        roll_deg=(0.0, 90.0),
        tilt_deg=(-10.0, 50.0),
        distance_m=(0.4, 1.5),
        fovs_deg=(PHONE_FOV_DEG, WEBCAM_FOV_DEG),
    ),
}


def draw_view(rng: np.random.Generator) -> View:
    """A view that a camera may well meet; a share of them is uniform over all orientations."""
    kinds = tuple(VIEW_SHARES)
    kind = kinds[rng.choice(len(kinds), p=tuple(VIEW_SHARES.values()))]
    # What is not drawn from habits: equally likely from everywhere.
    habit = _HABITS.get(kind, _HABITS["third_person"])
    if kind == "any":
        yaw, roll = rng.uniform(-180.0, 180.0, 2)
        pitch = math.degrees(math.asin(rng.uniform(-1.0, 1.0)))
    else:
        yaw, pitch = _of_cluster(rng, habit.yaws_deg), _of_cluster(rng, habit.pitches_deg)
        roll = rng.normal(*habit.roll_deg)
    tilt, bank = math.radians(rng.uniform(*habit.tilt_deg)), rng.normal(0.0, CAMERA_ROLL_DEG)
    level_up = np.array([0.0, -math.cos(tilt), -math.sin(tilt)])
    nearest, farthest = habit.distance_m
    x, y = np.clip(rng.normal(0.5, MIDDLE_STD, 2), *MIDDLE_RANGE).tolist()
    return View(
        kind=kind,
        R_cam_wrist=_wrist_rotation(yaw, pitch, roll),
        up_cam=rotation_about((0.0, 0.0, 1.0), math.radians(bank)) @ level_up,
        distance_m=float(np.exp(rng.uniform(math.log(nearest), math.log(farthest)))),
        fov_deg=float(rng.uniform(*habit.fovs_deg[rng.integers(len(habit.fovs_deg))])),
        at=(x, y),
    )


def view_sequence(rng: np.random.Generator, num_frames: int, fps: float) -> tuple[View, ...]:
    """One shot as a film: hand and camera move smoothly about a view; the lens stays.

    Raises:
        ValueError: If there would be no frame, or no time between frames.
    """
    if num_frames < 1 or not 0 < fps < math.inf:
        raise ValueError(
            f"a sequence needs frames and a positive rate, got {num_frames} frames at {fps} per s"
        )
    first = draw_view(rng)
    times_s = np.arange(num_frames) / fps
    # The cube makes lively films rare and nearly still ones common.
    liveliness = rng.uniform(0.3, 1.0) ** 3
    turns, shakes, moves = (wander(rng, times_s, 3, FILM_BAND_HZ) for _ in range(3))
    turns *= liveliness * math.radians(FILM_TURN_DEG)
    shakes *= liveliness * math.radians(FILM_SHAKE_DEG)
    moves *= liveliness * np.array([FILM_ZOOM, FILM_SHIFT, FILM_SHIFT])
    views = []
    for turn, shake, (zoom, right, down) in zip(turns, shakes, moves, strict=True):
        camera = rotation_about(shake, float(np.linalg.norm(shake)))
        hand = rotation_about(turn, float(np.linalg.norm(turn)))
        view = replace(
            first,
            R_cam_wrist=camera @ first.R_cam_wrist @ hand,
            up_cam=camera @ first.up_cam,
            distance_m=float(first.distance_m * np.exp(zoom)),
            at=(float(first.at[0] + right), float(first.at[1] + down)),
        )
        views.append(view)
    return tuple(views)


def _of_cluster(
    rng: np.random.Generator, clusters: tuple[tuple[float, float, float], ...]
) -> float:
    """A number from a mixture of normal distributions: shares, means, standard deviations."""
    _, mean, std = clusters[rng.choice(len(clusters), p=[share for share, _, _ in clusters])]
    return rng.normal(mean, std)


def _wrist_rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Float[np.ndarray, "3 3"]:
    """The wrist before a camera; zero is palm to the camera, fingers up.

    Args:
        yaw_deg: First, about the hand's length; 180 shows the back, 90 the thumb's side.
        pitch_deg: Then, fingers towards the camera.
        roll_deg: Last, in the picture, clockwise.
    """
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg]).tolist()
    return (
        rotation_about((0.0, 0.0, 1.0), roll)
        @ rotation_about((1.0, 0.0, 0.0), pitch)
        @ rotation_about((0.0, 1.0, 0.0), yaw)
    )
