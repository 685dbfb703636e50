"""The hand detected in each picture of a data set, with its features; kept in a file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float16, Int, UInt8

from idhand.data import DataSet
from idhand.detection import HandDetector
from idhand.detection.roi import Roi
from idhand.files import FileKind, read_headed_arrays, replacing
from idhand.lens import BROWN_COUNTS, distortion_array
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import View, crop_of, landmark_roi, view_of
from idhand.nets.files import keypoint_net_on
from idhand.nets.keypoints import KeypointNet
from idhand.nets.reading import seen_in_crops
from idhand.records import Camera, Detection, HandInImage, Sample, SeenKeypoints
from idhand.refinement import ObjectiveConfig, Observations, observations

KIND = FileKind(
    format="idhand detected hands",
    version=1,
    name="file of detected hands",
    remedy="remove it and detect again",
    old_formats=("idhand looks",),
)
BACKBONE_BATCH = 32
"""Crops whose features are computed together."""

TEXTS = ("sample_id", "subject")
SHAPES: dict[str, tuple[int, ...]] = {
    "is_right": (),
    "found": (),
    "K": (3, 3),
    "dist": (5,),
    "score": (),
    "landmarks_px": (21, 2),
    "landmarks_z_px": (21,),
    "landmarks_world": (21, 3),
    "landmark_conf": (21,),
    "landmark_outside": (21,),
    "R_cam_view": (3, 3),
}
"""Field → shape of one picture's; `features` come beside them."""
SEEN_SHAPES: dict[str, tuple[int, ...]] = {
    "points_px": (21, 2),
    "cov_px": (21, 2, 2),
    "visible": (21,),
    "directions": (20, 3),
    "directions_std": (20,),
    "log_length_px": (),
    "log_length_std": (),
}
"""The same of what the keypoint network sees, see `SeenKeypoints`."""
SEEN = "keypoints."
"""Before the names of these in files."""


