"""Things in, on and before a hand, placed so that neither goes through the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from idhand.hand import KEYPOINT_PARENTS
from idhand.synth.compiled import compiled
from idhand.synth.people.body import rotation_about, unit
from idhand.synth.things.catalogue import THINGS, Grip
from idhand.synth.things.solids import Shape, Solid, distance_m, joined

MAX_GRIP_PENETRATION_M = 0.003
"""How deep a held thing may press into skin; fingertip pads yield 2–3 mm under a firm grip.
Source: Serina et al., "Force response of the fingertip pulp", J. Biomechanics 1997."""

BONE_SHARES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Where the spheres sit on each bone; 5 of them overlap on every bone of the fingers."""

FOREARM_M = np.array([0.03, 0.06, 0.1, 0.15, 0.2])
"""Distance of the forearm's spheres from the wrist."""

FOREARM_RADIUS_M = 0.028
"""Half the thickness of a forearm behind the wrist, between its two axes."""

WRIST, THUMB_TIP, INDEX_TIP, MIDDLE_TIP = 0, 4, 8, 12
KNUCKLES = np.array([5, 9, 13, 17])
"""Keypoints of the fingers' bases; the middle joints, ends and tips follow each."""

GRIP_SHARES = (0.45, 0.1, 0.25, 0.1, 0.1)
"""How often each way to hold is tried first: across, ball, tips, laid, stood."""

MIN_PALM_UP = 0.6
"""Cosine between palm and vertical up to which something rests on the palm."""

TILTS_RAD = np.radians([-20.0, 0.0, 15.0, 35.0])
"""Turns about the palm's normal that a handle may have against the row of knuckles."""

SKIN_STRIDE = 2
"""The search for a gap looks at every second vertex, 10 mm apart, and the last check at all."""

SEARCH_STEPS_M = (0.008, 0.008, 0.008, 0.004, 0.004, 0.002, 0.001)
"""Step sizes of the climb to the middle of the gap in the hand."""

MAX_GAP_M = 0.055
"""Half the widest gap that a hand closes around."""

NUM_BONE_SPHERES = 100
"""The first of the spheres: five on each of 20 bones."""

TOUCH_M = 0.008
"""Flesh this near to the gap's inscribed circle counts as touching it."""

MAX_ONE_SIDEDNESS = 0.7
"""Length of the mean direction to the touching flesh; 1 is all on one side, so nothing is held."""

NUM_TRIES = 3
"""Things, or turns of one, that are tried at a place before giving it up."""

PAD_RADIUS_M = 0.006
"""Half the width of a fingertip's pad."""

TIPS_TURN_RAD = 0.8
"""Spread of the turn of a thing about the line between the fingertips."""

TILT_ON_PALM_RAD = (-0.35, 0.1)
"""Something on the palm leans against the thumb or away from it."""

TURN_ON_PALM_RAD = 0.5
"""Spread of the turn of something on the palm against the fingers."""

MAX_FLOAT_M = 0.03
"""Highest place above the palm where something laid on the hand may rest."""

PALM_RADIUS_M = 0.012
"""Half the thickness of the palm."""

DROP_M = 0.2
"""Height from which something comes down onto the palm."""

MAX_SLACK_M = 0.0005
"""A thing this near to the skin lies on it."""

MAX_SINKING_STEPS = 12
"""Of a thing on its way down to the hand."""


@dataclass(frozen=True, kw_only=True)
class Flesh:
    """A posed hand as spheres along its bones and points on its skin. Camera frame, metres."""

    keypoints_cam: Float[np.ndarray, "21 3"]
    centres_cam: Float[np.ndarray, "spheres 3"]
    """Of the spheres on the bones, five a bone, on the forearm, and of the mesh's vertices."""
    radii_m: Float[np.ndarray, " spheres"]
    """Zero at the vertices."""
    is_right: bool

    @cached_property
    def palmar(self) -> Float[np.ndarray, " 3"]:
        """Unit normal of the palm, out of the hand."""
        index, little = self.keypoints_cam[[5, 17]] - self.keypoints_cam[WRIST]
        normal = unit(np.cross(index, little))
        return normal if self.is_right else -normal

    @cached_property
    def to_thumb(self) -> Float[np.ndarray, " 3"]:
        """Unit direction along the knuckles to the index finger."""
        return unit(self.keypoints_cam[5] - self.keypoints_cam[17])

    @cached_property
    def palm_cam(self) -> Float[np.ndarray, " 3"]:
        """The middle of the palm, between the bones."""
        return 0.4 * self.keypoints_cam[WRIST] + 0.6 * self.keypoints_cam[KNUCKLES].mean(0)

    @cached_property
    def coarse(self) -> tuple[Float[np.ndarray, "some 3"], Float[np.ndarray, " some"]]:
        """Centres and radii of the bones' spheres and of every `SKIN_STRIDE`th other one."""
        chosen = np.r_[:NUM_BONE_SPHERES, NUM_BONE_SPHERES : len(self.radii_m) : SKIN_STRIDE]
        return self.centres_cam[chosen], self.radii_m[chosen]


