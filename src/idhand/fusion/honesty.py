"""How far a network's stated covariances can be believed, and the file that says so."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

HONESTY_FORMAT, HONESTY_VERSION = "idhand honesty", 1


@dataclass(frozen=True, kw_only=True)
class Honesty:
    """How far a network's stated covariances can be believed: fitted on people with known shapes.

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
            raise ValueError("the shared error's covariance is no covariance matrix")

    def save(self, path: Path) -> None:
        """Write it as JSON; a file of that name is replaced in one step."""
        document = {
            "format": HONESTY_FORMAT,
            "version": HONESTY_VERSION,
            "model": self.model,
            "scale": self.scale,
            "inflation": self.inflation,
            "shared": self.shared.tolist(),
        }
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> "Honesty":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is something else or damaged.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; check the name")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not readable as JSON ({error}); fit it again") from None
        if not isinstance(document, dict) or document.get("format") != HONESTY_FORMAT:
            raise ValueError(f"{path} does not say how honest a network is; name another file")
        if document.get("version") != HONESTY_VERSION:
            raise ValueError(
                f"{path} has version {document.get('version')}, this idhand reads version "
                f"{HONESTY_VERSION}; update idhand or fit it again"
            )
        try:
            return Honesty(
                model=str(document["model"]),
                scale=float(document["scale"]),
                inflation=float(document["inflation"]),
                shared=torch.tensor(document["shared"], dtype=torch.float64),
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged ({error}); fit it again") from None
