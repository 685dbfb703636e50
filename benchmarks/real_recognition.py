"""Recognition of students 70 to 93 by shape alone: five photos against the other five.

Landmark points were learned on students 0 to 69, and no distance is learned at all.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context

import numpy as np
import torch
from jaxtyping import Float
from real_data import NUM_DIGITS, Cameras, RealData
from real_evidence import EVIDENCE, MEANING, Shape, rest_bones
from real_shape import bone_lengths
from tables import section, table

import idhand
from idhand import Pipeline
from idhand.hand import HandModel
from idhand.records import Detection

FIRST_STUDENT = 70
QUICK_SPLITS = 12
"""With --quick, so many of the 252 splits, drawn with a fixed seed, each with its reverse."""

Half = tuple[int, ...]
"""Five of the ten digits."""


def recognition_report(data: RealData, workers: int, num_splits: int | None = None) -> str:
    """AUC and rank-1 of the calibrated shapes and of the net's own world points."""
    hands, halves, whole = _Hands.of(data), _halves(num_splits), tuple(range(NUM_DIGITS))
    shapes = hands.shapes(hands.tested, halves, workers)
    typical = [own[0] for own in hands.shapes(hands.others, [whole], workers)]
    seen = hands.by_student
    P = size_free(data.pipe.model)
    world = [[_world_ratios(seen[name], half) for half in halves] for name in hands.tested]
    world_mean = np.mean([_world_ratios(seen[name], whole) for name in hands.others], 0)
    betas = _betas(shapes, P)
    mean = np.mean([P @ s.betas for s in typical], 0)
    rows = [
        ("world points: bone ratios, distance", *_scores(world, _distance, halves)),
        ("world points: bone ratios, angle", *_scores(_from(world, world_mean), _angle, halves)),
        ("calibrated: bone ratios, distance", *_scores(_bones(shapes), _distance, halves)),
        ("calibrated: betas, distance", *_scores(betas, _distance, halves)),
        (
            "calibrated: betas, distance by covariance",
            *_scores(_known(shapes, P), _mahalanobis, halves),
        ),
        ("calibrated: betas, angle", *_scores(_from(betas, mean), _angle, halves)),
    ]
    return _text(rows, len(hands.tested), len(halves))


def evidence_report(
    data: RealData,
    kinds: Sequence[str],
    workers: int,
    num_splits: int | None = None,
    learned: bool = False,
) -> str:
    """The same recognition by calibrations from one kind of evidence after another.

    Args:
        data: The photos.
        kinds: Names of `EVIDENCE`.
        workers: Processes.
        num_splits: Of the 252; None for all.
        learned: Of students 0 to 69, to choose settings by; else of 70 to 93.
    """
    hands, halves = _Hands.of(data), _halves(num_splits)
    students = hands.others if learned else hands.tested
    P, rows = size_free(data.pipe.model), []
    for kind in kinds:
        shapes = hands.shapes(students, halves, workers, kind)
        betas, known = _betas(shapes, P), _known(shapes, P)
        rows.append((MEANING[kind], *_scores(betas, _distance, halves)[::2]))
        rows[-1] += _scores(known, _mahalanobis, halves)[::2]
        rows[-1] += (_nearness(shapes, P),)
    return _evidence_text(rows, students, len(halves))


def _nearness(shapes: Sequence[Sequence[Shape]], P: np.ndarray) -> float:
    """Mean distance of calibrations of one student over that of all students' calibrations."""
    betas = np.array(_betas(shapes, P))
    within = betas.var(1).sum(-1).mean()
    return float(np.sqrt(within / (within + betas.mean(1).var(0, ddof=1).sum())))


def _evidence_text(rows: Sequence[tuple], students: Sequence[str], num_splits: int) -> str:
    text = (
        f"Students {int(students[0][-3:])} to {int(students[-1][-3:])}, as above, {num_splits} "
        "splits; only what the calibration uses differs. Scatter: deviation of one student's "
        "calibrations over that of everybody's (size removed): 1 if calibrations tell nothing "
        "about who it is."
    )
    head = ("evidence", "AUC, distance", "rank-1 %", "AUC, by covariance", "rank-1 %", "scatter")
    return section("Recognition by kind of evidence", text, table(head, rows, 3))


