"""FreiHAND's pictures with their labels as a `DataSet`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from idhand.data.dataset import ReadOneByOne, without_pixels
from idhand.data.freihand.labels import FREIHAND_V1_MM, REMEDY, Labels, Poses, Split, poses
from idhand.data.picture_files import read_picture
from idhand.data.sample_list import SampleList
from idhand.hand import FittableHand
from idhand.records import UNPARTED_HAND, Sample

if TYPE_CHECKING:
    from idhand.data.freihand.tree import Freihand

DATASET = "freihand"
SIZE_PX = 224
HAND_ABOVE = 240
"""A mask's pixel is the hand's if its first channel is above: JPEG leaves noise round 0 and 255."""
CENTRE_BOX_PX = np.array([46.5, 46.5, 176.5, 176.5])
"""The central 130 px, where evaluation pictures show their hand. Source: CMR's evaluation."""
NUM_COMPARED = 64
"""Labels that are compared with the hand model before they are used."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a sample is."""

    split: Split
    number: int
    """Of its picture file."""
    base: int
    """Of its labels and its mask."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FreihandData(ReadOneByOne):
    """Whole pictures of a list, with labels from memory."""

    tree: "Freihand"
    chosen: SampleList
    places: tuple[Place, ...]
    labels_of: dict[Split, Labels]
    poses_of: dict[Split, Poses]
    """Of splits whose pose and shape are known; a row for each of `rows_of`."""
    rows_of: dict[Split, Int[np.ndarray, " bases"]]
    """Base → row of `poses_of`; −1 where the list has none of the base's pictures."""
    model: FittableHand | None
    masks: bool

    @staticmethod
    def of(
        tree: "Freihand", chosen: SampleList, model: FittableHand | None, *, masks: bool
    ) -> "FreihandData":
        """See `Freihand.data`."""
        places = tuple(tree.place(name) for name in chosen.ids)
        labels_of: dict[Split, Labels] = {}
        poses_of: dict[Split, Poses] = {}
        rows_of: dict[Split, Int[np.ndarray, " bases"]] = {}
        for split in tree.splits:
            bases = np.unique([place.base for place in places if place.split == split])
            if not len(bases):
                continue
            labels = labels_of[split] = tree.labels(split)
            unusable = bases[~labels.usable[bases]]
            if len(unusable):
                raise ValueError(
                    f"{tree.root}: the labels of {split} picture {unusable[0]}, which the list "
                    f"names, cannot be used; {REMEDY}, or make the list of this tree again"
                )
            if model is None or labels.mano is None:
                continue
            rows_of[split] = np.full(len(labels), -1)
            rows_of[split][bases] = np.arange(len(bases))
            poses_of[split] = poses(labels.mano[bases], labels.K[bases], model)
            _check_model(poses_of[split], labels, bases, model, tree.root)
        return FreihandData(
            tree=tree,
            chosen=chosen,
            places=places,
            labels_of=labels_of,
            poses_of=poses_of,
            rows_of=rows_of,
            model=model,
            masks=masks,
        )

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        about = f"{self.chosen.protocol} {self.chosen.part}"
        return f"FreihandData('{self.tree.root}', {about}: {len(self):,} samples)"

    def _read(self, row: int) -> Sample:
        rgb = read_picture(self.picture_path(row), SIZE_PX, SIZE_PX)
        return self._sample(row, rgb, self._parts(row))

    def picture_path(self, index: int) -> Path:
        """The file of a sample's picture."""
        place = self.places[index]
        return self.tree.picture_path(place.split, place.number)

    def _read_label(self, row: int) -> Sample:
        return self._sample(row, _NO_PICTURE, None)

    def sequences(self) -> list[list[int]]:
        """Every picture is single."""
        return [[row] for row in range(len(self))]

    def description(self) -> dict[str, Any]:
        """The protocol's part, its list and the hand model."""
        return {
            "set": DATASET,
            "protocol": self.chosen.protocol,
            "part": self.chosen.part,
            "list": self.chosen.sha256,
            "models": [] if self.model is None else [self.model.name],
            "masks": self.masks,
        }

    def fingerprint(self) -> str:
        """Hash of the ids in order, the labels and the model's name."""
        digest = hashlib.sha256("\n".join(self.chosen.ids).encode())
        digest.update(repr(self.description()).encode())
        for split, labels in sorted(self.labels_of.items()):
            bases = np.unique([place.base for place in self.places if place.split == split])
            for array in (labels.K, labels.joints, labels.mano):
                digest.update(b"-" if array is None else array[bases].tobytes())
        return digest.hexdigest()

    def _parts(self, row: int) -> UInt8[np.ndarray, "224 224"] | None:
        """The mask, where there is one."""
        place = self.places[row]
        path = self.tree.mask_path(place.base)
        if not self.masks or place.split != "training" or not path.is_file():
            return None
        hand = read_picture(path, SIZE_PX, SIZE_PX)[..., 0] > HAND_ABOVE
        return np.where(hand, UNPARTED_HAND, 0).astype(np.uint8)

    def _sample(
        self,
        row: int,
        rgb: UInt8[np.ndarray, "224 224 3"],
        parts: UInt8[np.ndarray, "224 224"] | None,
    ) -> Sample:
        place = self.places[row]
        labels = self.labels_of[place.split]
        K = labels.K[place.base]
        joints = None if labels.joints is None else labels.joints[place.base].copy()
        points, bbox = np.full((21, 2), np.nan), CENTRE_BOX_PX.copy()
        if joints is not None:
            points = joints @ K[:2].T / joints[:, 2:]
            bbox = np.concatenate((points.min(0), points.max(0)))
        at = self.poses_of.get(place.split)
        pose_row = int(self.rows_of[place.split][place.base]) if at is not None else -1
        sample = Sample(
            rgb=rgb,
            K=K.copy(),
            dist=np.zeros(5),
            is_right=True,
            bbox_px=bbox,
            subject=None,
            model=None if at is None or self.model is None else self.model.name,
            betas=None if at is None else at.betas[pose_row].copy(),
            rotations=None if at is None else at.rotations[pose_row].copy(),
            wrist_cam=None if at is None else at.wrist_cam[pose_row].copy(),
            keypoints_px=points,
            keypoints_cam=joints,
            valid=np.full(21, joints is not None),
            visible=None,
            parts=parts,
            dataset=DATASET,
            id=self.chosen.ids[row],
            sequence=None,
            time_s=None,
        )
        return without_pixels(sample) if rgb is _NO_PICTURE else sample


