"""People and things in the background: rounded shapes, which do because they are never sharp."""

import math

import cv2
import numpy as np
from jaxtyping import Float

from idhand.synth.places.materials import draw_surface
from idhand.synth.places.textures import SIZE
from idhand.synth.places.viewpoint import Picture, Viewpoint


def _solid(
    rng: np.random.Generator,
    at: Viewpoint,
    picture: Picture,
    *,
    middle: tuple[float, float],
    size: tuple[float, float],
    turn: float,
    albedo: np.ndarray,
    power: int = 2,
) -> Picture:
    """Paste a rounded thing, lit and shaded.

    Args:
        rng: Source of the shading's depth.
        at: The camera and the light.
        picture: What is behind it.
        middle: x, y as shares of the picture's size.
        size: Half axes as shares of the picture's size.
        turn: Radians.
        albedo: Its reflectance: one colour, or a picture.
        power: 2 is an ellipsoid, 4 a limb, 8 a box with round edges; even.
    """
    step = 2
    x = (np.arange(0, at.width, step) + 0.5) / at.width - middle[0]
    y = ((np.arange(0, at.height, step) + 0.5) / at.height - middle[1])[:, None]
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = (cos * x + sin * y) / size[0], (cos * y - sin * x) / size[1]
    squared = u**2 + v**2
    inside = (u**power + v**power) ** (2 / power)
    mask = np.clip((1 - inside) * min(size) * at.width / step / 2 + 0.5, 0, 1)
    flat = rng.uniform(0.4, 1.0) * (0.3 if power > 4 else 1.0)
    nx, ny = flat * (cos * u - sin * v), flat * (sin * u + cos * v)
    normals = np.stack((nx, ny, -np.sqrt(np.maximum(1 - flat**2 * squared, 0.02))), -1)[::2, ::2]
    normals /= np.sqrt((normals**2).sum(-1, keepdims=True))
    white = (at.light.total_irradiance(normals) / math.pi).astype(np.float32)
    white = cv2.resize(white, (at.width, at.height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask.astype(np.float32), (at.width, at.height))[..., None]
    return picture + mask * (np.minimum(white, 3.0) * albedo.astype(np.float32) - picture)


def skin_tone(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Reflectance of some person's skin, light to dark."""
    light, dark = np.array([0.60, 0.36, 0.26]), np.array([0.07, 0.035, 0.022])
    tone = np.exp(np.log(light) + rng.beta(1.1, 1.3) * np.log(dark / light))
    return tone * np.exp(rng.normal(0, 0.05, 3))


def hair_tone(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Reflectance of hair, black to blond or grey."""
    tone = np.array([0.4, 0.24, 0.11]) * rng.beta(0.7, 2.0) + 0.015
    return tone if rng.random() < 0.85 else np.full(3, rng.uniform(0.1, 0.5))


def person(rng: np.random.Generator, at: Viewpoint, picture: Picture) -> Picture:
    """Somebody behind the hand: a clothed torso, often with neck and head."""
    x, y, wide = rng.uniform(0.1, 0.9), rng.uniform(0.75, 1.25), rng.uniform(0.25, 0.6)
    lean, skin, hair = rng.normal(0, 0.12), skin_tone(rng), hair_tone(rng)
    head = wide * rng.uniform(0.32, 0.42)
    top = y - 0.75 * wide - 1.1 * head
    if rng.random() < 0.7:
        for middle, size, albedo in (
            ((x, top - 0.2 * head), (1.12 * head, 1.4 * head), hair),
            ((x, top + 1.3 * head), (0.55 * head, head), 0.8 * skin),
            ((x + rng.normal(0, 0.2) * head, top + 0.15 * head), (0.9 * head, 1.2 * head), skin),
        ):
            picture = _solid(rng, at, picture, middle=middle, size=size, turn=lean, albedo=albedo)
    cloth = _cover(rng, at, ("cloth", "cloth", "checks", "print_cloth", "carpet"))
    size = (wide, 0.9 * wide)
    return _solid(rng, at, picture, middle=(x, y), size=size, turn=lean, albedo=cloth)


def _cover(rng, at, kinds):
    """Reflectance of a material over the whole picture."""
    pictures, tint = draw_surface(rng, kinds)
    left, top = rng.integers(0, SIZE // 4, 2)
    part = pictures[0][top:, left:][: SIZE * 3 // 4, : SIZE * 3 // 4]
    part = cv2.resize(part, (at.width, at.height), interpolation=cv2.INTER_AREA)
    part = np.asarray(part, np.uint8)
    return ((np.arange(256) / 255) ** 2).astype(np.float32)[part] * tint.astype(np.float32)


def limb(rng: np.random.Generator, at: Viewpoint, picture: Picture) -> Picture:
    """A bare arm, leg or fist that is not the hand's own."""
    x, y = rng.uniform(-0.1, 1.1, 2)
    thick = rng.uniform(0.05, 0.16)
    return _solid(
        rng,
        at,
        picture,
        middle=(float(x), float(y)),
        size=(thick * rng.uniform(1.0, 5.0), thick),
        turn=rng.uniform(0, math.pi),
        albedo=skin_tone(rng),
        power=4,
    )


def thing(rng: np.random.Generator, at: Viewpoint, picture: Picture) -> Picture:
    """A box, cushion, ball or lamp shade."""
    x, y = rng.uniform(0.0, 1.0, 2)
    size = rng.uniform(0.06, 0.3, 2)
    return _solid(
        rng,
        at,
        picture,
        middle=(float(x), float(y)),
        size=(float(size[0]), float(size[1])),
        turn=rng.normal(0, 0.3),
        albedo=_cover(rng, at, ("page", "spines", "print_cloth", "plaster", "wood", "stone")),
        power=8 if rng.random() < 0.8 else 2,
    )


FIGURES = (person, limb, thing)
"""What may stand in front of a background."""
