"""A camera in a place, in some light: what everything behind the hand is drawn for."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from idhand.synth.light.environments import LUMINANCE, Environment, Light

Picture = Float[np.ndarray, "height width 3"]
"""Linear RGB."""


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """A camera in a place, in some light."""

    environment: Environment
    light: Light
    R_world_cam: Float[np.ndarray, "3 3"]
    """Vectors of the camera frame → world (z up)."""
    K: Float[np.ndarray, "3 3"]
    width: int
    height: int

    @cached_property
    def up_cam(self) -> Float[np.ndarray, " 3"]:
        """The world's up in the camera frame."""
        return self.R_world_cam[2]

    def rays(self, step: int) -> Float[np.ndarray, "rows columns 3"]:
        """Camera-frame directions (z = 1) at the middle of every `step` × `step` pixels."""
        x = np.arange(0, self.width, step) + (step - 1) / 2
        y = np.arange(0, self.height, step)[:, None] + (step - 1) / 2
        inverse = np.linalg.inv(self.K)
        return x[:, None] * inverse[:, 0] + y[..., None] * inverse[:, 1] + inverse[:, 2]

    def lit(
        self, rng: np.random.Generator, normal_cam: Float[np.ndarray, " 3"]
    ) -> Float[np.ndarray, " 3"]:
        """Radiance of a white surface; in the shade at times."""
        total, rest = self.light.total_irradiance(normal_cam), self.light.irradiance(normal_cam)
        share = 1.0 if rng.random() < 0.7 else rng.uniform(0.1, 0.7)
        white = (rest + share * (total - rest)) / math.pi
        return white * np.clip(white @ LUMINANCE, 0.2, 2.5) / (white @ LUMINANCE)


def coarser(K: Float[np.ndarray, "3 3"], step: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsics where `step` × `step` pixels are one."""
    scale = np.array([[1, 0, (1 - step) / 2], [0, 1, (1 - step) / 2], [0, 0, step]]) / step
    return scale @ K
