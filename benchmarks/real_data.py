"""The real photos and clips: reading them, finding the hands once, keeping what was found.

Every hand is found twice: as `pipe(rgb)` finds it (one view, clips followed from frame to frame)
and, where a calibration uses the picture, as `idhand.calibrate` does (several views averaged).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from idhand import Identity, Pipeline, read_image
from idhand.calibration import Anchor, Calibration
from idhand.geometry import intrinsics_from_fov
from idhand.identity import measure
from idhand.media import VideoReader
from idhand.records import Camera, Detection, HandInImage, HandResult, SeenKeypoints
from idhand.refinement import hand_size_px

CALIBRATION_FRAMES = 20
"""Frames of a clip that its calibration uses, evenly spread."""
FIT_BATCH = 64
QUICK_STEP = 3
"""With --quick, the clips end after a third of their frames and a third of the photos is read."""
NUM_STUDENTS = 94
NUM_DIGITS = 10
SEEN = "keypoints."
"""Before the names of what the keypoint network sees, in cache files."""

Cameras = np.ndarray | Sequence[np.ndarray]
Distortions = np.ndarray | Sequence[np.ndarray | None] | None
"""Of all hands, or one per hand."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture and the hands seen in it."""

    name: str
    hands: tuple[Detection, ...]
    careful: Detection | None = None
    """The hand that a calibration uses, read with several views; None if it does not use this."""


@dataclass(frozen=True, kw_only=True)
class ShotSet:
    """Pictures taken with one camera."""

    name: str
    shots: tuple[Shot, ...]
    K: Float[np.ndarray, "3 3"]
    """Known, or the pipeline's guess (60° across the longer side)."""
    dist: Float[np.ndarray, " 5"] | None = None

    def of(self, person: str) -> tuple[Shot, ...]:
        """The shots whose name begins with the person's."""
        return tuple(s for s in self.shots if s.name.startswith(f"{person}/"))