def _betas(shapes: Sequence[Sequence[Shape]], P: np.ndarray) -> list[list[np.ndarray]]:
    return [[P @ s.betas for s in own] for own in shapes]


def _known(
    shapes: Sequence[Sequence[Shape]], P: np.ndarray
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    return [[(P @ s.betas, P @ s.covariance @ P.T) for s in own] for own in shapes]


def _from(features: Sequence[Sequence[np.ndarray]], mean: np.ndarray) -> list[list[np.ndarray]]:
    return [[x - mean for x in own] for own in features]


def _bones(shapes: Sequence[Sequence[Shape]]) -> list[list[np.ndarray]]:
    return [[_ratios(s.bones) for s in own] for own in shapes]


def _text(rows: Sequence[tuple], num_students: int, num_splits: int) -> str:
    text = (
        f"Of a student's ten photos (one per digit sign) five are calibrated together, and so are "
        f"the other five: {num_splits} of 252 ways to choose the first five (each with its "
        "reverse), the same digits for all students. In each split the shapes of the "
        f"{num_students} first halves meet those of the {num_students} second halves. AUC: the "
        "chance that two halves of one student are nearer than halves of two; rank-1: students "
        f"whose nearest among the {num_students} is their own (chance: "
        f"{100 / num_students:.1f} %); means and deviations over the splits. Size is removed: "
        "bones as log ratios to their mean; betas without the direction in which all bones grow "
        "alike. Distance: Euclidean, or by the two calibrations' covariances; angle: of the "
        "deviations from the mean of students 0–69, on whom the landmark points were learned too. "
        "Nothing else is learned."
    )
    head = ("", "AUC", "deviation", "rank-1 %", "deviation")
    return section("Recognition by shape alone", text, table(head, rows, 3))


def _halves(num_splits: int | None) -> list[Half]:
    """The first half of each split, of all or of so many; the reverse of each is among them."""
    every = list(combinations(range(NUM_DIGITS), NUM_DIGITS // 2))
    if num_splits is None or num_splits >= len(every):
        return every
    drawn = np.random.default_rng(0).permutation(len(every) // 2)[: num_splits // 2]
    first = [every[i] for i in sorted(drawn)]
    return first + [_rest(half) for half in first]


def _rest(half: Half) -> Half:
    return tuple(i for i in range(NUM_DIGITS) if i not in half)


# ---------------------------------------------------------------- shapes


@dataclass(frozen=True, kw_only=True)
class _Hands:
    """The students' hands that calibrations use, digit by digit."""

    by_student: Mapping[str, Sequence[Detection | None]]
    K: Float[np.ndarray, "3 3"]

    @staticmethod
    def of(data: RealData) -> "_Hands":
        shots = data.sign_digits()
        names = data.student_names()
        return _Hands(by_student={n: [s.careful for s in shots.of(n)] for n in names}, K=shots.K)

    @property
    def tested(self) -> list[str]:
        """On whom nothing was learned."""
        return [name for name in self.by_student if int(name[-3:]) >= FIRST_STUDENT]

    @property
    def others(self) -> list[str]:
        return [name for name in self.by_student if int(name[-3:]) < FIRST_STUDENT]

    def shapes(
        self,
        students: Sequence[str],
        halves: Sequence[Half],
        workers: int,
        evidence: str = "default",
    ) -> list[list[Shape]]:
        """Of each student, from each half of the photos."""
        tasks = []
        for name in students:
            own = self.by_student[name]
            sets = [[hand for i in half if (hand := own[i]) is not None] for half in halves]
            tasks.append((sets, [self.K] * len(sets), evidence))
        return in_workers(tasks, workers)


Task = tuple[Sequence[Sequence[Detection]], Sequence[Cameras], str]
"""The hands of each calibration of a person, their cameras, and the kind of evidence."""

_PIPES: list[Pipeline] = []
"""Of a process, loaded once."""


def in_workers(tasks: Sequence[Task], workers: int) -> list[list[Shape]]:
    """All calibrations of each person, in several processes or in this one."""
    if workers == 1:
        return list(map(_calibrated, tasks))
    context = get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=torch.set_num_threads, initargs=(1,)
    ) as p:
        return list(p.map(_calibrated, tasks))


def _calibrated(task: Task) -> list[Shape]:
    if not _PIPES:
        _PIPES.append(idhand.load())
    sets, cameras, evidence = task
    rows = zip(sets, cameras, strict=True)
    return [EVIDENCE[evidence](_PIPES[0], hands, K) for hands, K in rows]


def _ratios(lengths: Float[np.ndarray, "*batch 20"]) -> Float[np.ndarray, "*batch 20"]:
    """Log bone lengths without their mean: proportions, whatever the size."""
    logs = np.log(lengths)
    return logs - logs.mean(-1, keepdims=True)


def _world_ratios(hands: Sequence[Detection | None], half: Half) -> Float[np.ndarray, " 20"]:
    """Mean proportions of the net's world points over some photos."""
    points = np.stack([h.landmarks_world for i in half if (h := hands[i]) is not None])
    return _ratios(bone_lengths(points)).mean(0)


def size_free(model: HandModel) -> Float[np.ndarray, "betas betas"]:
    """Projection of betas onto what is left without the direction of uniform growth.

    That direction is the change of betas that comes nearest to all 20 bones growing by the same
    share (least squares, smallest norm).
    """
    zero = torch.zeros(model.num_betas, dtype=torch.float64)
    rest = rest_bones(model, zero)
    step = 1e-3
    slopes = [
        np.log(rest_bones(model, zero + step * unit) / rest) / step
        for unit in torch.eye(model.num_betas, dtype=torch.float64)
    ]
    growth = np.linalg.lstsq(np.stack(slopes, 1), np.ones(20), rcond=None)[0]
    growth /= np.linalg.norm(growth)
    return np.eye(model.num_betas) - np.outer(growth, growth)


# ---------------------------------------------------------------- distances and scores

Distance = Callable[[Shape, Shape], float]


def distances(P: Float[np.ndarray, "betas betas"]) -> tuple[Distance, Distance]:
    """Between shapes projected by P: Euclidean, and by what the two calibrations do not know."""

    def by_covariance(a: Shape, b: Shape) -> float:
        mine, theirs = ((P @ s.betas, P @ s.covariance @ P.T) for s in (a, b))
        return _mahalanobis(mine, theirs)

    return lambda a, b: _distance(P @ a.betas, P @ b.betas), by_covariance


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b))


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos((a @ b / np.linalg.norm(a) / np.linalg.norm(b)).clip(-1, 1)))


def _mahalanobis(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Between betas, in units of what the two calibrations do not know."""
    off = a[0] - b[0]
    return float(off @ np.linalg.pinv(a[1] + b[1], hermitian=True, rcond=1e-9) @ off)


def _scores(
    features: Sequence[Sequence], distance: Callable, halves: Sequence[Half]
) -> tuple[float, float, float, float]:
    """Mean and deviation over the splits of AUC and rank-1 (%)."""
    aucs, firsts = [], []
    for k, half in enumerate(halves):
        other = halves.index(_rest(half))
        D = np.array([[distance(a[k], b[other]) for b in features] for a in features])
        own = np.eye(len(D), dtype=bool)
        genuine, impostor = D[own][:, None], D[~own][None]
        aucs.append(float((genuine < impostor).mean() + 0.5 * (genuine == impostor).mean()))
        firsts.append(100 * float((D.argmin(1) == np.arange(len(D))).mean()))
    spread = [(float(np.mean(x)), float(np.std(x))) for x in (aucs, firsts)]
    return (*spread[0], *spread[1])
