"""What a method predicts for each picture of a data set, on disk: one NAME.npz, nothing pickled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from idhand.files import FileKind, read_headed_arrays, replacing

KIND = FileKind(
    format="idhand predictions",
    version=1,
    name="predictions file of idhand",
    remedy="predict again",
)
ROTATION_TOLERANCE = 1e-2
"""How far R Rᵀ may be from the identity: float16 stays below, other matrices do not."""

TEXTS = ("sample_id", "subject")
ALWAYS = (*TEXTS, "is_right", "found", "K")
"""What every file has."""
ARRAYS: Mapping[str, tuple[int, ...]] = {
    "is_right": (),
    "found": (),
    "K": (3, 3),
    "rotations": (16, 3, 3),
    "betas": (-1,),
    "betas_cov": (-1, -1),
    "wrist_cam": (3,),
    "verts_cam": (-1, 3),
    "confidence": (),
    "points_px": (21, 2),
    "points_conf": (21,),
    "points_offsets": (21, 3),
}
"""Field → shape of one picture's; −1 is any length."""
KINDS = {"is_right": "b", "found": "b"}
"""NumPy's kind of number where it is not floating point."""

Kind = Literal["poses", "meshes", "points"]
"""What a method predicts: a hand model's pose and shape, vertices without parameters, or keypoints
in the picture alone."""
KIND_NAMES: Mapping[Kind, str] = {
    "poses": "poses and shapes of a hand model",
    "meshes": "meshes alone (vertices without pose and shape)",
    "points": "points in the picture alone",
}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One hand per picture as a method sees it; a picture without a hand found stays as a row.

    Left hands as everywhere: `rotations` and `betas` are those of the mirrored right hand,
    everything in the picture or the camera is the real hand's. Where `found` is False the
    method's numbers mean nothing and may be NaN; everywhere else they are finite.
    """

    header: dict[str, str]
    """What made them: `method` and, but for points alone, `model` (name of the hand model); also
    `commit`, `dataset` and whatever else is worth noting."""
    sample_id: tuple[str, ...]
    """`Sample.id` of each picture; no two alike."""
    subject: tuple[str, ...]
    """The person in each picture; empty where unknown, in memory and on disk."""
    is_right: Bool[np.ndarray, " pictures"]
    """The side that the method took the hand for."""
    found: Bool[np.ndarray, " pictures"]
    """Whether the method found a hand at all."""
    K: Float[np.ndarray, "pictures 3 3"]
    """Intrinsics that the method assumed, px; NaN is allowed where only points are predicted."""
    rotations: Float[np.ndarray, "pictures 16 3 3"] | None = None
    """Each joint relative to its parent, the wrist's to the camera. None of meshes and points."""
    betas: Float[np.ndarray, "pictures betas"] | None = None
    betas_cov: Float[np.ndarray, "pictures betas betas"] | None = None
    wrist_cam: Float[np.ndarray, "pictures 3"] | None = None
    """Metres. None: the method predicts no position, only orientation and form."""
    verts_cam: Float[np.ndarray, "pictures verts 3"] | None = None
    """Of a method that predicts nothing but a mesh, metres. Without `wrist_cam` in the model's
    frame with the camera's axes: translation removed and nothing else."""
    confidence: Float[np.ndarray, " pictures"] | None = None
    """Larger is better, unbounded."""
    points_px: Float[np.ndarray, "pictures 21 2"] | None = None
    """Seen in the picture. The header's `points` says whose: `keypoints` of the hand model, marked
    by a network; other points that a `hand net` marks, see `points_offsets`; without it the
    landmark net's."""
    points_conf: Float[np.ndarray, "pictures 21"] | None = None
    points_offsets: Float[np.ndarray, "pictures 21 3"] | None = None
    """Where a hand net's points lie on the hand model, see `idhand.nets.marks.Marks.offsets`."""

    def __post_init__(self):
        _check_header(self.header, is_points=self.kind == "points")
        _check_rows(_texts(self), _arrays(self))

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def model(self) -> str:
        """Name of the hand model; empty of points alone, which belong to none."""
        return self.header.get("model", "")

    @property
    def kind(self) -> Kind:
        """What the method predicts."""
        if self.rotations is not None:
            return "poses"
        return "points" if self.verts_cam is None else "meshes"

    @property
    def has_keypoints_px(self) -> bool:
        """Whether there are points in the picture that count as the hand model's keypoints."""
        return self.points_px is not None and self.points_offsets is None

    def check_poses(self, purpose: str) -> None:
        """Make sure that there are poses and shapes.

        Args:
            purpose: What needs them, as the beginning of a sentence: "refinement".

        Raises:
            ValueError: If the predictions are meshes or points alone.
        """
        if self.kind != "poses":
            raise ValueError(
                f"'{self.method}' predicts {KIND_NAMES[self.kind]}, and {purpose} needs "
                f"{KIND_NAMES['poses']} (rotations and betas); name a method that predicts them"
            )

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.header["method"]

    def select(self, indices: Sequence[int] | Int[np.ndarray, " chosen"]) -> "Predictions":
        """These pictures, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        texts = {
            name: tuple(value[index] for index in chosen) for name, value in _texts(self).items()
        }
        arrays = {name: value[chosen] for name, value in _arrays(self).items()}
        return replace(self, **texts, **arrays)

    def by_subject(self) -> dict[str, "Predictions"]:
        """Each person's pictures, people in the order in which they first appear.

        Raises:
            ValueError: If the person of some picture is not known.
        """
        if "" in self.subject:
            raise ValueError(
                f"'{self.method}' was run on pictures of which {self.subject.count('')} of "
                f"{len(self):,} do not say whose hand they show; take data that names its subjects"
            )
        rows: dict[str, list[int]] = {}
        for index, subject in enumerate(self.subject):
            rows.setdefault(subject, []).append(index)
        return {subject: self.select(indices) for subject, indices in rows.items()}

    def save(self, path: str | Path) -> None:
        """Write the file; one of that name is replaced in one step. The same rows, the same bytes.

        Raises:
            ValueError: If the name does not end in .npz.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"{path}: predictions are .npz files; give a name that ends in .npz")
        about = {**KIND.header, "header": self.header}
        text = json.dumps(about, sort_keys=True, ensure_ascii=True)
        texts: dict[str, Any] = {name: np.array(v, dtype=str) for name, v in _texts(self).items()}
        about_bytes = np.frombuffer(text.encode(), np.uint8)
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, header=about_bytes, **{**texts, **_arrays(self)})

    @staticmethod
    def load(path: str | Path) -> "Predictions":
        """Read a file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is not a predictions file, is damaged, or has another version.
        """
        path = Path(path)
        about, arrays = read_headed_arrays(path, KIND)
        stored = {name: np.atleast_1d(array) for name, array in arrays.items()}
        missing = [name for name in ALWAYS if name not in stored]
        if missing:
            raise ValueError(f"{path} cannot be used: it has no {missing[0]}; predict again")
        odd = [name for name in TEXTS if stored[name].dtype.kind != "U"]
        if odd:
            raise ValueError(
                f"{path} cannot be used: {odd[0]} is not a list of text; predict again"
            )
        values = {name: array for name, array in stored.items() if name in ARRAYS}
        texts: dict[str, Any] = {name: tuple(stored[name].tolist()) for name in TEXTS}
        try:
            is_points = not values.keys() & {"rotations", "verts_cam"}
            _check_header(about.get("header"), is_points=is_points)
            _check_rows(texts, values)
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error
        return Predictions(header=about["header"], **{**texts, **values})


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of different pictures by one method, one after another.

    Raises:
        ValueError: If there are none, or they differ in header or fields, or share a picture.
    """
    if not parts:
        raise ValueError("there are no predictions to combine; give at least one part")
    first = parts[0]
    for part in parts[1:]:
        if part.header != first.header:
            raise ValueError(f"headers differ: {part.header} and {first.header}; keep them apart")
        if _arrays(part).keys() != _arrays(first).keys():
            odd = sorted(_arrays(part).keys() ^ _arrays(first).keys())
            raise ValueError(f"only some parts have {', '.join(odd)}; predict all in one way")
    texts = {name: tuple(chain(*(_texts(part)[name] for part in parts))) for name in TEXTS}
    arrays = {
        name: np.concatenate([_arrays(part)[name] for part in parts]) for name in _arrays(first)
    }
    return replace(first, **texts, **arrays)


def _texts(predictions: Predictions) -> dict[str, tuple[str, ...]]:
    return {name: getattr(predictions, name) for name in TEXTS}


def _arrays(predictions: Predictions) -> dict[str, np.ndarray]:
    """The arrays that are not None."""
    names = (field.name for field in fields(predictions) if field.name in ARRAYS)
    values = {name: getattr(predictions, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _check_header(header: Any, *, is_points: bool) -> None:
    """A flat table of text with the names that everything else needs."""
    flat = isinstance(header, dict) and all(isinstance(v, str) for v in chain(*header.items()))
    needed = ("method",) if is_points else ("model", "method")
    missing = [name for name in needed if not flat or name not in header]
    if missing:
        raise ValueError(
            f"the header {header!r} is not a table of text with {' and '.join(missing)}; "
            "say which hand model and which method made the predictions"
        )


def _check_rows(texts: Mapping[str, tuple[str, ...]], arrays: Mapping[str, np.ndarray]) -> None:
    """See that fields from outside are rows of one set of pictures.

    Raises:
        ValueError: If they do not fit together, or hold numbers that cannot be.
    """
    names = texts["sample_id"]
    if len(set(names)) != len(names):
        raise ValueError("some sample_id occurs twice; give one row for each picture")
    for name, value in {**texts, **arrays}.items():
        if len(value) != len(names):
            raise ValueError(
                f"{name} has {len(value)} rows, sample_id has {len(names)}; "
                "give one row for each picture"
            )
    for name, array in arrays.items():
        _check_row_shape(name, array)
    if ("rotations" in arrays) != ("betas" in arrays):
        raise ValueError("rotations and betas belong together; give both or neither")
    if "rotations" in arrays and "verts_cam" in arrays:
        raise ValueError("give either rotations and betas, or verts_cam of a mesh-only method")
    if not arrays.keys() & {"rotations", "verts_cam", "points_px"}:
        raise ValueError(
            "there is nothing predicted; give rotations and betas, verts_cam of a mesh-only "
            "method, or points_px of one that finds keypoints in the picture alone"
        )
    if "points_offsets" in arrays and "points_px" not in arrays:
        raise ValueError("points_offsets say where points_px lie on the hand; give both")
    if "betas_cov" in arrays:
        num_betas = arrays["betas"].shape[1] if "betas" in arrays else 0
        if arrays["betas_cov"].shape[1:] != (num_betas, num_betas):
            raise ValueError(
                f"betas_cov has rows of shape {arrays['betas_cov'].shape[1:]}, and there are "
                f"{num_betas} betas"
            )
    _check_numbers(names, arrays["found"], arrays)


def _check_row_shape(name: str, array: np.ndarray) -> None:
    """One picture's part of a field is what `ARRAYS` says."""
    row, want, kind = array.shape[1:], ARRAYS[name], KINDS.get(name, "f")
    same_axes = len(row) == len(want)
    if (
        same_axes
        and array.dtype.kind == kind
        and all(length in (-1, got) for got, length in zip(row, want, strict=True))
    ):
        return
    numbers = {"b": "yes and no (bool)", "f": "real numbers"}[kind]
    lengths = " x ".join("any" if length < 0 else str(length) for length in want)
    raise ValueError(
        f"{name} has rows of {array.dtype} and shape {row}; rows of {numbers} are needed, "
        f"{lengths or 'one value'} each"
    )


def _check_numbers(
    names: Sequence[str], found: Bool[np.ndarray, " pictures"], arrays: Mapping[str, np.ndarray]
) -> None:
    """Where a hand was found, all numbers are finite and rotations are rotations."""

    def refuse(bad: Bool[np.ndarray, " pictures"], fault: str) -> None:
        if bad.any():
            raise ValueError(
                f"{fault} in {int(bad.sum())} of {len(names)} pictures (first: "
                f"{names[int(bad.argmax())]}); mark pictures without a hand as found=False"
            )

    is_points = not arrays.keys() & {"rotations", "verts_cam"}
    for name, array in arrays.items():
        if name == "K" and is_points:  # nothing was assumed of the camera
            continue
        finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        refuse(found & ~finite, f"{name} is not finite")
    if "rotations" in arrays:
        seen = found[:, None, None, None]
        R = np.where(seen, arrays["rotations"], np.eye(3)).astype(np.float64)
        off = np.abs(R @ R.swapaxes(-1, -2) - np.eye(3)).max((1, 2, 3))
        bad = (off > ROTATION_TOLERANCE) | (np.linalg.det(R) < 0).any(1)
        refuse(bad, "rotations contain a matrix that is not a rotation")