@dataclass(frozen=True, kw_only=True)
class DetectedHands:
    """One hand per picture as the landmark net sees it; every network and solver starts here.

    Where `found` is False everything that was detected is NaN.
    """

    header: dict[str, str]
    """`dataset`; also `data`, the set's fingerprint, and `features`, the backbone's label."""
    sample_id: tuple[str, ...]
    subject: tuple[str, ...]
    is_right: Bool[np.ndarray, " pictures"]
    """According to the data set."""
    found: Bool[np.ndarray, " pictures"]
    K: Float[np.ndarray, "pictures 3 3"]
    """Of the real picture, px."""
    dist: Float[np.ndarray, "pictures coefficients"]
    score: Float[np.ndarray, " pictures"]
    landmarks_px: Float[np.ndarray, "pictures 21 2"]
    """In the real picture."""
    landmarks_z_px: Float[np.ndarray, "pictures 21"]
    landmarks_world: Float[np.ndarray, "pictures 21 3"]
    landmark_conf: Float[np.ndarray, "pictures 21"]
    landmark_outside: Bool[np.ndarray, "pictures 21"]
    """As `Detection.outside`; files of earlier versions, which lack it, know of none."""
    R_cam_view: Float[np.ndarray, "pictures 3 3"]
    """Of the crop that the features were computed of; to the mirrored camera for left hands."""
    features: Float16[np.ndarray, "pictures features"] | None
    """Of the upright crop about the landmarks; None if they were not wanted."""
    keypoints: Mapping[str, np.ndarray] | None = None
    """What the keypoint network sees in the same crop, as fields of `SeenKeypoints`; None if that
    was not wanted."""

    def __len__(self) -> int:
        return len(self.sample_id)

    def detection(self, index: int) -> Detection | None:
        """A picture's hand as a `Detection`; None if none was found."""
        if not self.found[index]:
            return None
        points = self.landmarks_px[index]
        return Detection(
            is_right=bool(self.is_right[index]),
            right_probability=float(self.is_right[index]),
            score=float(self.score[index]),
            bbox_px=np.concatenate((points.min(0), points.max(0))),
            landmarks_px=points,
            landmarks_z_px=self.landmarks_z_px[index],
            landmarks_world=self.landmarks_world[index],
            confidence=self.landmark_conf[index],
            outside=self.landmark_outside[index],
            keypoints=self._seen(index),
        )

    def _seen(self, index: int) -> SeenKeypoints | None:
        """What the keypoint network sees in a picture."""
        if self.keypoints is None:
            return None
        values = {name: rows[index].astype(np.float64) for name, rows in self.keypoints.items()}
        for name in ("log_length_px", "log_length_std"):
            values[name] = float(values[name])
        return SeenKeypoints(**values)

    def select(self, indices: Sequence[int] | Int[np.ndarray, " chosen"]) -> "DetectedHands":
        """These pictures, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        texts = {name: tuple(getattr(self, name)[i] for i in chosen) for name in TEXTS}
        arrays = {name: getattr(self, name)[chosen] for name in SHAPES}
        features = None if self.features is None else self.features[chosen]
        seen = self.keypoints
        seen = None if seen is None else {name: rows[chosen] for name, rows in seen.items()}
        return replace(self, features=features, keypoints=seen, **texts, **arrays)

    def by_subject(self) -> dict[str, "DetectedHands"]:
        """Each person's pictures, people in the order in which they first appear.

        Raises:
            ValueError: If the person of some picture is not known.
        """
        if "" in self.subject:
            raise ValueError(
                f"{self.subject.count('')} of {len(self):,} pictures do not say whose hand they "
                "show; take data that names its subjects"
            )
        rows: dict[str, list[int]] = {}
        for index, subject in enumerate(self.subject):
            rows.setdefault(subject, []).append(index)
        return {subject: self.select(indices) for subject, indices in rows.items()}

    def of(self, sample_ids: Sequence[str]) -> "DetectedHands":
        """The hands of these pictures, in this order.

        Raises:
            ValueError: If some of them are missing.
        """
        places = {name: row for row, name in enumerate(self.sample_id)}
        return self.select(self.rows_of(sample_ids, places))

    def rows_of(self, sample_ids: Sequence[str], places: Mapping[str, int]) -> list[int]:
        """Where these pictures are; `places` is each picture's row. Raises as `of`."""
        missing = [name for name in sample_ids if name not in places]
        if missing:
            raise ValueError(
                f"{len(missing):,} of {len(sample_ids):,} pictures (first: {missing[0]}) are not "
                "among the detected hands, so they are of another data set; name the set they "
                "come from"
            )
        return [places[name] for name in sample_ids]

    def save(self, path: str | Path) -> None:
        """Write the file; one of that name is replaced in one step. The same rows, the same bytes.

        Raises:
            ValueError: If the name does not end in .npz.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(_no_npz(path))
        about = json.dumps({**KIND.header, "header": self.header})
        arrays: dict[str, Any] = {"header": np.frombuffer(about.encode(), np.uint8)}
        arrays |= {name: np.array(getattr(self, name), dtype=str) for name in TEXTS}
        arrays |= {name: getattr(self, name) for name in SHAPES}
        if self.features is not None:
            arrays["features"] = self.features
        if self.keypoints is not None:
            arrays |= {SEEN + name: self.keypoints[name] for name in SEEN_SHAPES}
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    @staticmethod
    def load(path: str | Path) -> "DetectedHands":
        """Read a file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is something else, damaged, or of another version.
        """
        about, stored = read_headed_arrays(path, KIND)
        num = len(stored.get("sample_id", ()))
        stored.setdefault("landmark_outside", np.zeros((num, 21), bool))
        shapes = {name: array.shape for name, array in stored.items()}
        allowed = {name: {(num, *shape)} for name, shape in SHAPES.items()}
        allowed["dist"] = {(num, count) for count in BROWN_COUNTS[1:]}
        seen = any(name.startswith(SEEN) for name in stored)
        wanted = [*SHAPES]
        if seen:
            allowed |= {SEEN + name: {(num, *shape)} for name, shape in SEEN_SHAPES.items()}
            wanted += [SEEN + name for name in SEEN_SHAPES]
        odd = [name for name in wanted if shapes.get(name) not in allowed[name]]
        if odd or "subject" not in stored or len(stored["subject"]) != num:
            raise ValueError(
                f"{path} is damaged: {(odd or ['subject'])[0]} is missing or has another shape; "
                "remove it and detect again"
            )
        texts: dict[str, Any] = {name: tuple(stored[name].tolist()) for name in TEXTS}
        arrays: dict[str, Any] = {name: stored[name] for name in SHAPES}
        keypoints = {name: stored[SEEN + name] for name in SEEN_SHAPES} if seen else None
        return DetectedHands(
            header=about["header"], features=stored.get("features"), keypoints=keypoints,
            **texts, **arrays,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectionCache:
    """Detected hands of data sets, in a file if there is a path; one rule for files that differ.

    A file of other pictures, or with features of another network, is refused with what differs;
    only a run's own file in its own folder (`is_own`) is replaced, and `note` reports it.
    """

    path: Path | None = None
    """Read if it is there, else written."""
    is_own: bool = False
    """The file belongs to the run that uses it, and may be replaced."""
    progress: Callable[..., Iterable[Any]] | None = None
    """Wraps something to go through, with `desc=`, e.g. `tqdm`."""
    note: Callable[[str], None] | None = None
    """Hears a sentence if the run's own file is replaced."""

    def of(self, samples: DataSet, backbone: HandBackbone | None) -> DetectedHands:
        """The hands of a data set, from the file if it holds just these, else computed and kept.

        Args:
            samples: With cameras and boxes.
            backbone: Whose features are needed; None for none, then a file with any will do.

        Raises:
            ValueError: If the file differs and is not the run's own, the set has no pictures, or a
                sample has no camera or no box.
        """
        if not len(samples):
            raise ValueError(
                f"{samples!r} holds no picture; if it is still being rendered, wait for the first"
            )
        data = samples.fingerprint()
        if self.path is not None and self.path.exists():
            kept = DetectedHands.load(self.path)
            difference = _difference(kept, data, backbone)
            if difference is None:
                return kept
            if not self.is_own:
                raise ValueError(
                    f"{self.path} {difference}; name another file for the detected hands, or "
                    "remove this one to detect again"
                )
            if self.note is not None:
                self.note(f"{self.path} {difference}; hands are detected again")
        if self.path is not None and self.path.suffix != ".npz":  # before the long work
            raise ValueError(_no_npz(self.path))
        found = detect_hands(
            samples, HandDetector(), backbone, header={"data": data}, progress=self.progress
        )
        if self.path is not None:
            found.save(self.path)
        return found

    def wrapped(self, samples: DataSet) -> Iterable[Sample]:
        """The samples, with progress shown."""
        return samples if self.progress is None else self.progress(samples, desc="pictures")


