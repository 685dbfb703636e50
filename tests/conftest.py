import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from idhand.hand import (
    HAND_LENGTH,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
    landmark_points,
)
from idhand.nets import files as net_files
from idhand.nets.keypoints import KeypointNet

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("ci")

_OWN_FOLDER = tempfile.mkdtemp(prefix="idhand-tests-")
"""For hand models: those of whoever runs the tests change nothing, and stay as they are."""
atexit.register(shutil.rmtree, _OWN_FOLDER, ignore_errors=True)
os.environ["IDHAND_HANDS"] = _OWN_FOLDER
os.environ.pop("IDHAND_MANO", None)

SHARED = Path(__file__).parents[2] / "shared"


def shared_file(name: str) -> Path:
    """A file of the folder that developers share; without it the test skips."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is not here; it is not part of the project")
    return path


@pytest.fixture
def ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[KeypointNet | None], None]]:
    """Makes this the keypoint network that idhand ships; None, as before the first call: none."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(net_files, "shipped_networks", lambda: folder)

    def ship(net: KeypointNet | None) -> None:
        net_files._shipped_keypoint_net.cache_clear()
        (folder / net_files.KEYPOINTS_FILE).unlink(missing_ok=True)
        if net is not None:
            net_files.save_net(net, folder / net_files.KEYPOINTS_FILE, {}, cut="landmark")

    ship(None)
    yield ship
    net_files._shipped_keypoint_net.cache_clear()


def toy_hand() -> FittableHand:
    """Sixteen joints, forty vertices: small enough for gradcheck, real enough to bend."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    skin = HandModel(
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
    length = Measures(
        names=(HAND_LENGTH,),
        points=skin.keypoint_template[[0, 12]],
        shape_basis=skin.keypoint_basis[[0, 12]],
        segments=torch.tensor([[0, 1]]),
        coefficients=torch.ones(1, 1, dtype=torch.float64),
    )
    eye = torch.eye(45, dtype=torch.float64)
    return FittableHand(
        **{field.name: getattr(skin, field.name) for field in fields(skin)},
        pose_space=PoseSpace(
            names=tuple(f"angle_{k}" for k in range(45)),
            joint=torch.arange(45) // 3 + 1,
            axis=torch.eye(3, dtype=torch.float64).repeat(15, 1),
            mean=torch.zeros(45, dtype=torch.float64),
            covariance=0.2 * eye,
            lower=torch.full((45,), -1.5, dtype=torch.float64),
            upper=torch.full((45,), 1.5, dtype=torch.float64),
        ),
        landmarks=landmark_points(
            skin, length.growth, torch.zeros(21, 3).double(), 0.002**2 * torch.eye(63).double()
        ),
        measures=length,
        prior=ShapePrior(mean=torch.zeros(4).double(), covariance=torch.eye(4).double()),
    )
