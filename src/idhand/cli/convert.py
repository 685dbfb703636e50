"""`idhand convert`: hands in one form → another: MANO's numbers, OpenXR, MediaPipe, ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from idhand.assets import hand
from idhand.assets.mano_parameters import PoseForm
from idhand.assets.mano_tips import is_mano_name
from idhand.cli import EXIT_FINE
from idhand.cli.common import count, output_file, progress, say, shown
from idhand.detection import Side
from idhand.hand import FittableHand
from idhand.view.export import converted_motion, write_mediapipe, write_npz, write_openxr
from idhand.view.export.mano import Frame, ManoForm, Mean, Units, mano_here, write_mano
from idhand.view.hand_tables import SourceForm
from idhand.view.motion import HandMotion
from idhand.view.reading import read_motions

Form = Literal["mano", "openxr", "mediapipe", "idhand"]
TAKEN: dict[Form, tuple[str, ...]] = {
    "mano": ("pose", "mean", "units", "frame"),
    "openxr": (),
    "mediapipe": ("units", "frame"),
    "idhand": (),
}
"""Which of the flags on how numbers are told each form takes."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Convert hands to MANO's parameters, OpenXR's or MediaPipe's joints, or ours, and back.

    What the file says of itself counts; the flags --source-... and --side tell what a file of other
    software does not say.
    """

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """Predictions, hands.json, hands.jsonl, exports (npz, mano, openxr), or a table of MANO's
    parameters, OpenXR's joints or MediaPipe's landmarks as .npz or .json (docs/output.md)."""
    to: Form
    """mano: betas, global_orient, hand_pose, transl. openxr: 26 joints. mediapipe: 21 landmarks.
    idhand: rotations, wrist position, betas and keypoints."""
    out: Annotated[Path, arg(metavar="FILE")]
    """The file to write, .json or .npz."""
    pose: PoseForm | None = None
    """For mano: axis_angle (45 numbers, the default), pca (45 coefficients) or matrices (135)."""
    mean: Mean | None = None
    """For mano: count the pose from the flat hand (the default) or from the mean pose."""
    units: Units | None = None
    """For mano and mediapipe: metres (the default) or millimetres."""
    frame: Frame | None = None
    """For mano and mediapipe: camera (x right, y down, z forward; the default) or opengl (x right,
    y up, -z forward). OpenXR's is always its own."""
    hand_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Hand model to convert to, see `idhand assets list`; by default the file's own, and for mano
    MANO's right hand."""
    source_pose: PoseForm | None = None
    """How a file of MANO's parameters tells the pose; by default by the number of numbers: 45 are
    axis_angle, 135 matrices, others pca."""
    source_mean: Mean = "flat"
    """What it counts the pose from."""
    source_units: Units = "m"
    """Of a file of MANO's parameters or MediaPipe's landmarks."""
    source_frame: Frame = "camera"
    """The same."""
    source_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Hand model of the file; by default MANO's right hand for MANO's parameters, else the open
    hand."""
    side: Side | None = None
    """Side of all hands, if the file has no is_right."""

    def __post_init__(self):
        for flag in ("pose", "mean", "units", "frame"):
            if getattr(self, flag) is not None and flag not in TAKEN[self.to]:
                raise ValueError(f"--{flag} is not for --to {self.to}; leave it out")


def main(command: Command) -> int:
    """Do it, say what was converted and return the exit code."""
    if command.out.suffix not in (".json", ".npz"):
        raise ValueError(f"--out {command.out}: give a name that ends in .json or .npz")
    out = output_file(command.out, (command.file,), like="hand.json")
    form = SourceForm(
        pose=command.source_pose,
        mean=command.source_mean,
        units=command.source_units,
        frame=command.source_frame,
        model=command.source_model,
        is_right=None if command.side is None else command.side == "right",
    )
    read = read_motions(command.file, form, _with_bar)
    for note in read.notes:
        say(shown(note))
    if not read.motions:
        raise ValueError(f"{command.file} holds no hand that can be converted")
    target = _target(command, read.model)
    motions = _in_model(read.motions, read.model, target)
    _write(command, out, motions, target)
    frames = sum(motion.num_frames for motion in motions)
    what = count(len(motions), "hand") + (f" in {frames:,} frames" if frames > len(motions) else "")
    print(f"{what}, hand model '{target.name}', as {command.to}. Written to {shown(out)}")
    return EXIT_FINE


def _with_bar(items: Any) -> Any:
    return progress(items, len(items), "hands")


def _target(command: Command, source: FittableHand) -> FittableHand:
    """The hand model to convert to.

    Raises:
        ValueError: If it is not here, or is none of MANO's where that is needed.
    """
    if command.hand_model is not None:
        target = hand(command.hand_model)
        if command.to == "mano" and not is_mano_name(target.name):
            raise ValueError(
                f"--hand-model {target.name} is none of MANO's, and --to mano writes MANO's "
                "parameters; name one of MANO's (`idhand assets list`)"
            )
        return target
    return source if command.to != "mano" or is_mano_name(source.name) else mano_here()


def _in_model(
    motions: Sequence[HandMotion], source: FittableHand, target: FittableHand
) -> list[HandMotion]:
    """The motions in the target; says how near the two surfaces come."""
    if source.name == target.name:
        return list(motions)
    found = [converted_motion(motion, source, target) for motion in _with_bar(motions)]
    apart_mm = np.array([each.apart_mm for each in found])
    say(
        f"shapes of '{source.name}' were fitted by '{target.name}': at rest the surfaces lie "
        f"{np.sqrt(np.mean(apart_mm**2)):.2f} mm apart (root mean square; at most "
        f"{apart_mm.max():.2f} mm of one hand)"
    )
    return [each.motion for each in found]


def _write(command: Command, out: Path, motions: Sequence[HandMotion], model: FittableHand) -> None:
    units, frame = command.units or "m", command.frame or "camera"
    match command.to:
        case "mano":
            form = ManoForm(
                pose=command.pose or "axis_angle",
                mean=command.mean or "flat",
                units=units,
                frame=frame,
            )
            write_mano(out, motions, model, form)
        case "openxr":
            write_openxr(out, motions, model)
        case "mediapipe":
            write_mediapipe(out, motions, model, units=units, frame=frame)
        case "idhand":
            write_npz(out, motions, model)
