"""Found rate, 2D residual, variation of the bones and jitter, on every set of real pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from real_data import RealData, Shot, ShotSet, calibrated, fit_all, identity_of
from tables import section, table

from idhand import Identity, Pipeline
from idhand.hand import KEYPOINT_PARENTS
from idhand.records import HandResult
from idhand.refinement import hand_size_px

CHILD = np.arange(1, 21)
PARENT = np.array(KEYPOINT_PARENTS[1:])
MIN_FRAMES = 5
"""Bones of a person seen in fewer frames are not counted."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A set with the fits of its hands, shot by shot."""

    shots: ShotSet
    fps: float | None
    anonymous: list[list[HandResult]]
    known: list[list[HandResult]] | None
    """With the calibrated shape; None where nobody was calibrated."""
    identity: Identity | None = None
    """Of the one person of a clip."""


def fit_clip(pipe: Pipeline, shots: ShotSet, fps: float | None = None) -> Fitted:
    """A clip of one person: calibrated from its calibration frames."""
    identity = calibrated(pipe, shots)
    return Fitted(
        shots=shots,
        fps=fps,
        anonymous=fit_all(pipe, shots),
        known=fit_all(pipe, shots, identity),
        identity=identity,
    )


def fit_photo(pipe: Pipeline, shots: ShotSet) -> Fitted:
    """Photos without a calibration."""
    return Fitted(shots=shots, fps=None, anonymous=fit_all(pipe, shots), known=None)


def fit_students(pipe: Pipeline, data: RealData) -> Fitted:
    """Each student's even digits are fitted with the shape from the odd ones, and the reverse."""
    shots = data.sign_digits()
    known = dict[str, list[HandResult]]()
    for student in data.student_names():
        own = shots.of(student)
        for half in (0, 1):
            hands = [s.careful for s in own[1 - half :: 2] if s.careful is not None]
            part = ShotSet(name=student, shots=own[half::2], K=shots.K)
            fits = fit_all(pipe, part, identity_of(pipe, hands, shots.K))
            known |= {s.name: f for s, f in zip(part.shots, fits, strict=True)}
    return Fitted(
        shots=shots,
        fps=None,
        anonymous=fit_all(pipe, shots),
        known=[known[s.name] for s in shots.shots],
    )


# ---------------------------------------------------------------- found rate


def found_table(sets: Sequence[Fitted], expected_hands: Sequence[int]) -> str:
    """How many of the pictures a hand was found in."""
    rows = []
    for fitted, most in zip(sets, expected_hands, strict=True):
        shots = fitted.shots.shots
        hands = [hand for shot in shots for hand in shot.hands]
        found = sum(bool(shot.hands) for shot in shots)
        sure = sum(hand.score > 0.9 for hand in hands)
        rows.append(
            (
                fitted.shots.name,
                len(shots),
                100 * found / len(shots),
                100 * len(hands) / (most * len(shots)),
                100 * sure / max(len(hands), 1),
                100 * sum(hand.is_right for hand in hands) / max(len(hands), 1),
                sum(f.status != "converged" for fits in fitted.anonymous for f in fits),
            )
        )
    text = (
        "Clips are followed as `idhand run` does it, looking for two hands in stereo. Hands: "
        "found of those that are there (two in hands.jpg and taco, else one). Sure: presence above "
        "0.9. Not converged: anonymous fits. In 16 frames at both ends of cam0 the hand is outside "
        "of the picture; both hands of hands.jpg are left ones."
    )
    head = ("set", "pictures", "found %", "hands %", "sure %", "right %", "not converged")
    return section("Found", text, table(head, rows))


# ---------------------------------------------------------------- residual


def residuals(fits: Sequence[Sequence[HandResult]]) -> Float[np.ndarray, " hands"]:
    """Root mean square distance of fitted to seen landmarks, % of hand size."""
    flat = [hand for shot in fits for hand in shot]
    return np.array([100 * h.residual_px / hand_size_px(h.detection) for h in flat])


def residual_table(sets: Sequence[Fitted]) -> str:
    """2D residual of the fits."""
    rows = []
    for fitted in sets:
        anonymous = residuals(fitted.anonymous)
        known = np.array([np.nan]) if fitted.known is None else residuals(fitted.known)
        rows.append(
            (
                fitted.shots.name,
                len(anonymous),
                *(f(x) for x in (anonymous, known) for f in (spread_mean, spread_median, high)),
            )
        )
    head = ("set", "hands", "anonymous mean", "median", "95th", "calibrated mean", "median", "95th")
    text = (
        "Root mean square distance of the fitted landmark points to the seen ones, in % of the "
        "hand's length in the image. Calibrated: clips from 20 of their own frames, sign_digits "
        "from the student's five other photos. A calibrated hand has no free shape, which costs."
    )
    return section("2D residual", text, table(head, rows, 2))


def spread_mean(x: np.ndarray) -> float:
    """Mean."""
    return float(x.mean())


def spread_median(x: np.ndarray) -> float:
    """Median."""
    return float(np.median(x))


