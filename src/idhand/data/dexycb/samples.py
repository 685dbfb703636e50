"""DexYCB's pictures with their labels as a `DataSet`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from idhand.data.dataset import ReadOneByOne, without_pixels
from idhand.data.dexycb.calibration import read_betas, read_intrinsics
from idhand.data.dexycb.labels import SHAPES, read_parts
from idhand.data.dexycb.layout import FPS, HEIGHT_PX, SERIALS, WIDTH_PX
from idhand.data.dexycb.layout import Sequence as Recording
from idhand.data.dexycb.poses import placed_hands
from idhand.data.picture_files import read_picture
from idhand.data.sample_list import SampleList
from idhand.data.trees import LabelHands
from idhand.records import Sample

if TYPE_CHECKING:
    from idhand.data.dexycb.tree import DexYcb

DATASET = "dexycb"
OFFICIAL = "dexycb-s"
"""How the names of the benchmark's setups begin, whose results have numbers instead of names."""
BLOCK = 1024
"""Poses that are decoded at once."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A subject's hand of one side."""

    model: str
    betas: Float[np.ndarray, " betas"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DexYcbData(ReadOneByOne):
    """Whole pictures of a list, with labels from memory: a `DataSet`."""

    root: Path
    chosen: SampleList
    recordings: tuple[Recording, ...]
    places: Int[np.ndarray, "samples 3"]
    """Number of the recording, camera and frame of each sample."""
    labels_of: dict[str, Float[np.ndarray, "*shape"]]
    """As in the files of labels."""
    intrinsics: dict[int, Float[np.ndarray, "3 3"]]
    """By camera."""
    hands: LabelHands
    shapes: dict[tuple[str, bool], Shape]
    """By the name of the calibration and the side (right: True), which may share one."""
    masks: bool
    first_numbers: dict[str, int]
    """In the toolkit's result files: folder of a sequence's camera → number of its first frame.
    Empty where a protocol has no such files, and for training."""

    @staticmethod
    def of(
        tree: "DexYcb", chosen: SampleList, hands: LabelHands | None, *, masks: bool
    ) -> "DexYcbData":
        """See `DexYcb.data`."""
        hands = hands or LabelHands()
        recordings, places = _places(tree, chosen)
        arrays = {
            name: np.empty((len(places), *shape[1:]), np.float32) for name, shape in SHAPES.items()
        }
        for number, (recording, labels) in enumerate(tree.labels(recordings)):
            rows = np.flatnonzero(places[:, 0] == number)
            cameras, frames = places[rows, 1], places[rows, 2]
            absent = ~(labels.labelled & recording.pictures)[cameras, frames]
            if absent.any():
                name = chosen.ids[rows[absent][0]]
                raise ValueError(
                    f"{tree.root} has no label or no picture for {name}, which the list names; "
                    "make the list again"
                )
            for name, array in arrays.items():
                array[rows] = getattr(labels, name)[cameras, frames]
        cameras = sorted(set(places[:, 1].tolist()))
        calibs = {_shape_key(r) for r in recordings if hands.of_side(r.is_right)}
        return DexYcbData(
            root=tree.root,
            chosen=chosen,
            recordings=recordings,
            places=places,
            labels_of=arrays,
            intrinsics={c: read_intrinsics(tree.root, SERIALS[c]) for c in cameras},
            hands=hands,
            shapes={key: _shape(tree.root, *key, hands) for key in sorted(calibs)},
            masks=masks,
            first_numbers=_first_numbers(tree, chosen),
        )

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        part = f"{self.chosen.protocol} {self.chosen.part}"
        return f"DexYcbData('{self.root}', {part}: {len(self):,} samples)"

    def _read(self, row: int) -> Sample:
        rgb = read_picture(self.picture_path(row), WIDTH_PX, HEIGHT_PX)
        parts = read_parts(self._file(row, "labels", ".npz")) if self.masks else None
        return self._sample(row, rgb, parts, *self._poses(slice(row, row + 1)))

    def picture_path(self, index: int) -> Path:
        """The file of a sample's picture."""
        return self._file(index, "color", ".jpg")

    def _file(self, index: int, kind: str, ending: str) -> Path:
        number, camera, frame = self.places[index].tolist()
        return self.root / f"{self.recordings[number].stem(kind, camera, frame)}{ending}"

    def _read_label(self, row: int) -> Sample:
        return self._sample(row, _NO_PICTURE, None, *self._poses(slice(row, row + 1)))

    def labels(self) -> Iterator[Sample]:
        """See `DataSet.labels`; poses are decoded by blocks."""
        for start in range(0, len(self), BLOCK):
            rotations, wrists = self._poses(slice(start, start + BLOCK))
            for k in range(len(wrists)):
                one = slice(k, k + 1)
                yield self._sample(start + k, _NO_PICTURE, None, rotations[one], wrists[one])

    def sequences(self) -> list[list[int]]:
        """Frames of one camera in one recording, in order."""
        groups: dict[tuple[int, int], list[int]] = {}
        for row, (number, camera, _) in enumerate(self.places.tolist()):
            groups.setdefault((number, camera), []).append(row)
        frames = self.places[:, 2]
        return [sorted(rows, key=frames.__getitem__) for rows in groups.values()]

    def description(self) -> dict[str, Any]:
        """The protocol's part, its list and the hand models."""
        numbers = {"first_numbers": self.first_numbers} if self.first_numbers else {}
        return {
            "set": DATASET,
            "protocol": self.chosen.protocol,
            "part": self.chosen.part,
            "list": self.chosen.sha256,
            "models": sorted({shape.model for shape in self.shapes.values()}),
            "masks": self.masks,
            **numbers,
        }

    def fingerprint(self) -> str:
        """Hash of the ids in order, the labels, the cameras and the shapes."""
        digest = hashlib.sha256("\n".join(self.chosen.ids).encode())
        digest.update(repr((self.description(), sorted(self.shapes))).encode())
        for array in (
            *self.labels_of.values(),
            *self.intrinsics.values(),
            *(self.shapes[name].betas for name in sorted(self.shapes)),
        ):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _poses(
        self, rows: slice
    ) -> tuple[Float[np.ndarray, "rows 16 3 3"], Float[np.ndarray, "rows 3"]]:
        """Rotations and wrists of some samples; NaN where the side has no hand model."""
        pose = self.labels_of["pose_m"][rows].astype(np.float64)
        recordings = [self.recordings[n] for n in self.places[rows, 0].tolist()]
        rotations = np.full((len(pose), 16, 3, 3), np.nan)
        wrists = np.full((len(pose), 3), np.nan)
        for is_right in (True, False):
            model = self.hands.of_side(is_right)
            own = [k for k, recording in enumerate(recordings) if recording.is_right == is_right]
            if own and model is not None:
                betas = np.stack([self.shapes[_shape_key(recordings[k])].betas for k in own])
                placed = placed_hands(model, pose[own], betas, is_right=is_right)
                rotations[own] = placed.rotations.numpy()
                wrists[own] = placed.wrist_cam.numpy()
        return rotations, wrists

    def _sample(
        self,
        row: int,
        rgb: np.ndarray,
        parts: np.ndarray | None,
        rotations: Float[np.ndarray, "1 16 3 3"],
        wrists: Float[np.ndarray, "1 3"],
    ) -> Sample:
        number, camera, frame = self.places[row].tolist()
        recording = self.recordings[number]
        points = self.labels_of["joint_2d"][row].astype(np.float64)
        shape = self.shapes.get(_shape_key(recording))
        sample = Sample(
            rgb=rgb,
            K=self.intrinsics[camera].copy(),
            dist=np.zeros(5),
            is_right=recording.is_right,
            bbox_px=np.concatenate((points.min(0), points.max(0))),
            subject=recording.name,
            model=shape and shape.model,
            betas=None if shape is None else shape.betas.copy(),
            rotations=None if shape is None else rotations[0],
            wrist_cam=None if shape is None else wrists[0],
            keypoints_px=points,
            keypoints_cam=self.labels_of["joint_3d"][row].astype(np.float64),
            valid=np.ones(21, bool),
            visible=None,
            parts=parts,
            dataset=DATASET,
            id=self.chosen.ids[row],
            sequence=f"{recording.folder}/{SERIALS[camera]}",
            time_s=frame / FPS,
        )
        return without_pixels(sample) if rgb is _NO_PICTURE else sample


_NO_PICTURE = np.broadcast_to(np.uint8(0), (HEIGHT_PX, WIDTH_PX, 3))


def _places(
    tree: "DexYcb", chosen: SampleList
) -> tuple[tuple[Recording, ...], Int[np.ndarray, "samples 3"]]:
    """The recordings that a list names, and where each sample is.

    Raises:
        ValueError: If the list names what is not here.
    """
    by_folder = {recording.folder: recording for recording in tree.layout.sequences}
    cameras = {serial: camera for camera, serial in enumerate(SERIALS)}
    numbers: dict[str, int] = {}
    places = np.empty((len(chosen), 3), np.int32)
    for row, name in enumerate(chosen.ids):
        folder, _, file = name.rpartition("/color_")
        folder, _, serial = folder.rpartition("/")
        recording, camera = by_folder.get(folder), cameras.get(serial)
        if recording is None or camera is None or not file.isdecimal():
            raise ValueError(f"{tree.root} has no picture {name}; make the list of this tree again")
        if int(file) >= recording.num_frames:
            raise ValueError(f"{tree.root} has no frame {name}; make the list of this tree again")
        places[row] = numbers.setdefault(folder, len(numbers)), camera, int(file)
    return tuple(by_folder[folder] for folder in numbers), places


def _first_numbers(tree: "DexYcb", chosen: SampleList) -> dict[str, int]:
    """See `DexYcbData.first_numbers`."""
    if chosen.part == "train" or not chosen.protocol.startswith(OFFICIAL):
        return {}
    if tree.layout.missing_sequences():
        return {}
    return tree.official_order(chosen.protocol, chosen.part).first_numbers()


def _shape_key(recording: Recording) -> tuple[str, bool]:
    """Of a recording's hand in `DexYcbData.shapes`."""
    return recording.mano_calib, recording.is_right


def _shape(root: Path, calib: str, is_right: bool, hands: LabelHands) -> Shape:
    """A subject's hand.

    Raises:
        FileNotFoundError: If its calibration is missing.
        ValueError: If it cannot be used.
    """
    model, betas = hands.of_side(is_right), read_betas(root, calib)
    assert model is not None
    return Shape(model=model.name, betas=betas)
