"""Pictures of surfaces: noise, colours and shading to make them, and planes seen in perspective.

A texture is a square picture of reflectance, coded as 255 · √reflectance in 8 bits. Needs numba
(`pip install 'idhand[synth]'`).
"""

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from idhand.synth.compiled import compiled

SIZE = 512
"""Side of a texture, texels."""
NUM_LEVELS = 6
"""Sizes that a texture is kept in, each half of the one before."""
Colour = Float[np.ndarray, " 3"]
Gray = Float[np.ndarray, "512 512"]
Albedo = Float[np.ndarray, "512 512 3"]


def noise(
    rng: np.random.Generator,
    slope: float,
    stretch: tuple[float, float] = (1.0, 1.0),
    finest: float = 2.0,
) -> Gray:
    """Tileable Gaussian noise of mean 0 and deviation 1.

    Args:
        rng: Source of the noise.
        slope: Amplitudes fall with frequency to this power: 0 is white, 1.5 cloudy, 2.5 smooth.
        stretch: How much longer than wide the structures are, along x and y.
        finest: Shortest wavelength, texels.
    """
    fx = np.fft.rfftfreq(SIZE).astype(np.float32)[None] * np.float32(stretch[0])
    fy = np.fft.fftfreq(SIZE).astype(np.float32)[:, None] * np.float32(stretch[1])
    squared = fx**2 + fy**2
    squared[0, 0] = 1
    amplitude = squared ** np.float32(-slope / 2) * (squared < 1 / finest**2)
    amplitude[0, 0] = 0
    white = np.fft.rfft2(rng.standard_normal((SIZE, SIZE), dtype=np.float32))
    out = np.fft.irfft2(white * amplitude, (SIZE, SIZE))
    return (out / out.std()).astype(np.float32, copy=False)


def colour(rng: np.random.Generator, saturation: float = 0.5, dark: float = 0.05) -> Colour:
    """Reflectance of a thing of everyday life: often white, grey, beige or navy, seldom loud."""
    hue = rng.choice([0.03, 0.06, 0.08, 0.1, 0.13, 0.58, rng.random(), rng.random()])
    value = rng.uniform(dark**0.5, 0.88) ** 2
    loud = rng.beta(1.0, 2.2) * saturation * 2 * (1 - 0.6 * value)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.clip(value * (1 + loud * (wheel - wheel.mean())), 0.02, 0.9).astype(np.float32)


def mixed(share: Gray, low: Colour, high: Colour) -> Albedo:
    """Blend of two colours."""
    part = np.clip(share, 0, 1)[..., None]
    return (low + part * (high - low)).astype(np.float32)


def toned(albedo: Albedo, change: Gray) -> Albedo:
    """Lighter and darker by factors e^change."""
    return albedo * np.exp(change)[..., None].astype(np.float32)


def grid(along: float, across: float = 0.0) -> tuple[Gray, Gray]:
    """Texel coordinates x and y in units of a pattern's cell."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return x / along, y / (across or along)


def relief(height: Gray, strength: float, towards: float = -0.8) -> Gray:
    """Shading of a bumpy surface by light from one side: a log factor."""
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0) * math.cos(towards)
    slope += cv2.Sobel(height, cv2.CV_32F, 0, 1) * math.sin(towards)
    return np.arctan(slope * strength) * 0.6


def shifted(picture: np.ndarray, dx: Gray, dy: Gray) -> np.ndarray:
    """Every texel fetched from a place nearby."""
    x, y = grid(1.0)
    return cv2.remap(picture, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


Pyramid = tuple[UInt8[np.ndarray, "_ _ 3"], ...]
"""A texture in full size, a half, a quarter …"""


def pyramid(albedo: Albedo) -> Pyramid:
    """A texture in full size, a half, and so on, coded."""
    sizes = [SIZE >> level for level in range(NUM_LEVELS)]
    pictures = [cv2.resize(albedo, (s, s), interpolation=cv2.INTER_AREA) for s in sizes]
    return tuple(np.rint(255 * np.sqrt(np.clip(a, 0, 0.95))).astype(np.uint8) for a in pictures)


def laid_out(
    levels: Pyramid,
    texel_of_pixel: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
) -> Float[np.ndarray, "height width 3"]:
    """What a camera sees of a plane with a texture on it: reflectance, zero beyond the horizon.

    Args:
        levels: The texture.
        texel_of_pixel: Homography; the third coordinate is positive where the plane is seen.
        width: Of the picture, px.
        height: Of the picture, px.
    """
    out = np.zeros((height, width, 3), np.float32)
    _lay_out(levels, texel_of_pixel, abs(float(np.linalg.det(texel_of_pixel))), out)
    return out


@compiled
def _lay_out(levels, H, area, out):
    """Fill `out` (height × width × 3) by the homography H (3 × 3), whose determinant is `area`.

    Bilinear, mirrored at the edges, from the level that fits the size of a pixel.
    """
    height, width, _ = out.shape
    full = levels[0].shape[0]
    for y in range(height):
        for x in range(width):
            w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
            if w <= 1e-6:
                continue
            # A pixel covers as many texels as the determinant of the map's Jacobian: det H / w³.
            texels = area / (w * w * w)
            level, scale = 0, 1.0 / w
            while texels > 2.0 and level < len(levels) - 1:
                texels, scale, level = texels / 4.0, scale / 2.0, level + 1
            picture = levels[level]
            size = full >> level
            u = (H[0, 0] * x + H[0, 1] * y + H[0, 2]) * scale
            v = (H[1, 0] * x + H[1, 1] * y + H[1, 2]) * scale
            u = abs(u - 2 * size * np.floor(u / (2 * size) + 0.5))
            v = abs(v - 2 * size * np.floor(v / (2 * size) + 0.5))
            left, top = min(int(u), size - 2), min(int(v), size - 2)
            u, v = min(u - left, 1.0), min(v - top, 1.0)
            for c in range(3):
                a, b = float(picture[top, left, c]), float(picture[top, left + 1, c])
                d, e = float(picture[top + 1, left, c]), float(picture[top + 1, left + 1, c])
                above = a + u * (b - a)
                code = above + v * (d + u * (e - d) - above)
                out[y, x, c] = code * code * (1.0 / 65025.0)
