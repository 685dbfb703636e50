"""Tables of hands, ours or others' → motions: MANO's numbers, OpenXR's joints, landmarks, ours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int

from idhand.assets import OPEN_HAND
from idhand.assets import hand as hand_named
from idhand.assets.mano_parameters import ManoParameters, PoseForm, from_mano
from idhand.hand import FittableHand
from idhand.predictions import ROTATION_TOLERANCE
from idhand.records import FLIP
from idhand.refinement.landmark_conversion import pose_of_landmarks
from idhand.tracking import hand_name
from idhand.view.export.mano import Frame, Mean, Units, in_frame, mano_here
from idhand.view.export.openxr_reading import openxr_hand
from idhand.view.export.other_models import keypoints_of
from idhand.view.motion import HandMotion

GIVES = {
    "rotations": ("rotations", "wrist_cam", "betas"),
    "hand_pose": ("global_orient", "hand_pose", "betas"),
    "orientations_xyzw": ("positions", "orientations_xyzw"),
    "landmarks": ("landmarks",),
}
"""The column that tells what a table holds → the columns that it must have."""
SHAPES: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "rotations": ((16, 3, 3),),
    "wrist_cam": ((3,),),
    "betas": ((-1,),),
    "global_orient": ((3,), (3, 3), (1, 3), (1, 3, 3)),
    "hand_pose": ((-1,), (15, 3), (15, 3, 3)),
    "transl": ((3,), (1, 3)),
    "positions": ((26, 3),),
    "orientations_xyzw": ((26, 4),),
    "landmarks": ((21, 3),),
}
"""Column → shapes of one row; −1 is any length."""
FORM_OF: Mapping[int, PoseForm] = {45: "axis_angle", 135: "matrices"}
"""Number of a pose's numbers → the form that they are taken for; all others are coefficients."""
_CHAINS = {"landmarks": (0, 9, 10, 11, 12), "positions": (1, 12, 13, 14, 15)}
"""Column → its points from the wrist to the tip of the middle finger."""
CHAIN_M = (0.04, 0.4)
"""Length along these points; beyond lie other units, or pixels, or no hand."""
_ADVICE = {
    "landmarks": "give points in space, not in the picture (MediaPipe's world landmarks), and say "
    "--source-units mm if they are in millimetres",
    "positions": "OpenXR's are in metres",
}
MAX_BETA = 100.0
"""In absolute value; in standard deviations, as betas are, no hand comes near."""
_SAID = {
    "pose": ("pca", "axis_angle", "matrices"),
    "mean": ("flat", "mean"),
    "units": ("m", "mm"),
    "frame": ("camera", "opengl"),
}
"""What a header may say, as in `SourceForm`."""

Numbers = tuple[
    Float[np.ndarray, "frames 16 3 3"],
    Float[np.ndarray, "frames 3"],
    Float[np.ndarray, " betas"] | Float[np.ndarray, "frames betas"],
]
"""Rotations, wrist positions and betas, as in `HandMotion`."""


@dataclass(frozen=True, kw_only=True)
class SourceForm:
    """What a file does not say of itself; what it says stands."""

    pose: PoseForm | None = None
    """None: by the number of numbers, 45 are rotation vectors, 135 matrices, others PCA."""
    mean: Mean = "flat"
    units: Units = "m"
    frame: Frame = "camera"
    model: str | None = None
    """Hand model; None: MANO's right hand for MANO's numbers, else the open hand."""
    is_right: bool | None = None
    """Side of all hands."""