def bone_radii_m(
    keypoints: Float[np.ndarray, "21 3"], verts: Float[np.ndarray, "verts 3"]
) -> Float[np.ndarray, "20 5"]:
    """Distance from points on the bones to the skin: once per person, from the hand at rest."""
    points = _on_bones(keypoints)
    squares = (points * points).sum(1)[:, None] + (verts * verts).sum(1) - 2 * points @ verts.T
    return np.sqrt(np.maximum(squares.min(1), 0.0)).reshape(20, -1)


def flesh(
    keypoints_cam: Float[np.ndarray, "21 3"],
    verts_cam: Float[np.ndarray, "verts 3"],
    bone_radii_m: Float[np.ndarray, "20 5"],
    *,
    is_right: bool,
) -> Flesh:
    """A hand in a pose, from its keypoints and mesh and the person's `bone_radii_m`."""
    back = unit(keypoints_cam[WRIST] - keypoints_cam[9])
    forearm = keypoints_cam[WRIST] + FOREARM_M[:, None] * back
    return Flesh(
        keypoints_cam=keypoints_cam,
        centres_cam=np.concatenate([_on_bones(keypoints_cam), forearm, verts_cam]),
        radii_m=np.concatenate(
            [
                bone_radii_m.ravel(),
                np.full(len(forearm), FOREARM_RADIUS_M),
                np.zeros(len(verts_cam)),
            ]
        ),
        is_right=is_right,
    )


def _on_bones(keypoints: Float[np.ndarray, "21 3"]) -> Float[np.ndarray, "100 3"]:
    ends, starts = keypoints[1:, None], keypoints[list(KEYPOINT_PARENTS[1:]), None]
    return (starts + BONE_SHARES[:, None] * (ends - starts)).reshape(-1, 3)


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A place for a thing: its frame in the camera's, and how big it may be there."""

    R: Float[np.ndarray, "3 3"]
    """Columns are the thing's axes."""
    origin_cam: Float[np.ndarray, " 3"]
    size_m: tuple[float, float]
    sinks_along: int | None = None
    """The axis of the thing against which it then comes down onto the hand."""


def held_object(
    rng: np.random.Generator, flesh: Flesh, *, up_cam: Float[np.ndarray, " 3"] | None = None
) -> Solid | None:
    """A thing that this hand could be holding, camera frame; None if none was found to fit.

    It presses into the skin by at most `MAX_GRIP_PENETRATION_M`. With the world's unit up direction
    given, nothing lies or stands on a palm that it would fall from.
    """
    carries = up_cam is None or float(flesh.palmar @ up_cam) > MIN_PALM_UP
    for grip in rng.choice(list(_SPOTS), len(_SPOTS), replace=False, p=GRIP_SHARES).tolist():
        if grip in ("laid", "stood") and not carries:
            continue
        for spot in _SPOTS[grip](rng, flesh):
            if (held := _held(rng, flesh, grip, spot)) is not None:
                return held
    return None


def _held(rng: np.random.Generator, flesh: Flesh, grip: Grip, spot: _Spot) -> Solid | None:
    """A random thing that fits the spot's size, if no other part of it meets the hand."""
    sizes = [
        (thing, max(spot.size_m[0], thing.size_m[0]), min(spot.size_m[1], thing.size_m[1]))
        for thing in THINGS
        if grip in thing.grips
    ]
    fitting = [entry for entry in sizes if entry[1] < entry[2]]
    if not fitting:
        return None
    thing, low, high = fitting[rng.integers(len(fitting))]
    shapes = thing.make(rng, float(rng.uniform(low, high)))
    origin = spot.origin_cam
    if spot.sinks_along is not None:
        origin = _sunk(flesh, shapes, spot, spot.R[:, spot.sinks_along])
    if origin is None or _depth_m(flesh, shapes, spot.R, origin) > MAX_GRIP_PENETRATION_M:
        return None
    return joined([shape.solid() for shape in shapes]).moved(spot.R, origin)


