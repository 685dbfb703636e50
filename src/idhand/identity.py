"""A person's hand shape with its uncertainty: measurements in millimetres, profile files.

A profile contains numbers and no image, but a hand's shape is biometric data.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from idhand.files import FileKind, read_json, replacing
from idhand.hand import FittableHand, HandModel

PROFILE = FileKind(
    format="idhand-profile", version=1, name="idhand profile", remedy="calibrate again"
)
Z95 = 1.959964
"""Two-sided 95 % of a normal distribution."""
MAX_BETA = 30.0
"""No person's hand is farther from the mean; a child of two years comes to some 14."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One length of the hand, with its 95 % interval."""

    value_mm: float
    low_mm: float
    high_mm: float


@dataclass(frozen=True, kw_only=True)
class PhotoUse:
    """How one photo was used in a calibration."""

    weight: float
    """0 (dropped) to 1 (fully used)."""
    reason: str = ""
    """Why its weight is reduced; empty if it is not."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One person's hand, as far as it is known. Serves both hands."""

    model: str
    """Name of the hand model that the betas belong to."""
    betas: Float[np.ndarray, " betas"]
    covariance: Float[np.ndarray, "betas betas"]
    measurements: dict[str, Measurement]
    photos: tuple[PhotoUse, ...] = ()
    K_known: Literal["all", "some", "none"] = "none"
    """Of how many photos the intrinsics were known; otherwise a field of view was assumed."""
    sides: tuple[Literal["left", "right"], ...] = ()
    """Which hands were in the photos."""
    hand_length_mm: float | None = None
    """The anchor: a hand length measured by ruler."""
    hand_length_sigma_mm: float | None = None
    """The anchor's standard deviation."""
    version: int = field(default=PROFILE.version)

    def check_model(self, model: HandModel) -> None:
        """Refuse a model that the betas do not belong to.

        Raises:
            ValueError: If the profile was made with another hand model.
        """
        if self.model != model.shape_name or len(self.betas) != model.num_betas:
            raise ValueError(
                f"this profile was made with hand model '{self.model}' ({len(self.betas)} betas), "
                f"but '{model.name}' ({model.num_betas} betas) is in use; calibrate again with it"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON, for the owner alone; a file of that name is replaced."""
        path = Path(path)
        document = {
            "format": PROFILE.format,
            "version": self.version,
            "model": self.model,
            "betas": _rounded(self.betas),
            "covariance": _rounded(self.covariance),
            "measurements_mm": {
                name: {
                    "value": round(m.value_mm, 2),
                    "low": round(m.low_mm, 2),
                    "high": round(m.high_mm, 2),
                }
                for name, m in self.measurements.items()
            },
            "photos": [{"weight": round(p.weight, 4), "reason": p.reason} for p in self.photos],
            "K_known": self.K_known,
            "sides": list(self.sides),
            "hand_length_mm": self.hand_length_mm,
            "hand_length_sigma_mm": self.hand_length_sigma_mm,
        }
        with replacing(path, mode=0o600) as temporary, temporary.open("w") as file:
            json.dump(document, file, indent=1, allow_nan=False)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Identity":
        """Read a profile.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, no profile, or of a version that this program predates.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no profile at {path}; make one with `idhand calibrate PHOTOS --out {path.name}`"
            )
        document = PROFILE.check(read_json(path, "the profile is damaged, calibrate again"), path)
        try:
            return _from_document(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); calibrate again") from None


def _rounded(array: np.ndarray) -> list[Any]:
    """Eight significant digits: far beyond what is known, and the file stays readable."""
    return np.vectorize(lambda x: float(f"{x:.8g}"))(array).tolist()


def _from_document(document: dict[str, Any]) -> Identity:
    betas = _array(document, "betas", 1)
    if (np.abs(betas) > MAX_BETA).any():
        beta = betas[np.abs(betas).argmax()]
        raise ValueError(f"a beta is {beta:g} standard deviations from the mean, no person's hand")
    covariance = _array(document, "covariance", 2)
    if covariance.shape != (len(betas), len(betas)):
        raise ValueError(f"{len(betas)} betas with a covariance of {covariance.shape}")
    if np.linalg.eigvalsh((covariance + covariance.T) / 2).min() < -1e-6:
        raise ValueError("the covariance is not positive")
    measurements = {
        str(name): Measurement(
            value_mm=_finite(m["value"]), low_mm=_finite(m["low"]), high_mm=_finite(m["high"])
        )
        for name, m in document["measurements_mm"].items()
    }
    photos = tuple(
        PhotoUse(weight=_finite(p["weight"]), reason=str(p["reason"])) for p in document["photos"]
    )
    K_known = document["K_known"]
    if K_known not in ("all", "some", "none"):
        raise ValueError(f"K_known is {K_known!r}")
    sides = tuple(document["sides"])
    if not set(sides) <= {"left", "right"}:
        raise ValueError(f"sides are {sides}")
    return Identity(
        model=str(document["model"]),
        betas=betas,
        covariance=covariance,
        measurements=measurements,
        photos=photos,
        K_known=K_known,
        sides=sides,
        hand_length_mm=_optional(document["hand_length_mm"]),
        hand_length_sigma_mm=_optional(document["hand_length_sigma_mm"]),
    )


def _array(document: dict[str, Any], key: str, dims: int) -> np.ndarray:
    array = np.asarray(document[key], dtype=np.float64)
    if array.ndim != dims or not np.isfinite(array).all():
        raise ValueError(f"{key} is not a finite array of {dims} dimensions")
    return array


def _optional(value: Any) -> float | None:
    return None if value is None else _finite(value)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a number")
    return number


def measure(
    model: FittableHand,
    betas: Float[np.ndarray, " betas"],
    covariance: Float[np.ndarray, "betas betas"],
) -> dict[str, Measurement]:
    """The model's measures of a shape, with 95 % intervals by first-order propagation.

    Args:
        model: The model of the betas.
        betas: Shape.
        covariance: Its covariance.
    """
    shape = torch.from_numpy(betas.astype(np.float64))
    lengths = model.measures.lengths(shape).numpy() * 1e3
    of_betas = torch.from_numpy(covariance.astype(np.float64))
    spread = Z95 * model.measures.deviations(shape, of_betas).numpy() * 1e3
    return {
        name: Measurement(value_mm=float(v), low_mm=float(v - s), high_mm=float(v + s))
        for name, v, s in zip(model.measures.names, lengths, spread, strict=True)
    }