_NO_PICTURE = np.broadcast_to(np.uint8(0), (SIZE_PX, SIZE_PX, 3))


def distances_mm(
    found: Poses, joints: Float[np.ndarray, "bases 21 3"], model: FittableHand
) -> Float[np.ndarray, " bases"]:
    """Mean distance of the labelled joints to the hand model's 16, which FreiHAND regresses."""
    betas, R, wrist = map(torch.from_numpy, (found.betas, found.rotations, found.wrist_cam))
    verts = model.with_shape(betas).posed(R, wrist).verts
    regressed = (model.joint_regressor @ verts).numpy()
    labelled = joints[:, [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]]
    return 1e3 * np.linalg.norm(regressed - labelled, axis=-1).mean(1)


def _check_model(
    found: Poses,
    labels: Labels,
    bases: Int[np.ndarray, " bases"],
    model: FittableHand,
    root: Path,
) -> None:
    """See that the labels were fitted with this hand model.

    Raises:
        ValueError: If they were not.
    """
    if labels.joints is None:
        return
    rows = np.unique(np.linspace(0, len(bases) - 1, NUM_COMPARED).astype(int))
    some = Poses(
        rotations=found.rotations[rows], betas=found.betas[rows], wrist_cam=found.wrist_cam[rows]
    )
    apart = float(np.median(distances_mm(some, labels.joints[bases[rows]], model)))
    if apart > FREIHAND_V1_MM:
        raise ValueError(
            f"{root}: the labelled joints are {apart:.1f} mm from those of hand model "
            f"'{model.name}'. Labels of version 1 (before October 2019) were fitted with an older "
            "MANO and cannot be used: take FreiHAND v2, and the hand model of its labels"
        )