def _depth_m(
    flesh: Flesh,
    shapes: Sequence[Shape],
    R: Float[np.ndarray, "3 3"],
    origin_cam: Float[np.ndarray, " 3"],
) -> float:
    """How deep flesh and thing are in each other, negative for the gap between them."""
    return float((flesh.radii_m - distance_m(shapes, (flesh.centres_cam - origin_cam) @ R)).max())


def _sunk(
    flesh: Flesh, shapes: Sequence[Shape], spot: _Spot, up: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"] | None:
    """Where a thing from above comes to rest on the hand; None if it stays high above the palm."""
    origin = spot.origin_cam + DROP_M * up
    for _ in range(MAX_SINKING_STEPS):
        gap = -_depth_m(flesh, shapes, spot.R, origin)
        if gap < MAX_SLACK_M:
            palm = spot.origin_cam + PALM_RADIUS_M * up
            above = float(distance_m(shapes, (palm - origin)[None] @ spot.R)[0])
            return origin if above < MAX_FLOAT_M else None
        origin = origin - gap * up  # the gap closes by no more than the way
    return None


def _across(rng: np.random.Generator, flesh: Flesh) -> list[_Spot]:
    """The widest round gap between palm, fingers and thumb, along a handle across the palm."""
    turns = TILTS_RAD if flesh.is_right else -TILTS_RAD
    axes = np.stack([rotation_about(flesh.palmar, t) @ flesh.to_thumb for t in turns])
    away = unit(flesh.palmar - (axes @ flesh.palmar)[:, None] * axes)
    planes = np.stack([away, np.cross(axes, away)], -1)
    centres, radii_m = flesh.coarse
    hand = centres - flesh.palm_cam
    start = _grasped(flesh) - flesh.palm_cam
    found = [_widest(hand @ plane, radii_m, start @ plane) for plane in planes]
    best = int(np.argmax([clearance for _, clearance, _ in found]))
    middle, clearance, is_held = found[best]
    if not is_held:
        return []
    x, z = away[best], axes[best]
    along = (start @ z) * z
    return [
        _Spot(
            R=np.stack([x, np.cross(z, x), z], 1),
            origin_cam=flesh.palm_cam + planes[best] @ middle + along,
            size_m=_pressed(clearance),
        )
    ] * NUM_TRIES


def _ball(rng: np.random.Generator, flesh: Flesh) -> list[_Spot]:
    """The widest ball between palm, fingers and thumb."""
    start = _grasped(flesh)
    middle, clearance, is_held = _widest(*flesh.coarse, start)
    R = rotation_about(unit(rng.normal(size=3)), float(rng.uniform(0, np.pi)))
    return [_Spot(R=R, origin_cam=middle, size_m=_pressed(clearance))] if is_held else []


def _pressed(clearance_m: float) -> tuple[float, float]:
    """Sizes that touch the flesh around a gap without pressing too deep."""
    return max(clearance_m, 0.0), clearance_m + 0.8 * MAX_GRIP_PENETRATION_M


def _grasped(flesh: Flesh) -> Float[np.ndarray, " 3"]:
    """A point that curled fingers surround: between the palm's skin, middle joints and tips."""
    palm = flesh.palm_cam + PALM_RADIUS_M * flesh.palmar
    return (palm + flesh.keypoints_cam[KNUCKLES + 1].mean(0) + _tips_cam(flesh)) / 3


def _tips_cam(flesh: Flesh) -> Float[np.ndarray, " 3"]:
    return flesh.keypoints_cam[KNUCKLES + 3].mean(0)


def _widest(
    centres: Float[np.ndarray, "spheres dims"],
    radii_m: Float[np.ndarray, " spheres"],
    start: Float[np.ndarray, " dims"],
) -> tuple[Float[np.ndarray, " dims"], float, bool]:
    """Climb to the middle of the widest gap: where, its radius, whether flesh surrounds it."""
    middle = np.array(start)
    clearance = float(_climb(np.ascontiguousarray(centres), radii_m, middle, _STEPS[len(start)]))
    off = centres[:NUM_BONE_SPHERES] - middle
    length = np.sqrt((off**2).sum(1))
    touching = length - radii_m[:NUM_BONE_SPHERES] < clearance + TOUCH_M
    sides = off[touching] / length[touching, None]
    one_sided = np.linalg.norm(sides.sum(0)) / max(len(sides), 1)
    is_held = len(sides) > 0 and one_sided < MAX_ONE_SIDEDNESS and 0.0 < clearance < MAX_GAP_M
    return middle, clearance, bool(is_held)


def _steps(dims: int) -> Float[np.ndarray, "steps dims"]:
    """To a point's neighbours on a grid, and to itself."""
    return np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * dims), -1).reshape(-1, dims)


