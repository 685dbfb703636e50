from pathlib import Path

import pytest
import torch
from hypothesis import settings

from idhand.hand import HandModel

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("ci")

SHARED = Path(__file__).parents[2] / "shared"


def shared_file(name: str) -> Path:
    """A file of the folder that developers share; without it the test skips."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is not here; it is not part of the project")
    return path


def toy_hand() -> HandModel:
    """Sixteen joints, forty vertices: small enough for gradcheck, real enough to bend."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return HandModel(
        name="toy",
        template=0.1 * normal(40, 3),
        shape_basis=0.01 * normal(40, 3, 4),
        pose_basis=0.001 * normal(40, 3, 135),
        joint_regressor=normal(16, 40).softmax(-1),
        skinning=(3 * normal(40, 16)).softmax(-1),
        parents=(-1, *(0 if k % 3 == 1 else k - 1 for k in range(1, 16))),
        faces=torch.arange(39).reshape(13, 3),
        tip_verts=(0, 1, 2, 3, 4),
    )
