"""What is there of DexYCB, what is missing or damaged, and whether labels and models agree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from idhand.data.dexycb.calibration import (
    read_betas,
    read_extrinsics,
    read_intrinsics,
)
from idhand.data.dexycb.labels import MAX_MEMBER_BYTES, SequenceLabels, read_members
from idhand.data.dexycb.layout import (
    CALIBRATION,
    NUM_SEQUENCES,
    NUM_SUBJECTS,
    POSE,
    REMEDY,
    SERIALS,
    Sequence,
    gaps,
)
from idhand.data.dexycb.poses import placed_hands
from idhand.data.picture_files import picture_fault
from idhand.data.sample_list import Count
from idhand.data.trees import LabelHands, TreeReport
from idhand.geometry import project
from idhand.records import FLIP

if TYPE_CHECKING:
    from idhand.data.dexycb.tree import DexYcb

NUM_PICTURES, NUM_LABELLED, NUM_RIGHT = 581_968, 508_384, 501
"""Of the release: pictures, labelled hands, sequences with right hands. Chao et al., 2021."""
LABELLED_OF_SIDE = {True: 254_000, False: 254_384}
EXPECTED_APART_MM = 1.0
"""Labels and the joints of the model that they were fitted with."""
EXPECTED_APART_PX = 0.1
"""`joint_2d` and the projection of `joint_3d`."""
BLOCK = 2048
"""Hands that are posed at once."""


def check(tree: "DexYcb", *, deep: bool, hands: LabelHands | None) -> TreeReport:
    """See `Tree.check`.

    Args:
        tree: What to look at.
        deep: Also read all labels, the pictures' first and last bytes, and compare.
        hands: The hand models of the labels.
    """
    layout = tree.layout
    problems = [*_missing_folders(tree), *layout.problems]
    for sequence in layout.sequences:
        problems += gaps(tree.root, sequence, range(len(SERIALS)))
    problems += _calibration_faults(tree)
    counts = _counts(tree)
    notes: list[str] = []
    if deep:
        found = _Deep(tree=tree, hands=hands or LabelHands())
        found.read()
        counts += found.counts()
        notes += found.notes()
        problems += found.problems
    else:
        notes.append("Labels and pictures were not opened; --deep reads them all.")
    return TreeReport(counts=tuple(counts), problems=tuple(problems), notes=tuple(notes))


def _counts(tree: "DexYcb") -> list[Count]:
    sequences = tree.layout.sequences
    num_right = sum(s.is_right for s in sequences)
    total = NUM_SUBJECTS * NUM_SEQUENCES
    return [
        Count(what="subjects", found=len({s.subject for s in sequences}), expected=NUM_SUBJECTS),
        Count(what="sequences", found=len(sequences), expected=total),
        Count(what="sequences of right hands", found=num_right, expected=NUM_RIGHT),
        Count(
            what="sequences of left hands",
            found=len(sequences) - num_right,
            expected=total - NUM_RIGHT,
        ),
        Count(
            what="pictures",
            found=int(sum(s.pictures.sum() for s in sequences)),
            expected=NUM_PICTURES,
        ),
        Count(
            what="files of labels",
            found=int(sum(s.labels.sum() for s in sequences)),
            expected=NUM_PICTURES,
        ),
    ]


def _missing_folders(tree: "DexYcb") -> Iterator[str]:
    lacking = tree.layout.missing_sequences()
    absent = [name for name, n in lacking.items() if n == NUM_SEQUENCES]
    if absent:
        yield f"{tree.root} has nothing of {', '.join(absent)}; unpack the subject's archive"
    for name, n in lacking.items():
        if n > NUM_SEQUENCES - 1:
            continue
        yield (
            f"{tree.root} has {NUM_SEQUENCES - n} usable sequences of {name} instead of "
            f"{NUM_SEQUENCES}; unpack its archive again"
        )


def _calibration_faults(tree: "DexYcb") -> Iterator[str]:
    """What cannot be read of the calibration that the sequences name."""
    folder = tree.root / CALIBRATION
    if not folder.is_dir():
        yield f"{folder} is missing; unpack the archive `calibration` beside the subjects' folders"
        return
    sequences = tree.layout.sequences
    jobs = [(read_intrinsics, serial) for serial in SERIALS]
    jobs += [(read_extrinsics, name) for name in sorted({s.extrinsics for s in sequences})]
    jobs += [(read_betas, name) for name in sorted({s.mano_calib for s in sequences})]
    for read, name in jobs:
        try:
            read(tree.root, name)
        except (ValueError, FileNotFoundError) as error:
            yield str(error)


@dataclass(kw_only=True)
class _Agreement:
    """How far labels are from the model's joints, of one subject and side."""

    largest_mm: float = 0.0
    where: str = ""