def high(x: np.ndarray) -> float:
    """95th percentile."""
    return float(np.quantile(x, 0.95))


# ---------------------------------------------------------------- bones


def bone_lengths(points: Float[np.ndarray, "*batch 21 3"]) -> Float[np.ndarray, "*batch 20"]:
    """Distances of the keypoints from their parents."""
    return np.linalg.norm(points[..., CHILD, :] - points[..., PARENT, :], axis=-1)


def variation(lengths: Float[np.ndarray, "frames 20"]) -> tuple[float, float]:
    """Coefficient of variation in %, mean over the bones: as is, and without each frame's size."""
    shares = lengths / lengths.sum(1, keepdims=True)
    raw, scaled = (100 * x.std(0, ddof=1) / x.mean(0) for x in (lengths, shares))
    return float(raw.mean()), float(scaled.mean())


def _people(
    fits: Sequence[Sequence[HandResult]], shots: Sequence[Shot]
) -> Iterator[list[HandResult]]:
    """Results of one person's hand, left and right apart."""
    groups = dict[tuple[str, bool], list[HandResult]]()
    for shot, hands in zip(shots, fits, strict=True):
        for hand in hands:
            key = (shot.name.split("/")[0] if "/" in shot.name else "", hand.is_right)
            groups.setdefault(key, []).append(hand)
    return (g for g in groups.values() if len(g) >= MIN_FRAMES)


def bone_table(sets: Sequence[Fitted]) -> str:
    """How much the bones of one hand change from picture to picture."""
    rows = []
    for fitted in sets:
        shots = fitted.shots.shots
        people = list(_people(fitted.anonymous, shots))
        known = list(_people(fitted.known or [[]] * len(shots), shots))
        world = [variation(_lengths(p, world=True)) for p in people]
        fit = [variation(_lengths(p)) for p in people]
        fixed = [variation(_lengths(p)) for p in known]
        mean = [float(x) for v in (world, fit, fixed) for x in np.mean(v, 0)]
        rows.append((fitted.shots.name, sum(map(len, people)), *mean))
    head = ("set", "hands", "world", "size removed", "anonymous", "size removed", "calibrated", "")
    text = (
        "Coefficient of variation of a bone's length over the pictures of one person in %, mean "
        "over 20 bones (and over students, and over left and right): the net's world points, "
        "anonymous fits, calibrated fits; each also with the picture's size (the sum of the bones) "
        "removed. A calibrated hand's bones are the same in every picture by construction; "
        "sign_digits has two calibrations per student, and what they differ by is what is shown."
    )
    return section("Bone lengths", text, table(head, rows, 2))


def _lengths(hands: Sequence[HandResult], world: bool = False) -> Float[np.ndarray, "frames 20"]:
    points = [h.detection.landmarks_world if world else h.keypoints_cam for h in hands]
    return bone_lengths(np.stack(points))


# ---------------------------------------------------------------- jitter


def second_difference_mm(
    points: Sequence[Float[np.ndarray, "21 3"] | None],
) -> Float[np.ndarray, "steps 21"]:
    """Norms of x[t−1] − 2 x[t] + x[t+1] in mm, where three frames follow each other."""
    triples = zip(points, points[1:], points[2:], strict=False)
    whole = [(a, b, c) for a, b, c in triples if a is not None and b is not None and c is not None]
    return np.array([1e3 * np.linalg.norm(a - 2 * b + c, axis=1) for a, b, c in whole])


def jitter_table(clip: Fitted) -> str:
    """Second differences of the keypoints on a clip of one hand."""
    assert clip.known is not None
    detections = [shot.hands[0] if shot.hands else None for shot in clip.shots.shots]
    world = [None if d is None else d.landmarks_world - d.landmarks_world[:1] for d in detections]
    rows = [_jitter_row("the net's world points", world, None)]
    for name, fits in (("anonymous", clip.anonymous), ("calibrated", clip.known)):
        cam = [f[0].keypoints_cam if f else None for f in fits]
        rows.append(_jitter_row(name, [None if p is None else p - p[:1] for p in cam], cam))
    text = (
        f"Second difference of the keypoints in mm per frame², on {clip.shots.name} "
        f"({len(clip.shots.shots)} frames, {clip.fps:g} fps), followed with `previous=`; each "
        "frame is fitted by itself, nothing is smoothed. About the wrist: mean over the 20 other "
        "keypoints. The hand's own motion is in all rows."
    )
    head = ("", "about the wrist", "median", "camera space", "median", "depth of the wrist")
    return section("Jitter", text, table(head, rows, 2))


def _jitter_row(name: str, about_wrist: Sequence, cam: Sequence | None) -> tuple:
    rel = second_difference_mm(about_wrist)[:, 1:]
    if cam is None:
        return name, float(rel.mean()), float(np.median(rel)), None, None, None
    whole = second_difference_mm(cam)
    depth = second_difference_mm([None if p is None else p[:1, 2:] for p in cam])
    return (
        name,
        float(rel.mean()),
        float(np.median(rel)),
        float(whole.mean()),
        float(np.median(whole)),
        float(depth.mean()),
    )
