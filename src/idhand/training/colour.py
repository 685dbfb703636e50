"""Colours of training crops changed at random, as another camera or another light might."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ColourConfig:
    """How far colours may be changed; each change happens with the same probability.

    Raises:
        ValueError: If a range is none.
    """

    brightness: float = 32.0
    """Added to values of 0..255, to both sides."""
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue_deg: float = 18.0
    """Turned to both sides."""
    probability: float = 0.5

    def __post_init__(self):
        if not (0 <= self.brightness < 256 and 0 <= self.hue_deg <= 180):
            raise ValueError(
                "brightness must be within 0..255 and hue_deg within 0..180, got "
                f"{self.brightness} and {self.hue_deg}"
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be within 0..1, got {self.probability}")
        for name in ("contrast", "saturation"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be a range above zero, got {low} to {high}")


def paper_colour() -> ColourConfig:
    """The paper's (docs/method.md, section 7); values are clipped, which the authors do not."""
    return ColourConfig()


def mild_colour() -> ColourConfig:
    """For crops whose light and camera vary already."""
    return ColourConfig(brightness=20.0, contrast=(0.75, 1.3), saturation=(0.7, 1.3), hue_deg=8.0)


def recoloured(
    rgb: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator, config: ColourConfig
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in other colours; nine draws, whatever happens."""
    happens = rng.random(4) < config.probability
    is_contrast_first = rng.random() < 0.5
    brightness = rng.uniform(-config.brightness, config.brightness)
    contrast = rng.uniform(*config.contrast)
    saturation = rng.uniform(*config.saturation)
    hue_deg = rng.uniform(-config.hue_deg, config.hue_deg)
    x = rgb.astype(np.float32)
    if happens[0]:
        x += np.float32(brightness)
    if happens[1] and is_contrast_first:
        x *= np.float32(contrast)
    if happens[2] or happens[3]:
        x = np.clip(x, 0, 255)
        hsv = cv2.cvtColor(x / 255, cv2.COLOR_RGB2HSV)
        if happens[2]:
            hsv[..., 1] = np.minimum(hsv[..., 1] * np.float32(saturation), 1)
        if happens[3]:
            hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(hue_deg), 360)
        x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    if happens[1] and not is_contrast_first:
        x *= np.float32(contrast)
    return np.rint(np.clip(x, 0, 255)).astype(np.uint8)


def recoloured_on_device(
    rgb: Float[Tensor, "batch 3 height width"],
    drawn: Float[Tensor, "batch 9"],
    config: ColourConfig,
) -> Float[Tensor, "batch 3 height width"]:
    """The same of many pictures of 0..255 at once; the nine draws, uniform in 0..1, are given."""
    happens = drawn[:, :4] < config.probability
    is_contrast_first = drawn[:, 4] < 0.5

    def scaled(column: int, low: float, high: float, nothing: float, where: Tensor) -> Tensor:
        value = torch.where(where, low + (high - low) * drawn[:, column], nothing)
        return value.float()[:, None, None, None]

    def contrast(where: Tensor) -> Tensor:
        return scaled(6, *config.contrast, 1.0, happens[:, 1] & where)

    x = rgb + scaled(5, -config.brightness, config.brightness, 0.0, happens[:, 0])
    x = (x * contrast(is_contrast_first)).clamp(0, 255)
    saturation = scaled(7, *config.saturation, 1.0, happens[:, 2])
    turn_deg = scaled(8, -config.hue_deg, config.hue_deg, 0.0, happens[:, 3])
    x = _turned(x, saturation, turn_deg) * contrast(~is_contrast_first)
    return x.clamp(0, 255).round()


def _turned(
    rgb: Float[Tensor, "batch 3 height width"],
    saturation: Float[Tensor, "batch 1 1 1"],
    turn_deg: Float[Tensor, "batch 1 1 1"],
) -> Float[Tensor, "batch 3 height width"]:
    """Saturation times a factor, hue plus an angle, in HSV."""
    value, low = rgb.amax(1, keepdim=True), rgb.amin(1, keepdim=True)
    chroma = value - low
    safe = chroma.clamp(min=1e-6)
    r, g, b = rgb.split(1, 1)
    sector = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    strength = torch.minimum(chroma * saturation, value)
    k = rgb.new_tensor([5.0, 3.0, 1.0])[:, None, None] + sector + turn_deg / 60
    k = torch.remainder(k, 6)
    return value - strength * torch.minimum(k, 4 - k).clamp(0, 1)