@dataclass(kw_only=True)
class _Deep:
    """What is found by reading everything."""

    tree: "DexYcb"
    hands: LabelHands
    problems: list[str] = field(default_factory=list)
    num_labelled: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    apart: dict[tuple[str, bool], _Agreement] = field(default_factory=dict)
    largest_px: float = 0.0
    num_damaged_pictures: int = 0

    def read(self) -> None:
        """Go through all sequences."""
        intrinsics = self._intrinsics()
        for sequence, labels in self.tree.labels():
            self.problems += labels.problems
            self.num_labelled[sequence.is_right] += int(labels.labelled.sum())
            self._look_at_pictures(sequence)
            self._compare_world(sequence, labels)
            places = np.argwhere(labels.labelled)
            if len(places):
                self._compare_pixels(sequence, labels, intrinsics)
                self._compare_model(sequence, labels)

    def _intrinsics(self) -> dict[int, Float[np.ndarray, "3 3"]]:
        found = {}
        for camera, serial in enumerate(SERIALS):
            try:
                found[camera] = read_intrinsics(self.tree.root, serial)
            except (ValueError, FileNotFoundError):
                continue  # named by the check of the calibration
        return found

    def _look_at_pictures(self, sequence: Sequence) -> None:
        for camera, frame in np.argwhere(sequence.pictures).tolist():
            fault = picture_fault(self.tree.root / f"{sequence.stem('color', camera, frame)}.jpg")
            if fault:
                self.num_damaged_pictures += 1
                self.problems.append(f"{fault}; unpack it again")

    def _compare_world(self, sequence: Sequence, labels: SequenceLabels) -> None:
        """Whether pose.npz has a hand in the very frames whose labels have one."""
        path = self.tree.root / sequence.folder / POSE
        num_frames = sequence.num_frames
        try:
            pose = read_members(path, ("pose_m",), MAX_MEMBER_BYTES * num_frames)["pose_m"]
            if pose.shape != (num_frames, 1, 51):
                raise ValueError(f"{path} has poses of shape {pose.shape}; {REMEDY}")
        except (ValueError, FileNotFoundError) as error:
            self.problems.append(str(error))
            return
        others = np.flatnonzero(pose.any((1, 2)) != labels.labelled.any(0))
        if len(others):
            self.problems.append(
                f"{path} and the files of labels do not have a hand in the same frames "
                f"({len(others)} differ, e.g. {others[0]}); {REMEDY}"
            )

    def _compare_pixels(
        self,
        sequence: Sequence,
        labels: SequenceLabels,
        intrinsics: dict[int, Float[np.ndarray, "3 3"]],
    ) -> None:
        for camera, K in intrinsics.items():
            own = labels.labelled[camera]
            if not own.any():
                continue
            points = torch.from_numpy(labels.joint_3d[camera, own].astype(np.float64))
            apart = project(points, torch.from_numpy(K)).numpy() - labels.joint_2d[camera, own]
            px = np.linalg.norm(apart, axis=-1).max(-1)
            self.largest_px = max(self.largest_px, float(px.max()))
            if px.max() > EXPECTED_APART_PX:
                frame = int(np.flatnonzero(own)[px.argmax()])
                self.problems.append(
                    f"{sequence.stem('labels', camera, frame)}: joint_2d is {px.max():.3g} px from "
                    "the projection of joint_3d; the file or the camera's intrinsics are others"
                )

    def _compare_model(self, sequence: Sequence, labels: SequenceLabels) -> None:
        apart_mm = model_distances_mm(self.tree, sequence, labels, self.hands)
        if apart_mm is None:
            return
        agreement = self.apart.setdefault((sequence.name, sequence.is_right), _Agreement())
        if apart_mm.max() > agreement.largest_mm:
            camera, frame = np.argwhere(labels.labelled)[apart_mm.argmax()].tolist()
            agreement.largest_mm = float(apart_mm.max())
            agreement.where = sequence.stem("labels", camera, frame)

    def counts(self) -> list[Count]:
        """Of labelled hands."""
        return [
            Count(
                what="labelled hands", found=sum(self.num_labelled.values()), expected=NUM_LABELLED
            ),
            *(
                Count(
                    what=f"labelled {side} hands",
                    found=self.num_labelled[k],
                    expected=LABELLED_OF_SIDE[k],
                )
                for side, k in (("right", True), ("left", False))
            ),
            Count(what="damaged pictures", found=self.num_damaged_pictures, expected=0),
        ]

    def notes(self) -> list[str]:
        """How labels, models and cameras agree; disagreement goes to the problems."""
        notes = [f"joint_2d is at most {self.largest_px:.3g} px from the projection of joint_3d."]
        if not self.apart:
            notes.append(
                "No hand model was given, so labels were not compared with one; --mano does."
            )
        for (name, is_right), agreement in sorted(self.apart.items()):
            side = "right" if is_right else "left"
            text = (
                f"{name}, {side}: joint_3d is at most {agreement.largest_mm:.3g} mm from the "
                f"model's joints ({agreement.where})"
            )
            if agreement.largest_mm > EXPECTED_APART_MM:
                self.problems.append(
                    f"{text}; less than {EXPECTED_APART_MM:g} mm is expected: the hand model or "
                    "the subject's shape is another one"
                )
            else:
                notes.append(f"{text}.")
        return notes


def model_distances_mm(
    tree: "DexYcb", sequence: Sequence, labels: SequenceLabels, hands: LabelHands
) -> Float[np.ndarray, " labelled"] | None:
    """Largest distance of `joint_3d` to the model's joints, of each labelled hand of a sequence.

    None where the model or the subject's shape is not known.
    """
    model = hands.of_side(sequence.is_right)
    if model is None:
        return None
    try:
        betas = read_betas(tree.root, sequence.mano_calib)
    except (ValueError, FileNotFoundError):
        return None  # named by the check of the calibration
    hand = model.with_shape(torch.from_numpy(betas))
    flip = np.ones(3) if sequence.is_right else FLIP.copy()
    pose = labels.pose_m[labels.labelled].astype(np.float64)
    joints = []
    for start in range(0, len(pose), BLOCK):
        block = pose[start : start + BLOCK]
        shapes = np.tile(betas, (len(block), 1))
        placed = placed_hands(model, block, shapes, is_right=sequence.is_right)
        wrists = placed.wrist_cam * torch.from_numpy(flip)
        joints.append(hand.posed(placed.rotations, wrists).keypoints.numpy() * flip)
    apart = np.concatenate(joints) - labels.joint_3d[labels.labelled]
    return 1e3 * np.linalg.norm(apart, axis=-1).max(-1)
