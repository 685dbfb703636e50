"""How things move that are alive: from here to there, and hardly ever quite still."""

import math

import numpy as np
from jaxtyping import Float

WANDER_TERMS = 4
"""Sinusoids of different frequency that make up a random motion."""


def minimum_jerk(share: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Share of the time, held to 0..1 → share of the way of a reaching movement.

    Source: Flash and Hogan, "The coordination of arm movements", J. Neuroscience 1985.
    """
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s * s)


def wander(
    rng: np.random.Generator,
    times_s: Float[np.ndarray, " frames"],
    num_channels: int,
    band_hz: tuple[float, float],
) -> Float[np.ndarray, "frames channels"]:
    """Smooth random motion that starts at zero and stays within −1..1 in every channel.

    With f the band's upper end, its speed is at most π f and its acceleration at most 2 π² f².
    """
    shape = (WANDER_TERMS, num_channels)
    low, high = np.log(band_hz)
    frequency_hz = np.exp(rng.uniform(low, high, shape))
    phase = rng.uniform(0.0, 2 * math.pi, shape)
    turns = 2 * math.pi * frequency_hz * times_s[:, None, None] + phase
    return (np.sin(turns) - np.sin(phase)).sum(1) / (2 * WANDER_TERMS)
