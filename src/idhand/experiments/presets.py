"""The rows of the paper's table and of ours, as values: which network, whose shape, which solver.

Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
ECCV 2022; what it does not have is named beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from idhand.methods.refining import RefineConfig

RowNetwork = Literal["baseline", "identity", "identity_film", "landmarks"]
"""`landmarks` is the fit to the landmark net's points, without a trained network."""
ShapeName = Literal[
    "own", "own_length", "true", "calibrated", "calibrated_length", "calibrated_landmarks", "mean"
]
"""Whose shape a row takes: `own` is estimated from the picture alone, `_length` the same once the
hand's length is known from a ruler, `calibrated` is fused from other pictures of the person by the
network's shapes, `calibrated_landmarks` from the same pictures' landmarks."""
SolverName = Literal["none", "paper_adam", "second_order"]

NET_LABELS: dict[RowNetwork, str] = {
    "baseline": "baseline",
    "identity": "identity",
    "identity_film": "identity_film",
    "landmarks": "landmark fit",
}
SHAPE_LABELS: dict[ShapeName, str] = {
    "own": "own shape",
    "own_length": "own shape and length",
    "true": "true shape",
    "calibrated": "calibrated",
    "calibrated_length": "calibrated, length known",
    "calibrated_landmarks": "calibrated by landmarks",
    "mean": "mean shape",
}
SOLVER_LABELS: dict[SolverName, str] = {
    "none": "",
    "paper_adam": "paper's Adam",
    "second_order": "refined",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    net: RowNetwork
    shape: ShapeName
    solver: SolverName = "none"

    @property
    def name(self) -> str:
        """For people, and the row's key in `results.json`."""
        parts = (NET_LABELS[self.net], SHAPE_LABELS[self.shape], SOLVER_LABELS[self.solver])
        return ", ".join(part for part in parts if part)

    @property
    def needs_truth(self) -> bool:
        """The row can be made only for people whose shape is known."""
        return self.shape in ("true", "own_length", "calibrated_length")

    @property
    def frees_shape(self) -> bool:
        """Our solver estimates an unknown shape; the paper's keeps the network's."""
        return self.shape == "own" and self.solver == "second_order"


BASELINE = Row(net="baseline", shape="own")
"""What every other row is compared with."""


def rows() -> tuple[Row, ...]:
    """The whole table, the baseline first."""
    return (
        *_crossed("baseline", ["own"], ["none", "paper_adam", "second_order"]),
        Row(net="baseline", shape="own_length"),
        *_crossed(
            "identity",
            ["true", "calibrated", "mean"],
            ["none", "paper_adam", "second_order"],
        ),
        *_crossed("identity", ["calibrated_length"], ["none", "second_order"]),
        *_crossed(
            "identity_film",
            ["own", "true", "calibrated", "calibrated_length", "mean"],
            ["none", "second_order"],
        ),
        *_crossed(
            "landmarks",
            ["own", "true", "calibrated", "calibrated_length", "calibrated_landmarks"],
            ["none"],
        ),
    )


def _crossed(
    net: RowNetwork, shapes: Sequence[ShapeName], solvers: Sequence[SolverName]
) -> tuple[Row, ...]:
    return tuple(
        Row(net=net, shape=shape, solver=solver) for shape, solver in product(shapes, solvers)
    )


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """How the experiment is run."""

    people: int | None = None
    """Only this many, the first of the set."""
    pictures: int | None = None
    """Of each person only this many."""
    draws: int = 20
    """Random choices of calibration pictures for each point of the calibration curve."""
    sizes: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50, 100, 200)
    """Numbers of calibration pictures, as far as the set has them."""
    overlap: bool = False
    """Calibration pictures are among the evaluated ones, as in the paper; otherwise half of each
    person's pictures are for calibration and the others are evaluated."""
    ruler_sigma_m: float = 0.002
    """Error of a hand length read from a ruler."""
    refining: RefineConfig = field(default_factory=RefineConfig)
    """Of all rows with a solver; which solver and whose shape is the row's."""
    seed: int = 0

    def __post_init__(self):
        counts = {
            "people": (self.people, 1),
            "pictures": (self.pictures, 2),
            "draws": (self.draws, 1),
        }
        for name, (value, least) in counts.items():
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")
