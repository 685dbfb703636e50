"""The numerical core takes device and type from its inputs."""

import ast
from dataclasses import fields
from pathlib import Path

import torch

import idhand.refinement
from idhand.assets import hand as hand_model
from idhand.hand import KEYPOINT_PARENTS
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    closed_form_start,
    solve,
)

HOME = Path(idhand.refinement.__file__).parents[1]
CORE = [
    *(HOME / "refinement").glob("*.py"),
    *(HOME / "fusion").glob("*.py"),
    *(
        HOME / name
        for name in ("calibration.py", "pipeline.py", "hand.py", "hand_parts.py", "anatomy.py")
    ),
]
MAKERS = ("zeros", "ones", "eye", "full", "empty", "tensor", "arange", "linspace")
FROM_FILES = {"covariance_calibration.py"}
"""What is read from a file has no input to follow."""


def test_tensors_are_made_on_the_device_of_an_input() -> None:
    """Only in functions: an index kept by a module serves tensors on any device."""
    found = 0
    for path in CORE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for call in (node for f in functions for node in ast.walk(f)):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name = ast.unparse(call.func)
            if name in {f"torch.{maker}" for maker in MAKERS} and path.name not in FROM_FILES:
                found += 1
                given = {keyword.arg for keyword in call.keywords}
                assert "device" in given, f"{path.name}:{call.lineno}: {name} without a device"
    assert found > 5


def test_a_fit_in_single_precision_stays_in_it() -> None:
    model = hand_model("idhand-open-1")
    single = model.to(dtype=torch.float32)
    objective = Objective(model=single, config=ObjectiveConfig(), prior=single.prior)
    space, rng = single.pose_space, torch.Generator().manual_seed(0)
    truth = State(
        R=torch.eye(3).expand(2, 3, 3),
        wrist=torch.tensor([[0.0, 0.05, 0.5], [0.05, 0.0, 0.6]]),
        angles=space.mean.expand(2, -1) + 0.1 * torch.randn(2, space.num_dofs, generator=rng),
        betas=torch.zeros(2, 16),
    )
    *_, points = objective.kinematics(truth)
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]).expand(2, 3, 3)
    uvw = points @ K.mT
    bones = points[:, 1:] - points[:, list(KEYPOINT_PARENTS[1:])]
    seen = Observations(
        points_px=uvw[..., :2] / uvw[..., 2:],
        sigma_px=torch.full((2, 21), 4.0),
        directions=torch.nn.functional.normalize(bones, dim=-1),
        sigma_direction=torch.full((2, 20), 0.2),
        K=K,
        world=points,
    )
    start = closed_form_start(objective, seen, truth.betas)
    found = solve(objective, seen, start, RefinementConfig(), shape=True)
    tensors = [found.cost, found.hessian]
    tensors += [v for f in fields(State) if (v := getattr(found.state, f.name)) is not None]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    off = (objective.kinematics(found.state)[-1] - points).norm(dim=-1)
    assert float(off.mean()) < 0.03
