"""Light: eighteen real places as radiance maps, and what each picture's camera gets of one.

World frame: z up, x to the middle of the panorama. Radiance is linear RGB; a light is scaled so
that its mean radiance over all directions has the luminance 1, so that a white wall comes to about
1 and the sensor alone decides about exposure.
"""

import io
import math
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files

import cv2
import numpy as np
from jaxtyping import Float

from idhand.synth.light.spherical import (
    REFLECTION_SHAPE,
    SH_IRRADIANCE,
    look_up,
    panorama_directions,
    reflection_directions,
    sh_basis,
    solid_angles,
)

RADIANCE_SHAPE = (32, 64)
"""Rows (zenith to nadir) and columns of the map that gives light."""
PANORAMA_LIMIT = 4.0
"""Radiance of the panorama's value 255; the map's mean is about 1."""
PANORAMA_GAMMA = 2.2
"""Value of the panorama = 255 · (radiance / limit)^(1 / gamma)."""
GLOSS = 18.0
"""Concentration of the lobe that blurs reflections (von Mises–Fisher); ±13°, as skin's sheen."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Of linear sRGB. Source: ITU-R BT.709."""
KEY_REACH_RAD = math.radians(28)
"""A key light reaches no further than this from its brightest point."""
SUN_RADIUS_RAD = math.radians(0.27)
"""No light is smaller than the sun."""
KEY_SHARE = 0.25
"""Pixels of the key are brighter than this share of its peak over its surroundings."""
SUN_STOPS = 1.5
"""Added to suns: the files cut them off, a real one at noon is six times the sky's irradiance."""
MAX_KEY_RATIO = 9.0
"""Irradiance of a key over the mean of the rest: a clear noon's sun, with some margin."""
OWN_KEY_SHARE = 0.28
"""Of pictures whose key does not belong to the environment."""


@dataclass(frozen=True, kw_only=True)
class _Lamp:
    """A kind of light that people bring along."""

    share: float
    """Of the pictures with such a light."""
    colour: tuple[float, float, float]
    radius_deg: tuple[float, float]
    stops: tuple[float, float]
    """Its irradiance over that of all other light."""
    elevation_deg: tuple[float, float] = (0.0, 0.0)
    """Above the horizon, where it does not come from the camera."""
    at_camera: bool = False
    spread: float = 0.0
    """Distance of a light at the camera from its axis, over the distance of the hand."""


