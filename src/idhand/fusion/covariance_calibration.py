"""Calibration of the covariances that a network states, and its file."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.files import FileKind, read_json, replacing
from idhand.hand import HandModel

KIND = FileKind(
    format="idhand covariance calibration",
    version=1,
    name="file of calibrated covariances",
    remedy="fit it again",
    old_formats=("idhand honesty",),
)

OLD_NAMES = {"identity_film": "honesty.json", "confidence": "honesty_confidence.json"}
"""Network → name of older files, which are still found."""


def covariance_file_name(network: str) -> str:
    """Of the covariance calibration that lies beside a network's file."""
    return f"{network}.covariance.json"


def covariance_file(network: Path) -> Path | None:
    """The file that calibrates the covariances of a network, in its folder; None: there is none.

    In a folder without a confidence network the baseline is that network.
    """
    names = [network.stem]
    if network.stem == "baseline" and not network.with_name(f"confidence{network.suffix}").exists():
        names.append("confidence")
    files = [covariance_file_name(name) for name in names]
    files += [OLD_NAMES[name] for name in names if name in OLD_NAMES]
    paths = [network.with_name(file) for file in files]
    return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class CovarianceCalibration:
    """How a network's stated covariances compare with its errors, fitted on people of known shape.

    A photo's error is one of its own, with `scale` times the covariance that the network states,
    plus one that all photos of the person share.
    """

    model: str
    """Name of the hand model that the betas belong to."""
    scale: float
    shared: Float[Tensor, "betas betas"]
    """Covariance, in betas."""
    inflation: float = 1.0
    """Of the fused covariance, at last: what all this still leaves out."""

    def __post_init__(self):
        for name in ("scale", "inflation"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"the {name} of covariances must be positive, got {value}")
        symmetric = torch.isfinite(self.shared).all() and torch.allclose(self.shared, self.shared.T)
        if not symmetric or torch.linalg.eigvalsh(self.shared).min() < -1e-6:
            raise ValueError("the shared error's covariance is not a covariance matrix")

    @staticmethod
    def as_stated(model: HandModel) -> "CovarianceCalibration":
        """One that takes covariances as the network states them."""
        nothing = torch.zeros(model.num_betas, model.num_betas, dtype=torch.float64)
        return CovarianceCalibration(model=model.name, scale=1.0, shared=nothing)

    def check_model(self, name: str) -> None:
        """See that it is of this hand model.

        Raises:
            ValueError: If it is of another one.
        """
        if self.model != name:
            raise ValueError(
                f"the covariance calibration is of hand model '{self.model}', and '{name}' is in "
                "use; fit it again"
            )

    def save(self, path: Path) -> None:
        """Write it as JSON; a file of that name is replaced in one step."""
        document = {
            **KIND.header,
            "model": self.model,
            "scale": self.scale,
            "inflation": self.inflation,
            "shared": self.shared.tolist(),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "CovarianceCalibration":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is something else or damaged.
        """
        document = KIND.check(read_json(path, KIND.remedy), path)
        try:
            return CovarianceCalibration(
                model=str(document["model"]),
                scale=float(document["scale"]),
                inflation=float(document["inflation"]),
                shared=torch.tensor(document["shared"], dtype=torch.float64),
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged ({error}); fit it again") from None
