"""One man in many rooms and lights: his calibrations against each other and against students."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from real_data import RealData
from real_evidence import MEANING, Shape
from real_recognition import Distance, distances, in_workers, size_free
from tables import section, table

GROUP = 5
"""Photos of a calibration; consecutive ones are mostly of one room."""
STUDENT_DIGITS = (0, 2, 4, 6, 8)
RESAMPLES = 1000
NEIGHBOURS = 1
"""Calibrations so near in the order of the photos may share a room, and are not compared."""


def places_report(data: RealData, kinds: Sequence[str], workers: int) -> str:
    """How often two rooms' calibrations of the man are nearer than his and a student's."""
    shots, K = data.many_places()
    P = size_free(data.pipe.model)
    usable = [(s.careful, k) for s, k in zip(shots.shots, K, strict=True) if s.careful is not None]
    groups = [usable[i : i + GROUP] for i in range(0, len(usable) - GROUP + 1, GROUP)]
    students = data.sign_digits()
    own = [[students.of(name)[i].careful for i in STUDENT_DIGITS] for name in data.student_names()]
    others = [[hand for hand in hands if hand is not None] for hands in own]
    rows = []
    for kind in kinds:
        task = ([[h for h, _ in g] for g in groups], [[k for _, k in g] for g in groups], kind)
        (man,) = in_workers([task], 1)
        tasks = [([hands], [students.K], kind) for hands in others]
        known = [shapes[0] for shapes in in_workers(tasks, workers)]
        row: tuple = (MEANING[kind],)
        for distance in distances(P):
            row += _separation(man, known, distance).cells
        rows.append((*row, _scatter(man, known, P)))
    return _text(rows, len(usable), len(shots.shots), len(groups), len(others))


@dataclass(frozen=True, kw_only=True)
class Separation:
    """Chance that a pair of the man's calibrations is nearer than one of his and a student's."""

    auc: float
    low: float
    high: float
    """95 % of draws of the man's calibrations and of the students."""

    @property
    def cells(self) -> tuple[str]:
        """For the table."""
        return (f"{self.auc:.3f} [{self.low:.3f}, {self.high:.3f}]",)


def _separation(man: Sequence[Shape], students: Sequence[Shape], distance: Distance) -> Separation:
    between = np.array([[distance(a, b) for b in students] for a in man])
    within = np.array([[distance(a, b) for b in man] for a in man])
    return separation(within, between)


def separation(
    within: Float[np.ndarray, "man man"], between: Float[np.ndarray, "man students"]
) -> Separation:
    """The AUC with its interval, each of the man's calibrations compared with its own distances.

    Args:
        within: Distances between the man's calibrations, in the order of the photos.
        between: To students.
    """
    num_man, num_students = between.shape
    place = np.arange(num_man)
    apart = np.abs(place[:, None] - place) > NEIGHBOURS
    pairs = within[:, :, None], between[:, None]
    nearer = (pairs[0] < pairs[1]) + 0.5 * (pairs[0] == pairs[1])  # man, man, students
    rng = np.random.default_rng(0)

    def share(own: np.ndarray, others: np.ndarray) -> float:
        """With each calibration and each student counted so many times."""
        weight = own[:, None] * own * apart
        total = weight.sum() * others.sum()
        return float((weight * (nearer @ others)).sum() / total)

    def drawn(number: int) -> np.ndarray:
        return np.bincount(rng.integers(number, size=number), minlength=number).astype(float)

    draws = [(drawn(num_man), drawn(num_students)) for _ in range(RESAMPLES)]
    aucs = [share(m, s) for m, s in draws if (m[:, None] * m * apart).any()]
    low, high = np.percentile(aucs, (2.5, 97.5))
    auc = share(np.ones(num_man), np.ones(num_students))
    return Separation(auc=auc, low=float(low), high=float(high))


def _scatter(man: Sequence[Shape], students: Sequence[Shape], P: np.ndarray) -> float:
    """Of the man's calibrations about their mean, per beta, over the students' spread."""
    his = np.array([P @ s.betas for s in man]).var(0, ddof=1).sum()
    theirs = np.array([P @ s.betas for s in students]).var(0, ddof=1).sum()
    return float(np.sqrt(his / theirs))


def _text(
    rows: Sequence[tuple], num_usable: int, num_photos: int, num_groups: int, num_students: int
) -> str:
    text = (
        f"{num_usable} of {num_photos} photos of one man in many rooms and lights have a hand that "
        f"a calibration uses; every {GROUP} consecutive ones (mostly of one room) are calibrated "
        f"together: {num_groups} calibrations. Each of {num_students} students is calibrated from "
        "five photos. AUC: the chance that a calibration of the man is nearer to another of his, "
        "from other photos, than to a student's; 95 % intervals by drawing his calibrations and "
        "the students anew. Scatter: deviation of his calibrations over that of the students' "
        "(size removed). None of the man's photos was fitted or chosen by. His camera and the "
        "students' differ too, which makes it easier to tell them apart."
    )
    head = ("evidence", "AUC, distance", "AUC, by covariance", "scatter")
    return section("One man in many places", text, table(head, rows, 3))
