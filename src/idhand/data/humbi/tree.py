"""A HUMBI folder as a `Tree`: its protocols' lists, its crops as a data set, its faults."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from idhand.assets.mano_tips import TipConvention, with_tips
from idhand.data.humbi.layout import HandShot, Layout, is_inside, scan, subject_folders
from idhand.data.humbi.samples import HumbiData, read_label, view_fault, world_hand
from idhand.data.humbi.text import REMEDY, HumbiCamera, read_cameras, read_numbers, read_projections
from idhand.data.picture_files import picture_fault
from idhand.data.sample_list import Count, Part, SampleList
from idhand.data.trees import LabelHands, TreeReport
from idhand.hand import FittableHand
from idhand.records import FLIP

KIND = "humbi"
PAPER, BOTH = "paper-humbi", "humbi"
"""Protocols: right hands as Kong et al. take them (ECCV 2022, their fifth split); the same people
with both hands."""
LEFT_OUT = (52,)
"""Subjects that the paper leaves out; their folders of pictures are empty."""
TRAIN_PART, SHUFFLE_SEED = 0.9, 0
NUM_RIGHT_CROPS = 525_366
"""Of right hands in Kong et al.'s copy."""
TIPS: TipConvention = "freihand"
EXPECTED_APART_MM = 1.0
PROJECTION_TOLERANCE = 1e-3
"""Largest relative difference between `project.txt` and K R [I | −C]."""
NUM_VERTS = 778


def open_humbi(root: Path) -> "Humbi | None":
    """The tree in a folder; None if there is none of HUMBI's.

    Raises:
        ValueError: If the folder is above the root or inside of it.
    """
    if subject_folders(root):
        return Humbi(root)
    if is_inside(root.resolve()):
        raise ValueError(
            f"{root} is a part of HUMBI; name the folder that holds all subjects' folders"
        )
    below = [f for f in sorted(root.iterdir()) if f.is_dir() and subject_folders(f)]
    if below:
        raise ValueError(f"{root} is above HUMBI's root; name {below[0]}")
    return None


class Humbi:
    """HUMBI's hand session on disk. What is there is looked at when it is first needed.

    Args:
        root: Folder of the subjects' folders, or of the bundles that they come in.
    """

    def __init__(self, root: Path):
        self.root = root

    def __repr__(self) -> str:
        return f"Humbi('{self.root}')"

    @property
    def kind(self) -> str:
        """`humbi`."""
        return KIND

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of its protocols."""
        return (PAPER, BOTH)

    @cached_property
    def layout(self) -> Layout:
        """Which files are there."""
        return scan(self.root)

    def lists(self, protocol: str, *, partial: bool = False) -> Mapping[Part, SampleList]:
        """See `Tree.lists`: people with crops of right hands, shuffled; nine of ten train.

        What the release holds is not known to the last subject, so no tree counts as incomplete.
        """
        if protocol not in self.protocols:
            raise ValueError(
                f"HUMBI has no protocol '{protocol}'; it has {', '.join(self.protocols)}"
            )
        people = sorted({s.subject for s in self.layout.shots if s.is_right} - set(LEFT_OUT))
        random.Random(SHUFFLE_SEED).shuffle(people)
        num_train = int(TRAIN_PART * len(people))
        parts: tuple[tuple[Part, list[int]], ...] = (
            ("train", people[:num_train]),
            ("test", people[num_train:]),
        )
        return {part: self._list(protocol, part, set(own)) for part, own in parts if own}

    def _list(self, protocol: str, part: Part, people: set[int]) -> SampleList:
        ids: list[str] = []
        problems: list[str] = []
        shots = [s for s in self.layout.shots if s.subject in people]
        if protocol == PAPER:
            shots = [shot for shot in shots if shot.is_right]
        cameras_of: dict[int, Mapping[int, HumbiCamera]] = {}
        for shot in shots:
            if shot.subject not in cameras_of:
                cameras_of[shot.subject] = self._cameras(shot.subject, problems)
            ids += _usable(shot, cameras_of[shot.subject], problems)
        counts = (
            Count(what="people", found=len(people)),
            Count(what="pictures", found=len(ids)),
        )
        problems = [*self.layout.problems, *problems] if part == "train" else problems
        return SampleList(
            protocol=protocol, part=part, ids=tuple(ids), counts=counts, problems=tuple(problems)
        )

    def _cameras(self, subject: int, problems: list[str]) -> Mapping[int, HumbiCamera]:
        """A subject's cameras; none if their files cannot be read, which is told."""
        try:
            cameras, faults = read_cameras(self.layout.subjects[subject])
        except (ValueError, FileNotFoundError) as error:
            problems.append(f"{error}; pictures of subject_{subject} are left out")
            return {}
        problems += faults
        return cameras

    def data(
        self, chosen: SampleList, hands: LabelHands | None = None, *, masks: bool = False
    ) -> HumbiData:
        """See `Tree.data`.

        Args:
            chosen: Of this tree.
            hands: For pose and shape.
            masks: HUMBI's hands have none.

        Raises:
            ValueError: If a picture of the list is not here, or a label cannot be used.
        """
        return HumbiData.of(self, chosen, _with_tips(hands or LabelHands()))

    def check(self, *, deep: bool = False, hands: LabelHands | None = None) -> TreeReport:
        """See `Tree.check`."""
        layout, problems = self.layout, list(self.layout.problems)
        sides = {True: 0, False: 0}
        for shot in layout.shots:
            sides[shot.is_right] += len(shot.crops)
        counts = (
            Count(what="subjects", found=len(layout.subjects)),
            Count(what="hands with picture and label", found=len(layout.shots)),
            Count(what="crops in lists", found=layout.num_crops),
            Count(what="usable crops of right hands", found=sides[True], expected=NUM_RIGHT_CROPS),
            Count(what="usable crops of left hands", found=sides[False]),
        )
        notes = []
        for subject in layout.subjects:
            cameras = self._cameras(subject, problems)
            problems += _projection_faults(layout.subjects[subject], cameras)
        if deep:
            problems += _read_all(layout)
            for is_right, side in ((True, "right"), (False, "left")):
                apart = _agreement(layout, _with_tips(hands or LabelHands()), is_right)
                if apart is None:
                    continue
                notes.append(f"Vertices of {side} hands are at most {apart:.3f} mm from the model.")
                if apart > EXPECTED_APART_MM:
                    problems.append(
                        f"{self.root}: vertices of {side} hands are up to {apart:.1f} mm from the "
                        "hand model's; take the MANO files as they are shipped"
                    )
        else:
            notes.append("Labels and pictures were not opened; --deep reads them all.")
        return TreeReport(counts=counts, problems=tuple(problems), notes=tuple(notes))