@dataclass(frozen=True, kw_only=True)
class HandTable:
    """A table as it was read: rows of hands in one of the forms of `GIVES`."""

    path: Path
    """Of the file, for sentences."""
    header: Mapping[str, Any]
    columns: Mapping[str, Any]
    """Column → rows, or the one row."""
    form: SourceForm

    @cached_property
    def kind(self) -> str:
        """The column that tells what the table holds.

        Raises:
            ValueError: If there is none, or others that belong to it are missing.
        """
        kind = next((name for name in GIVES if name in self.columns), None)
        if kind is None:
            self._refuse(f"it has no column {', '.join(GIVES)}, one of which a table of hands has")
        missing = [name for name in GIVES[kind] if name not in self.columns]
        if missing:
            self._refuse(f"it has {kind} and no {missing[0]}; add that column")
        return kind

    @cached_property
    def rows(self) -> dict[str, Float[np.ndarray, "rows ..."]]:
        """The columns that count as finite numbers.

        Raises:
            ValueError: If one has another shape, or is not finite.
        """
        names = [name for name in (*GIVES[self.kind], "transl") if name in self.columns]
        least = "betas" if "betas" in names else self.kind
        try:
            arrays = {name: np.asarray(self.columns[name], dtype=np.float64) for name in names}
        except (TypeError, ValueError) as error:
            self._refuse(f"its rows are not numbers, or differ in length ({error})")
        is_one = arrays[least].ndim == len(SHAPES[least][0])
        rows = {name: array[None] if is_one else array for name, array in arrays.items()}
        number = len(rows[self.kind])
        for name, array in rows.items():
            if not any(_fits(array.shape, shape) for shape in SHAPES[name]):
                shapes = ("x".join(map(str, s)).replace("-1", "n") for s in SHAPES[name])
                wanted = " or ".join(shapes)
                self._refuse(f"{name} has the shape {array.shape}; one row has {wanted} numbers")
            if len(array) != number:
                self._refuse(f"{name} has {len(array)} rows and {self.kind} {number}")
            if not np.isfinite(array).all():
                self._refuse(f"{name} has numbers that are not finite")
        return rows

    @cached_property
    def said(self) -> SourceForm:
        """The form, with what the header says."""
        said = {n: self.header[n] for n, known in _SAID.items() if self.header.get(n) in known}
        return replace(self.form, **said)

    @cached_property
    def model(self) -> FittableHand:
        """The hand model of the numbers.

        Raises:
            ValueError: If it is not here.
        """
        named = self.header.get("model") or self.form.model
        if named is not None:
            return hand_named(str(named))
        return mano_here() if self.kind == "hand_pose" else hand_named(OPEN_HAND)

    @cached_property
    def sides(self) -> Bool[np.ndarray, " rows"]:
        """Whether each row is a right hand.

        Raises:
            ValueError: If nothing says it.
        """
        number = len(self.rows[self.kind])
        if "is_right" not in self.columns:
            if self.form.is_right is None:
                self._refuse("it does not say which hands are right (is_right); give --side")
            return np.full(number, self.form.is_right)
        sides = np.atleast_1d(np.asarray(self.columns["is_right"]))
        if sides.shape != (number,) or not np.isin(sides, (0, 1)).all():
            self._refuse("is_right is not one yes or no (true, false, 1, 0) for each row")
        return sides.astype(bool)

    def groups(self) -> list[tuple[str, Int[np.ndarray, " rows"]]]:
        """Rows of each hand by its name, in order of first appearance; without names each row."""
        number = len(self.rows[self.kind])
        names = np.atleast_1d(np.asarray(self.columns.get("hand", ())))
        if names.shape != (number,) or names.dtype.kind != "U":
            sides = self.sides.tolist()
            return [(hand_name(k, side), np.array([k])) for k, side in enumerate(sides)]
        rows: dict[str, list[int]] = {}
        for k, name in enumerate(names.tolist()):
            rows.setdefault(name, []).append(k)
        return [(name, np.array(own)) for name, own in rows.items()]

    def motion(self, name: str, at: Int[np.ndarray, " frames"], model: FittableHand) -> HandMotion:
        """One hand's rows as a motion in the camera frame.

        Raises:
            ValueError: If they are no hand's.
        """
        is_right = bool(self.sides[at[0]])
        if (self.sides[at] != is_right).any():
            self._refuse(f"'{name}' is a right hand in some rows and a left one in others")
        frame = self.said.frame if self.kind in ("hand_pose", "landmarks") else "camera"
        try:
            numbers = self._numbers(at, model, is_right=is_right)
            motion = motion_of(name, *numbers, model, is_right=is_right, times=self._times(at))
        except ValueError as error:
            self._refuse(f"{name}: {error}")
        return in_frame(motion, frame)

    def _numbers(
        self, at: Int[np.ndarray, " frames"], model: FittableHand, *, is_right: bool
    ) -> Numbers:
        rows = {name: array[at] for name, array in self.rows.items()}
        scale = 1e-3 if self.said.units == "mm" else 1.0
        _check_size(rows, scale)
        match self.kind:
            case "rotations":
                _check_rotations(rows["rotations"], "rotations")
                return rows["rotations"], rows["wrist_cam"], rows["betas"]
            case "hand_pose":
                return _from_mano(rows, model, self.said, scale, is_right=is_right)
            case "landmarks":
                return _from_landmarks(scale * rows["landmarks"], model, is_right=is_right)
            case _:
                turns = _unit(rows["orientations_xyzw"])
                return openxr_hand(rows["positions"], turns, model, is_right=is_right)

    def _times(
        self, at: Int[np.ndarray, " frames"]
    ) -> tuple[Int[np.ndarray, " frames"], Float[np.ndarray, " frames"]]:
        """Frames and times of some rows where the table has them; otherwise they are counted."""
        found = {"frame": np.arange(len(at)), "time_s": np.arange(len(at), dtype=np.float64)}
        for name, counted in found.items():
            if name in self.columns:
                try:
                    values = np.atleast_1d(np.asarray(self.columns[name], dtype=counted.dtype))[at]
                except (TypeError, ValueError, IndexError, OverflowError):
                    self._refuse(f"{name} is not one number for each row")
                found[name] = values
        return found["frame"], found["time_s"]

    def _refuse(self, fault: str) -> NoReturn:
        raise ValueError(f"{self.path} cannot be converted: {fault}")