_STEPS = {2: _steps(2), 3: _steps(3)}


@compiled
def _climb(centres, radii, middle, steps):
    """Move `middle` (D,) over `steps` (N, D) away from spheres (S, D), (S,); its clearance."""
    best = np.zeros_like(middle)
    clearance = 0.0
    for size in SEARCH_STEPS_M:
        clearance = -np.inf
        for k in range(len(steps)):
            nearest = np.inf
            for i in range(len(radii)):
                square = 0.0
                for axis in range(len(middle)):
                    square += (middle[axis] + size * steps[k, axis] - centres[i, axis]) ** 2
                if square < (nearest + radii[i]) ** 2:
                    nearest = np.sqrt(square) - radii[i]
                    if nearest <= clearance:
                        break
            if nearest > clearance:
                clearance = nearest
                best[:] = middle + size * steps[k]
        middle[:] = best
    return clearance


def _tips(rng: np.random.Generator, flesh: Flesh) -> list[_Spot]:
    """Between the ends of the thumb and of the index or middle finger, whichever is nearer."""
    bones = flesh.centres_cam[:NUM_BONE_SPHERES].reshape(20, -1, 3)[:, 2:]
    thumb = bones[THUMB_TIP - 1]  # bone k ends at keypoint k + 1
    fingers = bones[[INDEX_TIP - 1, MIDDLE_TIP - 1]].reshape(-1, 3)
    lengths = np.sqrt(((fingers[None] - thumb[:, None]) ** 2).sum(-1))
    i, j = np.unravel_index(lengths.argmin(), lengths.shape)
    x = unit(fingers[j] - thumb[i])
    off = flesh.centres_cam - 0.5 * (fingers[j] + thumb[i])
    along = off @ x
    near = (off * off).sum(1) - along**2 < PAD_RADIUS_M**2
    low = (along + flesh.radii_m)[near & (along < 0)].max()
    high = (along - flesh.radii_m)[near & (along >= 0)].min()
    origin = 0.5 * (fingers[j] + thumb[i]) + 0.5 * float(low + high) * x
    out = origin - flesh.palm_cam
    out = unit(out - out @ x * x)
    spots = []
    for turn in rng.normal(0.0, TIPS_TURN_RAD, NUM_TRIES):
        z = rotation_about(x, float(turn)) @ out
        R = np.stack([x, np.cross(z, x), z], 1)
        spots.append(_Spot(R=R, origin_cam=origin, size_m=_pressed(float(high - low) / 2)))
    return spots


def _laid(rng: np.random.Generator, flesh: Flesh) -> list[_Spot]:
    """Lying on the palm, turned any way."""
    return [_on_palm(rng, flesh, sinks_along=0) for _ in range(NUM_TRIES)]


def _stood(rng: np.random.Generator, flesh: Flesh) -> list[_Spot]:
    """Standing on the palm."""
    return [_on_palm(rng, flesh, sinks_along=2)]


def _on_palm(rng: np.random.Generator, flesh: Flesh, *, sinks_along: int) -> _Spot:
    ahead = unit(flesh.keypoints_cam[9] - flesh.keypoints_cam[WRIST])
    tilt = rotation_about(ahead, float(rng.uniform(*TILT_ON_PALM_RAD)))
    up = (tilt if flesh.is_right else tilt.T) @ flesh.palmar
    side = rotation_about(up, float(rng.normal(0.0, TURN_ON_PALM_RAD))) @ flesh.to_thumb
    side = unit(side - side @ up * up)
    R = np.stack([up, side, np.cross(up, side)], 1)
    origin = flesh.palm_cam + float(rng.uniform(0.0, 0.06)) * ahead
    return _Spot(
        R=np.roll(R, sinks_along, axis=1),
        origin_cam=origin,
        size_m=(0.0, MAX_GAP_M),
        sinks_along=sinks_along,
    )


_SPOTS: dict[str, Callable[[np.random.Generator, Flesh], list[_Spot]]] = {
    "across": _across,
    "ball": _ball,
    "tips": _tips,
    "laid": _laid,
    "stood": _stood,
}