def _with_tips(hands: LabelHands) -> LabelHands:
    """The models with the fingertips of the keypoints."""

    def own(model: FittableHand | None) -> FittableHand | None:
        return None if model is None else with_tips(model, TIPS)

    return replace(hands, right=own(hands.right), left=own(hands.left))


def _usable(
    shot: HandShot, cameras: Mapping[int, HumbiCamera], problems: list[str]
) -> Iterator[str]:
    """Ids of a hand's crops that can show it; a sentence on the others."""
    try:
        label = read_label(shot)
    except (ValueError, FileNotFoundError) as error:
        problems.append(f"{error}; {len(shot.crops)} pictures are left out")
        return
    faults: dict[str, int] = {}
    for crop in shot.crops:
        camera = cameras.get(crop.camera)
        fault = "of a camera that is not known"
        if camera is not None:
            fault = view_fault(label, camera, crop.from_whole @ camera.K)
        if fault is None:
            yield f"{shot.name}/{crop.camera:07d}"
        else:
            faults[fault] = faults.get(fault, 0) + 1
    for fault, number in faults.items():
        problems.append(f"{shot.folder}: {number} pictures whose hand is {fault} are left out")


def _projection_faults(folder: Path, cameras: Mapping[int, HumbiCamera]) -> Iterator[str]:
    """Whether `project.txt`, if it is there, says the same as the other two camera files."""
    if not (folder / "project.txt").is_file():
        return
    try:
        stated = read_projections(folder)
    except ValueError as error:
        yield str(error)
        return
    for number, camera in cameras.items():
        if number not in stated:
            continue
        centre = -camera.R @ camera.centre_m
        ours = camera.K @ np.concatenate((camera.R, centre[:, None]), 1)
        theirs = stated[number]
        theirs = theirs * (np.linalg.norm(ours) / max(np.linalg.norm(theirs), 1e-300))
        if np.abs(ours - theirs).max() > PROJECTION_TOLERANCE * np.abs(ours).max():
            yield (
                f"{folder / 'project.txt'}: camera {number} is another one than in intrinsic.txt "
                f"and extrinsic.txt; {REMEDY}"
            )


def _read_all(layout: Layout) -> Iterator[str]:
    """What is wrong with labels and with the ends of the pictures' files."""
    for shot in layout.shots:
        try:
            read_label(shot)
        except (ValueError, FileNotFoundError) as error:
            yield str(error)
        for crop in shot.crops:
            fault = picture_fault(shot.picture_path(crop.camera))
            if fault:
                yield f"{fault}; {REMEDY}"


def _agreement(layout: Layout, hands: LabelHands, is_right: bool) -> float | None:
    """Largest distance of a side's labelled vertices to the model's, mm; None if not known."""
    model, apart = hands.of_side(is_right), None
    for shot in layout.shots:
        path = shot.label_path("vertices")
        if model is None or shot.is_right != is_right or not path.is_file():
            continue
        try:
            hand = world_hand(shot, read_label(shot), hands)
            labelled = read_numbers(path, 3 * NUM_VERTS).reshape(-1, 3)
        except (ValueError, FileNotFoundError):
            continue  # told by `_read_all` if it is a label's fault
        assert hand is not None
        side = np.ones(3) if is_right else FLIP
        R, wrist = torch.from_numpy(hand.rotations), torch.from_numpy(hand.wrist * side)
        verts = model.with_shape(torch.from_numpy(hand.betas)).posed(R, wrist).verts.numpy()
        off = 1e3 * float(np.linalg.norm(verts * side - labelled, axis=1).max())
        apart = off if apart is None else max(apart, off)
    return apart