def motion_of(
    name: str,
    rotations: Float[np.ndarray, "frames 16 3 3"],
    wrist_cam: Float[np.ndarray, "frames 3"],
    betas: Float[np.ndarray, " betas"] | Float[np.ndarray, "frames betas"],
    model: FittableHand,
    *,
    is_right: bool,
    times: tuple[Int[np.ndarray, " frames"], Float[np.ndarray, " frames"]] | None = None,
) -> HandMotion:
    """Numbers of one hand as a motion; what only a fit to pictures knows is NaN.

    Args:
        name: Of the hand.
        rotations: As in `HandResult`.
        wrist_cam: Metres.
        betas: One shape, or one for each frame.
        model: The right-hand model that they belong to.
        is_right: Side of the real hand.
        times: Frames and their times in seconds; None: they are counted.
    """
    number = len(rotations)
    frame, time_s = times or (np.arange(number), np.arange(number, dtype=np.float64))
    R, at = rotations.astype(np.float64), wrist_cam.astype(np.float64)
    shapes = np.array(np.broadcast_to(betas.astype(np.float64), (number, betas.shape[-1])))
    unknown = np.full(number, np.nan)
    return HandMotion(
        name=name,
        is_right=is_right,
        model=model.name,
        frame=frame,
        time_s=time_s,
        betas=shapes,
        rotations=R,
        wrist_cam=at,
        keypoints_cam=keypoints_of(model, shapes, R, at, is_right=is_right),
        score=unknown,
        residual_px=unknown,
        depth_std_m=unknown,
    )


def _from_mano(
    rows: Mapping[str, np.ndarray],
    model: FittableHand,
    form: SourceForm,
    scale: float,
    *,
    is_right: bool,
) -> Numbers:
    """MANO's numbers."""
    number = len(rows["betas"])
    orient = rows["global_orient"]
    if orient.shape[-2:] == (3, 3) and orient.shape[1:] != (3,):
        _check_rotations(orient, "global_orient")
        orient = roma.rotmat_to_rotvec(torch.from_numpy(orient)).numpy()
    pose = rows["hand_pose"].reshape(number, -1)
    told = form.pose or FORM_OF.get(pose.shape[1], "pca")
    if told == "matrices" and pose.shape[1] == 135:
        _check_rotations(pose.reshape(number, 15, 3, 3), "hand_pose")
    transl = scale * rows.get("transl", np.zeros((number, 3))).reshape(number, 3)
    parameters = ManoParameters(
        global_orient=torch.from_numpy(orient.reshape(number, 3)),
        hand_pose=torch.from_numpy(pose),
        betas=torch.from_numpy(rows["betas"]),
        transl=torch.from_numpy(transl),
        form=told,
        about_mean=form.mean == "mean",
    )
    placed = from_mano(model, parameters, is_right=is_right)
    return placed.rotations.numpy(), placed.wrist_cam.numpy(), placed.betas.numpy()


def _from_landmarks(
    points: Float[np.ndarray, "frames 21 3"], model: FittableHand, *, is_right: bool
) -> Numbers:
    """The likely hand whose landmarks come nearest; each frame for itself."""
    side = np.ones(3) if is_right else FLIP
    fitted = [pose_of_landmarks(torch.from_numpy(own * side), model) for own in points]
    rotations, wrist, betas = (torch.stack(parts).numpy() for parts in zip(*fitted, strict=True))
    return rotations, wrist * side, betas


def _fits(shape: tuple[int, ...], row: tuple[int, ...]) -> bool:
    """Whether rows of an array of this shape are like that."""
    same = len(shape) == len(row) + 1
    return same and all(want in (-1, got) for want, got in zip(row, shape[1:], strict=True))


def _check_size(rows: Mapping[str, np.ndarray], scale: float) -> None:
    """Refuse what is of no hand's size: a fit would make something of it all the same."""
    largest = np.abs(rows.get("betas", np.zeros(1))).max(initial=0.0)
    if largest > MAX_BETA:
        raise ValueError(f"betas has a number of {largest:.3g}; no hand is that far from the mean")
    for name, chain in _CHAINS.items():
        if name not in rows:
            continue
        points = (scale if name == "landmarks" else 1.0) * rows[name][:, list(chain)]
        for length in np.linalg.norm(np.diff(points, axis=1), axis=-1).sum(1).tolist():
            if not CHAIN_M[0] <= length <= CHAIN_M[1]:
                raise ValueError(
                    f"{name} has a hand of {length:.3g} m from wrist to middle fingertip, which no "
                    f"hand has; {_ADVICE[name]}"
                )


def _check_rotations(matrices: Float[np.ndarray, "*batch 3 3"], name: str) -> None:
    """Refuse matrices that are no rotations."""
    off = np.abs(matrices @ matrices.swapaxes(-1, -2) - np.eye(3)).max()
    if off > ROTATION_TOLERANCE or (np.linalg.det(matrices) < 0).any():
        raise ValueError(f"{name} has matrices that are not rotations")


def _unit(quaternions: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
    """Quaternions of length one.

    Raises:
        ValueError: If they are far from it.
    """
    length = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    if (np.abs(length - 1) > ROTATION_TOLERANCE).any():
        raise ValueError("orientations_xyzw has quaternions whose length is not one")
    return quaternions / length