@dataclass(frozen=True, kw_only=True)
class RealData:
    """Where the pictures lie, who finds hands in them, and how much of them to use."""

    root: Path
    pipe: Pipeline
    quick: bool = False
    cache: Path | None = None

    def student_names(self) -> list[str]:
        """The folders of the sign digits that are used, in order."""
        names = [f"student_{i:03d}" for i in range(NUM_STUDENTS)]
        return [n for i, n in enumerate(names) if not self.quick or i >= 70 or i % QUICK_STEP == 0]

    def sign_digits(self) -> ShotSet:
        """94 students, ten digit signs each, 100×100 px."""
        folder = self.root / "sign_digits"
        names = [f"{s}/{d}" for s in self.student_names() for d in range(NUM_DIGITS)]
        images = ((name, read_image(folder / f"{name}.jpg")[0]) for name in names)
        return self._cached("sign_digits", images, follow=False, careful=set(names))

    def many_places(self) -> tuple[ShotSet, list[np.ndarray]]:
        """One man's hand in many rooms and lights, and what is guessed of each crop's camera."""
        paths = sorted((self.root / "many_places").glob("*.jpg"))
        paths = paths[: len(paths) // QUICK_STEP] if self.quick else paths
        images = ((path.stem, read_image(path)[0]) for path in paths)
        names = {path.stem for path in paths}
        shots = self._cached("many_places", images, follow=False, careful=names)
        sizes = [read_image(path)[0].shape for path in paths]
        return shots, [intrinsics_from_fov(width, height).numpy() for height, width, _ in sizes]

    def clip(
        self, path: str, max_hands: int = 1, K: Any = None, dist: Any = None
    ) -> tuple[ShotSet, float]:
        """A video, followed as `idhand run` follows it, and its frame rate."""
        reader = VideoReader(self.root / path)
        total = reader.num_frames_estimate or 0
        total = total // QUICK_STEP if self.quick else total
        chosen = {f"{round(i)}" for i in np.linspace(0, total - 1, CALIBRATION_FRAMES)}
        images = ((str(f.index), f.rgb) for f in reader if f.index < total)
        name = Path(path).stem
        found = self._cached(name, images, True, chosen, max_hands=max_hands, K=K, dist=dist)
        return found, reader.fps

    def photo(self, path: str, K: Any = None) -> ShotSet:
        """One photo, of which a calibration may use one hand."""
        image = read_image(self.root / path)[0]
        name = path.split(".")[0].replace("/", "_")
        return self._cached(name, iter([(path, image)]), False, set(), max_hands=2, K=K)

    def _cached(
        self,
        name: str,
        images: Iterator[tuple[str, np.ndarray]],
        follow: bool,
        careful: set[str],
        max_hands: int = 1,
        K: Any = None,
        dist: Any = None,
    ) -> ShotSet:
        """The set from the cache, or found now and put there."""
        key = hashlib.sha256(
            json.dumps(
                [
                    name,
                    self.quick,
                    max_hands,
                    *([self.pipe.reader.label] if self.pipe.reader else []),
                    *(_keypoints_label(self.pipe)),
                ]
            ).encode()
        ).hexdigest()[:8]
        file = None if self.cache is None else self.cache / f"{name}_{key}.npz"
        if file is not None and file.is_file():
            size, shots = _read_shots(file)
        else:
            print(f"finding hands: {name}", flush=True)
            size, shots = self._find(images, follow, careful, max_hands)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                _write_shots(file, size, shots)
        guess = intrinsics_from_fov(*size).numpy()
        return ShotSet(name=name, shots=shots, K=guess if K is None else K, dist=dist)

    def _find(
        self, images: Iterator[tuple[str, np.ndarray]], follow: bool, careful: set[str], most: int
    ) -> tuple[tuple[int, int], tuple[Shot, ...]]:
        detector, shots, hands, size = self.pipe.detector, [], [], (0, 0)
        for name, rgb in images:
            size = (rgb.shape[1], rgb.shape[0])
            followed = detector.track(rgb, hands) if follow else []
            hands = [hand for hand in followed if hand is not None]
            if len(hands) < most:
                seen = detector.detect(rgb, max_hands=most)
                hands = (hands + [h for h in seen if not any(same_hand(h, g) for g in hands)])[
                    :most
                ]
            if self.pipe.reader is not None:
                hands = self.pipe.reader.with_features(rgb, hands)
            use = careful_hand(self.pipe, rgb) if name in careful else None
            shots.append(Shot(name=name, hands=tuple(hands), careful=use))
        return size, tuple(shots)


def _keypoints_label(pipe: Pipeline) -> list[str]:
    """Of the keypoint network, if there is one."""
    net = None if pipe.reader is None else pipe.reader.keypoints
    return [] if net is None else [net.label]


def same_hand(a: Detection, b: Detection) -> bool:
    """Whether two detections of one picture are of one hand."""
    apart = np.linalg.norm(a.landmarks_px - b.landmarks_px, axis=1).mean()
    return bool(apart < 0.3 * max(hand_size_px(a), hand_size_px(b)))


def careful_hand(pipe: Pipeline, rgb: np.ndarray) -> Detection | None:
    """The hand that `idhand.calibrate` would use of this picture."""
    hands = pipe.detector.detect(rgb, max_hands=2, views=pipe.config.calibration_views)
    hands = [h for h in hands if h.score >= pipe.config.min_presence]
    best = max(hands, key=lambda h: h.score * hand_size_px(h), default=None)
    if best is None or pipe.reader is None:
        return best
    return pipe.reader.with_features(rgb, [best])[0]


# ---------------------------------------------------------------- fits and calibrations


def fit_all(
    pipe: Pipeline, shots: ShotSet, identity: Identity | None = None
) -> list[list[HandResult]]:
    """What `pipe` gives for every shot: the fits of a batch do not influence each other."""
    flat = [hand for shot in shots.shots for hand in shot.hands]
    results: list[HandResult] = []
    for i in range(0, len(flat), FIT_BATCH):
        results += pipe.fit(flat[i : i + FIT_BATCH], shots.K, shots.dist, identity)
    rest = iter(results)
    return [[next(rest) for _ in shot.hands] for shot in shots.shots]


def fuse(
    pipe: Pipeline,
    hands: Sequence[Detection],
    K: Cameras,
    dist: Distortions = None,
    hand_length_mm: float | None = None,
) -> Calibration:
    """The estimator behind `idhand.calibrate`, from hands that were found before.

    K and the distortion are those of all hands, or one per hand.
    """
    n = len(hands)
    Ks = [K] * n if isinstance(K, np.ndarray) else K
    dists = [dist] * n if isinstance(dist, np.ndarray) or dist is None else dist
    anchor = Anchor.from_mm(hand_length_mm)
    rows = zip(hands, Ks, dists, strict=True)
    seen = [HandInImage(detection=d, camera=Camera(K=k, dist=lens)) for d, k, lens in rows]
    return pipe.fuse(seen, anchor)


def identity_of(
    pipe: Pipeline,
    hands: Sequence[Detection],
    K: Cameras,
    dist: Distortions = None,
    hand_length_mm: float | None = None,
) -> Identity:
    """What `idhand.calibrate` returns, from hands that were found before."""
    fused = fuse(pipe, hands, K, dist, hand_length_mm)
    betas, covariance = fused.betas.numpy(), fused.covariance.numpy()
    return Identity(
        model=pipe.model.name,
        betas=betas,
        covariance=covariance,
        measurements=measure(pipe.model, betas, covariance),
    )


def calibrated(pipe: Pipeline, shots: ShotSet) -> Identity:
    """The person of a clip, from its calibration frames."""
    hands = [s.careful for s in shots.shots if s.careful is not None]
    return identity_of(pipe, hands, shots.K, shots.dist)


# ---------------------------------------------------------------- cache files: arrays, no pickle


def _write_shots(file: Path, size: tuple[int, int], shots: Sequence[Shot]) -> None:
    hands = [h for s in shots for h in (*s.hands, *([s.careful] if s.careful else []))]
    names = [f.name for f in fields(Detection) if f.name != "keypoints"]
    arrays = {name: np.array([getattr(h, name) for h in hands]) for name in names}
    if any(h.features is None for h in hands):
        del arrays["features"]
    if all(h.keypoints is not None for h in hands):
        for name in (f.name for f in fields(SeenKeypoints)):
            arrays[SEEN + name] = np.array([getattr(h.keypoints, name) for h in hands])
    header = {
        "names": np.array([s.name for s in shots]),
        "counts": np.array([(len(s.hands), s.careful is not None) for s in shots]),
        "size": np.array(size),
    }
    np.savez_compressed(file, allow_pickle=False, **header, **arrays)


def _row(names: Sequence[str], values: Sequence[np.ndarray]) -> dict[str, Any]:
    """One hand's fields."""
    pairs = zip(names, values, strict=True)
    return {name: value.item() if value.ndim == 0 else value for name, value in pairs}


def _read_shots(file: Path) -> tuple[tuple[int, int], tuple[Shot, ...]]:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    names = [f.name for f in fields(Detection) if f.name in arrays]
    columns = [arrays[name] for name in names]
    seen = {name[len(SEEN) :]: rows for name, rows in arrays.items() if name.startswith(SEEN)}
    hands = (
        Detection(
            **_row(names, row),
            keypoints=SeenKeypoints(**_row([*seen], [v[i] for v in seen.values()]))
            if seen
            else None,
        )
        for i, row in enumerate(zip(*columns, strict=True))
    )
    shots = []
    for name, (count, careful) in zip(arrays["names"], arrays["counts"], strict=True):
        found = tuple(next(hands) for _ in range(count))
        shots.append(Shot(name=str(name), hands=found, careful=next(hands) if careful else None))
    width, height = arrays["size"]
    return (int(width), int(height)), tuple(shots)