def _difference(kept: DetectedHands, data: str, backbone: HandBackbone | None) -> str | None:
    """How a file differs from what is needed, after its name; None if it does not."""
    if kept.header.get("data") != data:
        return "holds the hands of another data set, or of other pictures of this one"
    if backbone is None:
        return None
    if kept.features is None:
        return f"holds no features, and those of '{backbone.label}' are needed"
    label = kept.header.get("features", backbone.label)
    if label != backbone.label or kept.features.shape[1] != backbone.num_features:
        return f"holds features of '{label}', and those of '{backbone.label}' are needed"
    net = keypoint_net_on(backbone)
    wanted = None if net is None else net.label
    if kept.header.get("keypoints") != wanted or (kept.keypoints is None) != (net is None):
        return "holds no keypoints, or those of another keypoint network than is needed"
    return None


def detect_hands(
    samples: Iterable[Sample],
    detector: HandDetector,
    backbone: HandBackbone | None,
    *,
    header: dict[str, str] | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> DetectedHands:
    """Detect the hand of each picture, in the box that the data set gives; one pass.

    Args:
        samples: Of any hands; each is decoded once, few are in memory at a time.
        detector: Its landmark net reads the hand.
        backbone: Whose features of the crop are wanted, and what the keypoint network on it sees,
            see `keypoint_net_on`; None for none.
        header: What else to note of the set.
        progress: Wraps the samples, with `desc=`, e.g. `tqdm`.

    Raises:
        ValueError: If a sample has no camera or no box, or there is none.
    """
    rows: dict[str, list[Any]] = {name: [] for name in (*TEXTS, *SHAPES)}
    datasets: set[str] = set()
    crops = _Crops(backbone, None if backbone is None else keypoint_net_on(backbone))
    for sample in progress(samples, desc="pictures") if progress else samples:
        check_camera(sample)
        datasets.add(sample.dataset)
        hand, view = _detected(sample, detector)
        crops.add(sample.rgb, view)
        for name, value in _row(sample, hand, view).items():
            rows[name].append(value)
    if not rows["found"]:
        raise ValueError("the data set has no pictures; wait until some are rendered")
    texts: dict[str, Any] = {name: tuple(rows[name]) for name in TEXTS}
    arrays: dict[str, Any] = {name: _stacked(name, rows[name]) for name in SHAPES}
    about = {"dataset": ", ".join(sorted(datasets)), **(header or {})}
    if backbone is not None:
        about["features"] = backbone.label
    if crops.net is not None:
        about["keypoints"] = crops.net.label
    features, keypoints = crops.seen()
    return DetectedHands(header=about, features=features, keypoints=keypoints, **texts, **arrays)


def _detected(sample: Sample, detector: HandDetector) -> tuple[Detection | None, View | None]:
    """The hand in the sample's box and the view of its crop."""
    try:
        hand = detector.in_box(sample.rgb, sample.bbox_px, is_right=sample.is_right)
    except ValueError as error:
        raise ValueError(f"sample {sample.id} of '{sample.dataset}': {error}") from error
    if hand is None:
        return None, None
    roi = landmark_roi(hand.landmarks_px)
    return hand, view_of(roi, sample.K, sample.dist, sample.is_right)


def undetected(samples: Sequence[Sample]) -> DetectedHands:
    """Pictures in which nothing was detected: who and which camera, no hand found."""
    rows = [_row(sample, None, None) for sample in samples]
    texts: dict[str, Any] = {name: tuple(row[name] for row in rows) for name in TEXTS}
    arrays: dict[str, Any] = {name: _stacked(name, [row[name] for row in rows]) for name in SHAPES}
    return DetectedHands(header={}, features=None, **texts, **arrays)


def observations_of(detected: DetectedHands, config: ObjectiveConfig) -> Observations:
    """The hands as observations of right hands, see `observations`; all must have been found."""
    return observations(hands_of(detected), config)


def hands_of(detected: DetectedHands) -> list[HandInImage]:
    """The hands with their cameras; all must have been found."""
    detections = map(detected.detection, range(len(detected)))
    found = [detection for detection in detections if detection is not None]
    assert len(found) == len(detected)
    rows = zip(found, detected.K, detected.dist, strict=True)
    return [HandInImage(detection=d, camera=Camera(K=K, dist=dist)) for d, K, dist in rows]


def _no_npz(path: Path) -> str:
    return f"{path}: detected hands are kept in .npz files; give a name that ends in .npz"


def _stacked(name: str, values: Sequence[Any]) -> np.ndarray:
    """One field of all pictures; lenses with fewer coefficients than others get zeros."""
    if name == "dist":
        count = max(map(len, values))
        values = [distortion_array(value, count) for value in values]
    return np.stack(values)


def _row(sample: Sample, hand: Detection | None, view: View | None) -> dict[str, Any]:
    """One picture's values of all fields."""
    row: dict[str, Any] = {name: np.full(shape, np.nan) for name, shape in SHAPES.items()}
    row |= {
        "sample_id": sample.id,
        "subject": sample.subject or "",
        "is_right": np.bool_(sample.is_right),
        "found": np.bool_(hand is not None),
        "K": sample.K,
        "dist": distortion_array(sample.dist),
        "landmark_outside": np.zeros(21, bool),
    }
    if hand is not None and view is not None:
        row |= {
            "score": np.float64(hand.score),
            "landmarks_px": hand.landmarks_px,
            "landmarks_z_px": hand.landmarks_z_px,
            "landmarks_world": hand.landmarks_world,
            "landmark_conf": hand.confidence,
            "landmark_outside": np.zeros(21, bool) if hand.outside is None else hand.outside,
            "R_cam_view": view.R_cam_view,
        }
    return row


def check_camera(sample: Sample) -> None:
    """Make sure that the picture's camera is known.

    Raises:
        ValueError: If it is not.
    """
    K = sample.K
    known = np.isfinite(K).all() and np.isfinite(sample.dist).all()
    if not known or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise ValueError(
            f"sample {sample.id} of '{sample.dataset}' has no camera (K is {K.tolist()}), and "
            "without one nothing can be placed in 3D; use a data set with intrinsics"
        )


class _Crops:
    """Crops on their way to features, a batch at a time; NaN for pictures without a hand."""

    def __init__(self, backbone: HandBackbone | None, net: KeypointNet | None):
        self.net = net
        self._backbone = backbone
        self._waiting: list[tuple[np.ndarray, Roi] | None] = []
        self._features: list[np.ndarray] = []
        self._keypoints: dict[str, list[np.ndarray]] = {name: [] for name in SEEN_SHAPES}

    def add(self, rgb: UInt8[np.ndarray, "height width 3"], view: View | None) -> None:
        """The next picture; its pixels are not kept beyond its batch."""
        if self._backbone is None:
            return
        self._waiting.append(None if view is None else (crop_of(rgb, view), view.roi))
        if len(self._waiting) == BACKBONE_BATCH:
            self._run(self._backbone)

    def seen(
        self,
    ) -> tuple[
        Float16[np.ndarray, "pictures features"] | None,
        dict[str, np.ndarray] | None,
    ]:
        """Features and keypoints of all that were added."""
        if self._backbone is None:
            return None, None
        if self._waiting:
            self._run(self._backbone)
        features = np.concatenate(self._features)
        if self.net is None:
            return features, None
        return features, {name: np.concatenate(rows) for name, rows in self._keypoints.items()}

    def _run(self, backbone: HandBackbone) -> None:
        count = len(self._waiting)
        features = np.full((count, backbone.num_features), np.nan, np.float16)
        keypoints = {
            name: np.full((count, *shape), np.nan, np.float32)
            for name, shape in SEEN_SHAPES.items()
        }
        rows = [i for i, waiting in enumerate(self._waiting) if waiting is not None]
        if rows:
            crops, rois = zip(*(self._waiting[i] for i in rows), strict=True)  # pyright: ignore
            found, seen = seen_in_crops(backbone, self.net, np.stack(crops), rois)
            features[rows] = found.astype(np.float16)
            for i, one in zip(rows, seen, strict=True):
                for name in SEEN_SHAPES if one is not None else ():
                    keypoints[name][i] = getattr(one, name)
        self._waiting.clear()
        self._features.append(features)
        for name, values in keypoints.items():
            self._keypoints[name].append(values)
