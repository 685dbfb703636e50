"""Recognition of students 70 to 93 by shape alone: five photos against the other five.

Landmark points were learned on students 0 to 69, and no distance is learned at all.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context

import numpy as np
import torch
from jaxtyping import Float
from real_data import NUM_DIGITS, RealData, fuse
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


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a calibration tells of a student."""

    betas: Float[np.ndarray, " betas"]
    covariance: Float[np.ndarray, "betas betas"]
    bones: Float[np.ndarray, " 20"]
    """Of the calibrated hand at rest, metres."""


def recognition_report(data: RealData, workers: int) -> str:
    """AUC and rank-1 of the calibrated shapes and of the net's own world points."""
    shots = data.sign_digits()
    names = data.student_names()
    hands = {name: [s.careful for s in shots.of(name)] for name in names}
    students = [name for name in names if int(name[-3:]) >= FIRST_STUDENT]
    others = [name for name in names if int(name[-3:]) < FIRST_STUDENT]
    halves, whole = _halves(data.quick), tuple(range(NUM_DIGITS))
    tasks = [(hands[name], shots.K, halves) for name in students]
    tasks += [(hands[name], shots.K, [whole]) for name in others]
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
        done = list(pool.map(_shapes, tasks))
    shapes, typical = done[: len(students)], [own[0] for own in done[len(students) :]]
    P = size_free(data.pipe.model)
    world = [[_world_ratios(hands[name], half) for half in halves] for name in students]
    world_mean = np.mean([_world_ratios(hands[name], whole) for name in others], 0)
    betas = [[P @ s.betas for s in own] for own in shapes]
    mean = np.mean([P @ s.betas for s in typical], 0)
    known = [[(P @ s.betas, P @ s.covariance @ P.T) for s in own] for own in shapes]
    rows = [
        ("world points: bone ratios, distance", *_scores(world, _distance, halves)),
        ("world points: bone ratios, angle", *_scores(_from(world, world_mean), _angle, halves)),
        ("calibrated: bone ratios, distance", *_scores(_bones(shapes), _distance, halves)),
        ("calibrated: betas, distance", *_scores(betas, _distance, halves)),
        ("calibrated: betas, distance by covariance", *_scores(known, _mahalanobis, halves)),
        ("calibrated: betas, angle", *_scores(_from(betas, mean), _angle, halves)),
    ]
    return _text(rows, len(students), len(halves))


def _from(features: Sequence[Sequence[np.ndarray]], mean: np.ndarray) -> list[list[np.ndarray]]:
    return [[x - mean for x in own] for own in features]


def _bones(shapes: Sequence[Sequence["Shape"]]) -> list[list[np.ndarray]]:
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


def _halves(quick: bool) -> list[Half]:
    """The first half of each split; the reverse of each is among them."""
    every = list(combinations(range(NUM_DIGITS), NUM_DIGITS // 2))
    if not quick:
        return every
    drawn = np.random.default_rng(0).permutation(len(every) // 2)[: QUICK_SPLITS // 2]
    first = [every[i] for i in sorted(drawn)]
    return first + [_rest(half) for half in first]


def _rest(half: Half) -> Half:
    return tuple(i for i in range(NUM_DIGITS) if i not in half)


# ---------------------------------------------------------------- shapes

_PIPES: list[Pipeline] = []
"""Of a worker process, loaded once."""


def _start_worker() -> None:
    torch.set_num_threads(1)
    _PIPES.append(idhand.load())


def _shapes(task: tuple[Sequence[Detection | None], np.ndarray, Sequence[Half]]) -> list[Shape]:
    """One student's shapes from each half."""
    hands, K, halves = task
    pipe = _PIPES[0]
    shapes = []
    for half in halves:
        seen = [hand for i in half if (hand := hands[i]) is not None]
        fused = fuse(pipe, seen, K)
        bones = _rest_bones(pipe.model, fused.betas)
        covariance = fused.covariance.numpy()
        shapes.append(Shape(betas=fused.betas.numpy(), covariance=covariance, bones=bones))
    return shapes


def _rest_bones(model: HandModel, betas: torch.Tensor) -> Float[np.ndarray, " 20"]:
    hand = model.with_shape(betas)
    still = torch.eye(3, dtype=betas.dtype).expand(16, 3, 3)
    return bone_lengths(hand.posed(still, hand.rest_joints[0]).keypoints.numpy())


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
    rest = _rest_bones(model, zero)
    step = 1e-3
    slopes = [
        np.log(_rest_bones(model, zero + step * unit) / rest) / step
        for unit in torch.eye(model.num_betas, dtype=torch.float64)
    ]
    growth = np.linalg.lstsq(np.stack(slopes, 1), np.ones(20), rcond=None)[0]
    growth /= np.linalg.norm(growth)
    return np.eye(model.num_betas) - np.outer(growth, growth)


# ---------------------------------------------------------------- distances and scores


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
