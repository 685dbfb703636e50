"""HUMBI's crops with their labels as a `DataSet`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from idhand.assets.mano_parameters import ManoParameters, from_mano
from idhand.data.dataset import ReadOneByOne, without_pixels
from idhand.data.humbi.layout import HandShot
from idhand.data.humbi.text import (
    CROP_PX,
    MAX_PARAM,
    NUM_PARAMS,
    REMEDY,
    HumbiCamera,
    read_cameras,
    read_numbers,
)
from idhand.data.picture_files import read_picture
from idhand.data.sample_list import SampleList
from idhand.data.trees import LabelHands
from idhand.records import FLIP, Sample

if TYPE_CHECKING:
    from idhand.data.humbi.tree import Humbi

DATASET = "humbi"
NUM_COEFFICIENTS = 20
MAX_BOX = 4.0
"""Of a hand's box, in sides of the crop: what is larger is no hand before the camera."""


@dataclass(frozen=True, kw_only=True)
class HandLabel:
    """A fitted hand, in the world."""

    params: Float[np.ndarray, " 36"]
    keypoints: Float[np.ndarray, "21 3"]


@dataclass(frozen=True, kw_only=True)
class WorldHand:
    """The same in our terms."""

    model: str
    betas: Float[np.ndarray, " 10"]
    rotations: Float[np.ndarray, "16 3 3"]
    """The wrist's to the world; of left hands those of the mirrored one."""
    wrist: Float[np.ndarray, " 3"]
    """Of the real hand."""


