"""Colours of training crops changed at random, as another camera or another light might."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8


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
    """The paper's (method notes, section 4); values are clipped, which the authors do not."""
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
