"""Every field of the configurations of refining and of the paper's experiment changes a result.

And no configuration of the package is without such a test.
"""

import pkgutil
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idhand
from idhand.assets import open_hand
from idhand.data import DataSet, MemoryData
from idhand.experiments import bench as bench_module
from idhand.experiments import reproduce as reproduce_module
from idhand.experiments.chain.config import ChainConfig
from idhand.experiments.chain.kept import Stages
from idhand.experiments.chain.networks import Trainings, preset_of
from idhand.experiments.chain.sets import Fold, Sets
from idhand.experiments.presets import ReproduceConfig, Row
from idhand.experiments.reproduce import Results, reproduce
from idhand.methods import refining
from idhand.methods.detections import DetectedHands
from idhand.methods.refining import RefineConfig, refine
from idhand.nets.backbones import HandBackbone
from idhand.refinement import network_only
from idhand.refinement.official import OfficialConfig
from idhand.training.processes import Group
from tests import test_config_fields as learning
from tests import test_config_fields_core as core
from tests import test_config_fields_pictures as pictures
from tests import test_tracking as tracking
from tests.config_fields import Case, cases, check_case, check_fields, is_same
from tests.test_experiments_predict import keypoints_cam
from tests.test_experiments_predict import scene as exact_scene
from tests.test_experiments_reproduce import detected_of, nets, scene

# ---------------------------------------------------------------------------------------- refining


def refined(config: RefineConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Keypoints and shapes of four hands whose joints were turned by a tenth of a radian."""
    start, detected = exact_scene().predictions(0.1).select(range(4)), exact_scene().detected
    found = refine(start, detected, open_hand(), config)
    return keypoints_cam(found), found.betas


def at_a_time(config: RefineConfig) -> list[int]:
    """How many hands the solver works on together."""
    asked: list[int] = []
    solve = refining.solve_near

    def counted(objective: Any, seen: Any, *rest: Any, **settings: Any) -> Any:
        asked.append(len(seen.points_px))
        return solve(objective, seen, *rest, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refining, "solve_near", counted)
        refined(config)
    return asked


QUICK = replace(network_only(), max_iterations=3)
SHORT = OfficialConfig(steps=(2, 2))
PAPER = RefineConfig(solver="paper_adam", official=SHORT)
REFINING = {
    **cases(
        RefineConfig(refinement=QUICK, official=SHORT),
        refined,
        {
            "solver": "paper_adam", "shape": "free",
            "refinement": replace(QUICK, max_iterations=1),
        },
    ),
    **cases(PAPER, refined, {"official": OfficialConfig(steps=(4, 2))}),
    **cases(RefineConfig(refinement=QUICK), at_a_time, {"batch": 3}),
}  # fmt: skip

# -------------------------------------------------------------------------- the paper's experiment

SOLVED = Row(net="baseline", shape="own", solver="second_order")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Stands for the file of detected hands."""

    def of(self, data: DataSet, backbone: HandBackbone) -> DetectedHands:
        return detected_of([int(s.id) for s in data.labels()], {}, backbone.num_features)


DATA = MemoryData([scene(index)[0] for index in (0, 1, 2, 6, 7, 8)])
"""Three pictures of each of two people who have a shape of the open hand."""


def experiment(config: ReproduceConfig, rows: tuple[Row, ...]) -> Results:
    """The experiment with these rows alone; nobody's shape follows from landmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_module, "own_detections", lambda *_: Kept())
        patch.setattr(bench_module, "rows", lambda: rows)
        patch.setattr(bench_module, "landmark_shapes", lambda *_, **__: {})
        return reproduce(DATA, Path("none"), nets(), config)


@cache
def shapes_and_curve(config: ReproduceConfig) -> tuple[Any, ...]:
    found = experiment(config, ())
    shapes = {who: shape.betas for who, shape in found.shapes["calibrated_length"].items()}
    return shapes, [(p.method, p.num_pictures, p.subject, p.errors_mm) for p in found.curve]


@cache
def errors(config: ReproduceConfig) -> Any:
    """Of a row with a solver, on the evaluated pictures."""
    return experiment(config, (SOLVED,)).reports[SOLVED].values


REPRODUCE = ReproduceConfig(draws=2, sizes=(1, 2), refining=RefineConfig(refinement=QUICK))
ONE_STEP = RefineConfig(refinement=replace(QUICK, max_iterations=1))
REPRODUCING = {
    **cases(
        REPRODUCE,
        shapes_and_curve,
        {
            "people": 1, "pictures": 2, "draws": 3, "sizes": (1, 3), "ruler_sigma_m": 0.01,
            "seed": 1,
        },
    ),
    **cases(REPRODUCE, errors, {"overlap": True, "refining": ONE_STEP}),
}  # fmt: skip

# --------------------------------------------------------------------------------------- the chain


@cache
def sets() -> Sets:
    """Thirty pictures to learn from."""
    return Sets(
        model=open_hand(), test=DATA, folds=(Fold(name="", train=DATA, val=None, test=DATA),)
    )


def training_of(config: ChainConfig) -> Any:
    """The baseline's, and the files that it and the 2D network start from."""
    trainings = Trainings(
        stages=Stages(root=Path("none"), note=print, begins=print), sets=sets(), config=config,
        group=Group(), needs=(),
    )  # fmt: skip
    training = preset_of("baseline", sets(), config, sets().folds[0])
    starts = [str(trainings.imagenet(name)) for name in ("baseline", "points")]
    return training.name, training.loop.num_workers, training.origin(), starts


CHAINED = {
    **cases(
        ChainConfig(batch=8), training_of,
        {"recipe": "hand", "steps": 7, "seed": 1, "batch": 4, "workers": 2},
    ),
    "imagenet": Case(
        outcome=training_of, base=ChainConfig(), changes={"imagenet": (Path("resnet50.pth"),)}
    ),
}  # fmt: skip

# ------------------------------------------------------------------------------------------- tests

TABLES: dict[type, dict[str, Case]] = {
    RefineConfig: REFINING,
    ReproduceConfig: REPRODUCING,
    ChainConfig: CHAINED,
}


@pytest.mark.parametrize("config", TABLES, ids=lambda config: config.__name__)
def test_every_field_has_a_case(config: type):
    check_fields(config, TABLES[config])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{config.__name__}.{name}")
        for config, table in TABLES.items()
        for name, case in table.items()
    ],
)
def test_every_field_changes_a_result(name: str, case: Case):
    check_case(name, case)


def test_the_experiment_depends_on_nothing_else():
    """It is kept between cases, so that these do not show it."""
    for outcome in (shapes_and_curve, errors):
        assert is_same(outcome(REPRODUCE), outcome.__wrapped__(REPRODUCE))


def configurations() -> set[type]:
    """All of the package."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(idhand.__path__, "idhand."):
        if module.name.endswith("__main__"):  # runs the command
            continue
        for kind in vars(import_module(module.name)).values():
            if isinstance(kind, type) and is_dataclass(kind) and kind.__name__.endswith("Config"):
                found |= {kind} if kind.__module__.startswith("idhand.") else set()
    return found


def test_every_configuration_is_walked():
    """None is exempt."""
    tables = (learning.TABLES, pictures.TABLES, tracking.TABLES, TABLES)
    walked = {kind for table in tables for kind in table} | core.WALKED
    every = configurations()
    assert every >= {RefineConfig, ReproduceConfig, *learning.TABLES, *pictures.TABLES}
    names = sorted(f"{kind.__module__}.{kind.__name__}" for kind in every - walked)
    assert names == [], "give these a table of cases"