def read_label(shot: HandShot) -> HandLabel:
    """A hand's fitted parameters and joints.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged, or its numbers cannot be a hand's.
    """
    path = shot.label_path("mano_params")
    params = read_numbers(path, NUM_PARAMS)
    if np.abs(params).max() > MAX_PARAM:
        raise ValueError(f"{path} has the number {np.abs(params).max():.3g}; {REMEDY}")
    return HandLabel(
        params=params,
        keypoints=read_numbers(shot.label_path("keypoints"), 63).reshape(21, 3),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class HumbiData(ReadOneByOne):
    """Crops of a list as pictures of their own, with labels from memory."""

    root: Path
    chosen: SampleList
    shots: tuple[HandShot, ...]
    labels_of: tuple[HandLabel, ...]
    """Of each hand."""
    hands_of: tuple[WorldHand | None, ...]
    """Of each hand; None where its side has no hand model."""
    cameras_of: dict[int, dict[int, HumbiCamera]]
    """Subject → id → camera."""
    places: Int[np.ndarray, "samples 2"]
    """Number of the hand, and of its crop."""

    @staticmethod
    def of(tree: "Humbi", chosen: SampleList, hands: LabelHands) -> "HumbiData":
        """See `Humbi.data`."""
        shots, places = _places(tree, chosen)
        labels = tuple(read_label(shot) for shot in shots)
        folders = tree.layout.subjects
        return HumbiData(
            root=tree.root,
            chosen=chosen,
            shots=shots,
            labels_of=labels,
            hands_of=tuple(
                world_hand(shot, label, hands) for shot, label in zip(shots, labels, strict=True)
            ),
            cameras_of={s: read_cameras(folders[s])[0] for s in {shot.subject for shot in shots}},
            places=places,
        )

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        about = f"{self.chosen.protocol} {self.chosen.part}"
        return f"HumbiData('{self.root}', {about}: {len(self):,} samples)"

    def _read(self, row: int) -> Sample:
        return self._sample(row, read_picture(self.picture_path(row), CROP_PX, CROP_PX))

    def picture_path(self, index: int) -> Path:
        """The file of a sample's picture."""
        number, crop = self.places[index].tolist()
        shot = self.shots[number]
        return shot.picture_path(shot.crops[crop].camera)

    def _read_label(self, row: int) -> Sample:
        return self._sample(row, _NO_PICTURE)

    def sequences(self) -> list[list[int]]:
        """Every picture is single: times are far apart, and unevenly so.

        A sample's `sequence` still says which crops show the hand at the same time, by other
        cameras: all but its last part is alike.
        """
        return [[row] for row in range(len(self))]

    def description(self) -> dict[str, Any]:
        """The protocol's part, its list and the hand models."""
        return {
            "set": DATASET,
            "protocol": self.chosen.protocol,
            "part": self.chosen.part,
            "list": self.chosen.sha256,
            "models": sorted({hand.model for hand in self.hands_of if hand is not None}),
        }

    def fingerprint(self) -> str:
        """Hash of the ids in order, the labels, the cameras and the models' names."""
        digest = hashlib.sha256("\n".join(self.chosen.ids).encode())
        digest.update(repr(self.description()).encode())
        for label in self.labels_of:
            digest.update(label.params.tobytes() + label.keypoints.tobytes())
        for row in range(len(self)):
            K, R, centre = self._camera(row)
            digest.update(K.tobytes() + R.tobytes() + centre.tobytes())
        return digest.hexdigest()

    def _camera(
        self, row: int
    ) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
        """K of a crop, and its camera's rotation and centre."""
        number, place = self.places[row].tolist()
        crop = self.shots[number].crops[place]
        camera = self.cameras_of[self.shots[number].subject][crop.camera]
        return crop.from_whole @ camera.K, camera.R, camera.centre_m

    def _sample(self, row: int, rgb: UInt8[np.ndarray, "250 250 3"]) -> Sample:
        number = int(self.places[row, 0])
        shot, hand = self.shots[number], self.hands_of[number]
        K, R, centre = self._camera(row)
        joints = (self.labels_of[number].keypoints - centre) @ R.T
        points = pixels_of(joints, K)
        rotations = None
        if hand is not None:
            turn = R if shot.is_right else R * FLIP[:, None] * FLIP
            rotations = np.concatenate((turn[None] @ hand.rotations[:1], hand.rotations[1:]))
        sample = Sample(
            rgb=rgb,
            K=K,
            dist=np.zeros(5),
            is_right=shot.is_right,
            bbox_px=np.concatenate((points.min(0), points.max(0))),
            subject=f"subject_{shot.subject}",
            model=None if hand is None else hand.model,
            betas=None if hand is None else hand.betas.copy(),
            rotations=rotations,
            wrist_cam=None if hand is None else R @ (hand.wrist - centre),
            keypoints_px=points,
            keypoints_cam=joints,
            valid=np.ones(21, bool),
            visible=None,
            parts=None,
            dataset=DATASET,
            id=self.chosen.ids[row],
            sequence=self.chosen.ids[row],
            time_s=None,
        )
        return without_pixels(sample) if rgb is _NO_PICTURE else sample


_NO_PICTURE = np.broadcast_to(np.uint8(0), (CROP_PX, CROP_PX, 3))


def pixels_of(
    joints_cam: Float[np.ndarray, "points 3"], K: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "points 2"]:
    """Where points before the camera are seen."""
    seen = joints_cam @ K.T
    return seen[:, :2] / seen[:, 2:]


def view_fault(label: HandLabel, camera: HumbiCamera, K: Float[np.ndarray, "3 3"]) -> str | None:
    """Why a crop cannot show the labelled hand; fits to many views are sometimes far off."""
    joints = (label.keypoints - camera.centre_m) @ camera.R.T
    if joints[:, 2].min() <= 0:
        return "behind the camera"
    points = pixels_of(joints, K)
    if np.ptp(points, axis=0).max() > MAX_BOX * CROP_PX:
        return "far larger than its picture"
    if (points.max(0) < 0).any() or (points.min(0) > CROP_PX - 1).any():
        return "outside its picture"
    return None


def world_hand(shot: HandShot, label: HandLabel, hands: LabelHands) -> WorldHand | None:
    """Pose and shape of a hand in the world."""
    model = hands.of_side(shot.is_right)
    if model is None:
        return None
    shift, turn, coefficients, betas = np.split(label.params, (3, 6, 6 + NUM_COEFFICIENTS))
    parameters = ManoParameters(
        global_orient=torch.from_numpy(turn),
        hand_pose=torch.from_numpy(coefficients),
        betas=torch.from_numpy(betas),
        transl=torch.from_numpy(shift),
        form="pca",
        about_mean=True,
    )
    placed = from_mano(model, parameters, is_right=shot.is_right)
    return WorldHand(
        model=model.name,
        betas=betas,
        rotations=placed.rotations.numpy(),
        wrist=placed.wrist_cam.numpy(),
    )


def _places(
    tree: "Humbi", chosen: SampleList
) -> tuple[tuple[HandShot, ...], Int[np.ndarray, "samples 2"]]:
    """The hands that a list names, and where each sample is.

    Raises:
        ValueError: If the list names what is not here.
    """
    by_name = {shot.name: shot for shot in tree.layout.shots}
    crops_of: dict[str, dict[int, int]] = {}
    numbers: dict[str, int] = {}
    places = np.empty((len(chosen), 2), np.int64)
    for row, sample_id in enumerate(chosen.ids):
        name, _, digits = sample_id.rpartition("/")
        shot = by_name.get(name)
        if shot is not None and name not in crops_of:
            crops_of[name] = {crop.camera: k for k, crop in enumerate(shot.crops)}
        place = crops_of.get(name, {}).get(int(digits) if digits.isdecimal() else -1)
        if place is None:
            raise ValueError(
                f"{tree.root} has no picture {sample_id}; make the list of this tree again"
            )
        places[row] = numbers.setdefault(name, len(numbers)), place
    return tuple(by_name[name] for name in numbers), places