OWN_KEYS = (
    _Lamp(
        share=0.35,  # desk and ceiling lamps
        colour=(1.0, 0.78, 0.52),
        radius_deg=(1.5, 8.0),
        stops=(-0.5, 2.5),
        elevation_deg=(15.0, 85.0),
    ),
    _Lamp(
        share=0.35,  # windows
        colour=(0.93, 1.0, 1.1),
        radius_deg=(10.0, 25.0),
        stops=(-0.5, 2.0),
        elevation_deg=(-5.0, 45.0),
    ),
    _Lamp(  # a phone's flash
        share=0.15,
        colour=(1.0, 0.97, 0.93),
        radius_deg=(0.5, 2.0),
        stops=(0.0, 3.0),
        at_camera=True,
        spread=0.06,
    ),
    _Lamp(  # a screen under a webcam
        share=0.15,
        colour=(0.8, 0.95, 1.2),
        radius_deg=(12.0, 25.0),
        stops=(-1.5, 1.0),
        at_camera=True,
        spread=0.35,
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Environment:
    """A place: where light comes from, and what one sees when looking there."""

    name: str
    radiance: Float[np.ndarray, "32 64 3"]
    """Equirectangular, linear, the lamps and the sun included."""
    panorama: Float[np.ndarray, "256 512 3"]
    """The same at a higher resolution, cut off at `PANORAMA_LIMIT`."""

    @cached_property
    def parts(self) -> "Parts":
        """The map taken apart, once."""
        return split(self.radiance)


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of one picture: a key light that casts shadows, and all the rest; camera frame."""

    sh: Float[np.ndarray, "9 3"]
    """Radiance without the key, as real orthonormal spherical harmonics in the order of
    `spherical.sh_basis`."""
    key_direction: Float[np.ndarray, " 3"]
    """Unit vector towards the light."""
    key_colour: Float[np.ndarray, " 3"]
    """Irradiance on a surface that faces the light."""
    key_radius: float
    """Angular radius in radians: how soft its shadows are."""
    reflection: Float[np.ndarray, "16 32 3"]
    """Radiance, the key included, blurred by `GLOSS`; see `spherical.reflection_pixel`."""
    gain: Float[np.ndarray, " 3"]
    """What the environment's radiance was multiplied with, for pictures of it."""

    def irradiance(
        self, normals_cam: Float[np.ndarray, "*points 3"]
    ) -> Float[np.ndarray, "*points 3"]:
        """What arrives at surfaces from everywhere but the key."""
        return np.maximum(sh_basis(normals_cam) @ (self.sh * SH_IRRADIANCE[:, None]), 0.0)

    def total_irradiance(
        self, normals_cam: Float[np.ndarray, "*points 3"]
    ) -> Float[np.ndarray, "*points 3"]:
        """What arrives at surfaces where no shadow falls."""
        facing = np.maximum(normals_cam @ self.key_direction, 0.0)
        return self.irradiance(normals_cam) + facing[..., None] * self.key_colour


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """An environment taken apart: its brightest spot, and the map without it; world frame."""

    ambient: Float[np.ndarray, "32 64 3"]
    blurred: Float[np.ndarray, "16 32 3"]
    """The ambient map through the lobe of `GLOSS`."""
    direction: Float[np.ndarray, " 3"]
    colour: Float[np.ndarray, " 3"]
    """Irradiance on a surface that faces the spot."""
    radius: float


@cache
def environments() -> tuple[Environment, ...]:
    """All places that ship, by name."""
    data = files("idhand.assets").joinpath("data/light.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        names = [key.split("/")[1] for key in arrays.files if key.startswith("radiance/")]
        return tuple(
            Environment(
                name=name,
                radiance=arrays[f"radiance/{name}"].astype(np.float32),
                panorama=_decoded(arrays[f"panorama/{name}"]),
            )
            for name in sorted(names)
        )


def _decoded(data):
    """The panorama's file → linear RGB."""
    picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    levels = (np.arange(256) / 255) ** PANORAMA_GAMMA * PANORAMA_LIMIT
    return levels.astype(np.float32)[picture[..., ::-1]]


def camera_rotation(
    rng: np.random.Generator, up_cam: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "3 3"]:
    """A camera's place in the world by what it sees as up, looking in a random direction.

    Returns:
        R_world_cam: vectors of the camera frame → world; `R @ up_cam` is the world's z.
    """
    up = up_cam / np.linalg.norm(up_cam)
    # Measured from the optical axis, so that it changes smoothly while a camera is shaken.
    ahead = np.array([0.0, 0.0, 1.0] if abs(up[2]) < 0.999 else [1.0, 0.0, 0.0])
    side = np.cross(up, ahead)
    side /= np.linalg.norm(side)
    heading = rng.uniform(0, 2 * math.pi)
    x = math.cos(heading) * side + math.sin(heading) * np.cross(up, side)
    return np.stack((x, np.cross(up, x), up))


def split(radiance: Float[np.ndarray, "32 64 3"]) -> Parts:
    """Take the brightest spot out of a map; energy is kept."""
    directions, omega = panorama_directions(*RADIANCE_SHAPE), solid_angles(*RADIANCE_SHAPE)
    radiance = radiance.astype(np.float64)
    luminance = radiance @ LUMINANCE
    soft = cv2.GaussianBlur(cv2.copyMakeBorder(luminance, 0, 0, 4, 4, cv2.BORDER_WRAP), (0, 0), 1.0)
    peak = directions.reshape(-1, 3)[soft[:, 4:-4].argmax()]
    near = directions @ peak > math.cos(KEY_REACH_RAD)
    floor = np.median(radiance[near], 0)
    height = luminance - floor @ LUMINANCE
    is_key = near & (height > KEY_SHARE * height[near].max())
    excess = np.where(is_key[..., None], np.maximum(radiance - floor, 0), 0)
    weights = (excess @ LUMINANCE) * omega
    direction = (directions * weights[..., None]).sum((0, 1))
    direction /= np.linalg.norm(direction)
    angle = np.arccos(np.clip(directions @ direction, -1, 1))
    pixel = omega.max() / math.pi  # squared radius of what a single pixel may be
    radius = math.sqrt(max(2 * (weights * angle**2).sum() / weights.sum() - pixel, 0.0))
    ambient = radiance - excess
    return Parts(
        ambient=ambient,
        blurred=(_gloss_weights() @ ambient.reshape(-1, 3).astype(np.float32)).reshape(16, 32, 3),
        direction=direction,
        colour=(excess * omega[..., None]).sum((0, 1)),
        radius=max(radius, SUN_RADIUS_RAD),
    )


@cache
def _gloss_weights():
    """Matrix from a map of light to the same map through the lobe of `GLOSS`, at half its size."""
    rows, columns = RADIANCE_SHAPE
    fine = panorama_directions(rows, columns).reshape(-1, 3)
    coarse = panorama_directions(rows // 2, columns // 2).reshape(-1, 3)
    omega = np.broadcast_to(solid_angles(rows, columns), RADIANCE_SHAPE).ravel()
    weights = np.exp(GLOSS * (coarse @ fine.T - 1)) * omega
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Key:
    """A light that casts shadows, in the camera frame, before the scale is known."""

    direction: Float[np.ndarray, " 3"]
    colour: Float[np.ndarray, " 3"]
    radius: float


def draw_light(
    rng: np.random.Generator, environment: Environment, R_world_cam: Float[np.ndarray, "3 3"]
) -> Light:
    """Light of a picture taken in a place: its own brightest spot as key, or one brought along."""
    parts = environment.parts
    key = _Key(direction=parts.direction @ R_world_cam, colour=parts.colour, radius=parts.radius)
    tint = _tint(rng, 0.07)
    fill = rng.uniform(0.0, 0.45)
    stops = rng.triangular(-2.0, 0.0, 1.5)
    if parts.radius < 2 * SUN_RADIUS_RAD:
        stops += SUN_STOPS
    ambient_E = math.pi * _mean_radiance(parts.ambient)
    if rng.random() < OWN_KEY_SHARE:
        brought = _brought_key(rng, R_world_cam, ambient_E + key.colour @ LUMINANCE / 4)
        return _assembled(parts, R_world_cam, fill=fill, tint=tint, spot=key, key=brought)
    limit = MAX_KEY_RATIO * ambient_E / (key.colour @ LUMINANCE)
    key = replace(key, colour=key.colour * min(2.0**stops, max(limit, 0.25)))
    return _assembled(parts, R_world_cam, fill=fill, tint=tint, spot=None, key=key)


def _brought_key(rng, R_world_cam, around_E):
    """A lamp, a window, a flash, or the glow of a screen; `around_E` is the other lights'."""
    chosen = OWN_KEYS[rng.choice(len(OWN_KEYS), p=[lamp.share for lamp in OWN_KEYS])]
    if chosen.at_camera:
        direction = np.array([0.0, 0.0, -1.0]) + rng.normal(0, chosen.spread, 3)
    else:
        azimuth = rng.uniform(0, 2 * math.pi)
        height = math.sin(math.radians(rng.uniform(*chosen.elevation_deg)))
        flat = math.sqrt(1 - height**2)
        world = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), height])
        direction = world @ R_world_cam
    colour = np.array(chosen.colour) * _tint(rng, 0.06)
    strength = around_E * 2 ** rng.uniform(*chosen.stops) / (colour @ LUMINANCE)
    return _Key(
        direction=direction / np.linalg.norm(direction),
        colour=colour * strength,
        radius=math.radians(rng.uniform(*chosen.radius_deg)),
    )


def _tint(rng, deviation):
    """Random factors of the channels, of luminance 1: mostly warm to cold, a little green."""
    warm, green = rng.normal(0, deviation), rng.normal(0, deviation / 3)
    tint = np.exp(np.array([warm, green, -1.3 * warm]))
    return tint / (tint @ LUMINANCE)


def _mean_radiance(radiance):
    """Luminance of the mean over all directions."""
    omega = solid_angles(*RADIANCE_SHAPE)
    return float(((radiance @ LUMINANCE) * omega).sum() / (4 * math.pi))


def _assembled(parts, R_world_cam, *, fill, tint, spot, key):
    """Project, add the environment's own spot where it is not the key, scale, reflect.

    `fill` moves the ambient light towards its mean, as bright walls nearby do.
    """
    directions_cam = panorama_directions(*RADIANCE_SHAPE) @ R_world_cam
    omega = solid_angles(*RADIANCE_SHAPE)[..., None]
    basis = sh_basis(directions_cam).reshape(-1, 9)
    sh = basis.T @ (parts.ambient * omega).reshape(-1, 3)
    ahead = reflection_directions() @ R_world_cam.T
    reflection = look_up(parts.blurred, ahead)
    if spot is not None:
        sh = sh + sh_basis(spot.direction)[:, None] * spot.colour
        reflection = reflection + _lobe(spot)
    mean = sh[0] * sh_basis(np.array([0.0, 0.0, 1.0]))[0]
    sh[1:] *= 1 - fill
    reflection = (1 - fill) * reflection + fill * mean + _lobe(key)
    gain = tint / ((mean * tint + key.colour * tint / (4 * math.pi)) @ LUMINANCE)
    return Light(
        sh=sh * gain,
        key_direction=key.direction,
        key_colour=key.colour * gain,
        key_radius=key.radius,
        reflection=(reflection * gain).astype(np.float32),
        gain=gain,
    )


def _lobe(key):
    """Radiance of a key in the reflection map, blurred by its own size and by `GLOSS`."""
    kappa = 1 / (1 / GLOSS + key.radius**2 / 4)
    peak = kappa / (2 * math.pi * (1 - math.exp(-2 * kappa)))
    shape = np.exp(kappa * (reflection_directions() @ key.direction - 1))
    return (shape * peak)[..., None] * key.colour


def flat_light() -> Light:
    """White light from everywhere and no key, to compare with."""
    sh = np.zeros((9, 3))
    sh[0] = math.sqrt(4 * math.pi)
    return Light(
        sh=sh,
        key_direction=np.array([0.0, 0.0, -1.0]),
        key_colour=np.zeros(3),
        key_radius=KEY_REACH_RAD,
        reflection=np.ones((*REFLECTION_SHAPE, 3), np.float32),
        gain=np.ones(3),
    )
