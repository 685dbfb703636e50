"""All export formats, and what `idhand run --export` writes for a photo and for a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from idhand.hand import FittableHand
from idhand.records import HandResult
from idhand.view.export.bvh import DEFAULT_FPS, held_frames, write_bvh
from idhand.view.export.gltf import write_rigged_glb
from idhand.view.export.mano import mano_here, write_mano
from idhand.view.export.openxr import write_openxr
from idhand.view.export.parameters import write_npz
from idhand.view.export.rig import check_motions
from idhand.view.export.usd import check_usd, write_usd
from idhand.view.mesh import check_model, usable_hands, write_obj, write_ply
from idhand.view.motion import HandMotion

Format = Literal["glb", "obj", "ply", "npz", "bvh", "openxr", "usd", "mano"]

_Meshes = Callable[[Path, Sequence[HandResult]], None]
_Motions = Callable[[Path, Sequence[HandMotion], FittableHand, float], None]


@dataclass(frozen=True, kw_only=True)
class Export:
    """How one format is written."""

    suffix: str
    """What follows the photo's or video's name."""
    meshes: _Meshes | None = None
    """Writes one photo's meshes; such a format holds no motion."""
    motions: _Motions | None = None
    """Writes motions with their model and frame rate."""
    one_file_per_hand: bool = False


EXPORTS: dict[Format, Export] = {
    "glb": Export(
        suffix=".glb",
        motions=lambda path, motions, model, _: write_rigged_glb(path, motions, model),
    ),
    "obj": Export(suffix=".obj", meshes=write_obj),
    "ply": Export(suffix=".ply", meshes=write_ply),
    "npz": Export(
        suffix=".npz",
        motions=lambda path, motions, model, _: write_npz(path, motions, model),
    ),
    "bvh": Export(
        suffix=".bvh",
        motions=lambda path, motions, model, fps: write_bvh(path, motions[0], model, fps),
        one_file_per_hand=True,
    ),
    "openxr": Export(
        suffix=".openxr.json",
        motions=lambda path, motions, model, _: write_openxr(path, motions, model),
    ),
    "usd": Export(suffix=".usdc", motions=write_usd),
    "mano": Export(
        suffix=".mano.npz",
        motions=lambda path, motions, model, _: write_mano(path, motions, model),
    ),
}
"""All formats by name."""


def check_formats(formats: Sequence[Format]) -> None:
    """Refuse what cannot be written, before any work is done for it.

    Raises:
        ValueError: If a format is not known or lacks its library or model.
    """
    _chosen(formats)


def export_photo(
    folder: str | Path,
    name: str,
    hands: Sequence[HandResult],
    model: FittableHand,
    formats: Sequence[Format],
) -> list[Path]:
    """Write one photo's hands in each of the formats; fits that diverged are left out.

    Args:
        folder: Where to; it exists.
        name: What the files' names begin with.
        hands: The photo's results, with their meshes.
        model: The right-hand model that they were fitted with.
        formats: Which; see `EXPORTS`.

    Returns:
        The files, in the order of the formats.

    Raises:
        ValueError: If no hand is usable, the model is not the one of the hands, or a format is not
            known or lacks its library or model. Nothing was written then.
        OSError: If a file cannot be written; those before it are whole.
    """
    chosen = _chosen(formats)
    usable = usable_hands(hands)
    for title, hand in usable:
        check_model(title, hand.model, len(hand.betas), model)
        if len(hand.verts_cam) != len(model.template):
            raise ValueError(
                f"{title} has a mesh of {len(hand.verts_cam)} vertices, but hand model "
                f"'{model.name}' has {len(model.template)}; export what the pipeline returns"
            )
    motions = [
        HandMotion.of(hand, index) for index, hand in enumerate(hands) if hand.status != "diverged"
    ]
    check_motions(motions, model)
    paths: list[Path] = []
    for export in chosen:
        if export.meshes is not None:
            paths.append(Path(folder) / f"{name}{export.suffix}")
            export.meshes(paths[-1], hands)
        else:
            paths += _write_motions(Path(folder), name, motions, model, export, DEFAULT_FPS)
    return paths


def export_motion(
    folder: str | Path,
    name: str,
    motions: Sequence[HandMotion],
    model: FittableHand,
    formats: Sequence[Format],
    fps: float,
) -> list[Path]:
    """Write a video's hands in each of the formats that hold motion; OBJ and PLY are skipped.

    Args:
        folder: Where to; it exists.
        name: What the files' names begin with.
        motions: One per hand, from a `MotionRecorder`.
        model: The right-hand model that they were fitted with.
        formats: Which; see `EXPORTS`.
        fps: Frames per second of the video.

    Returns:
        The files, in the order of the formats.

    Raises:
        ValueError: If there is no motion, the model is not theirs, `fps` is not positive or so
            high that a BVH would not end, or a format is not known or lacks its library or model.
            Nothing was written then.
        OSError: If a file cannot be written; those before it are whole.
    """
    chosen = _chosen(formats)
    check_motions(motions, model)
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be positive, got {fps}")
    if "bvh" in formats:
        for motion in motions:
            held_frames(motion.time_s, fps)  # refuses what would be too long
    paths: list[Path] = []
    for export in chosen:
        paths += _write_motions(Path(folder), name, motions, model, export, fps)
    return paths


def _write_motions(
    folder: Path,
    name: str,
    motions: Sequence[HandMotion],
    model: FittableHand,
    export: Export,
    fps: float,
) -> list[Path]:
    """One format's files."""
    if export.motions is None:
        return []
    if not export.one_file_per_hand:
        path = folder / f"{name}{export.suffix}"
        export.motions(path, motions, model, fps)
        return [path]
    paths = [folder / f"{name}_{motion.name}{export.suffix}" for motion in motions]
    for path, motion in zip(paths, motions, strict=True):
        export.motions(path, [motion], model, fps)
    return paths


def _chosen(formats: Sequence[Format]) -> list[Export]:
    """The formats' entries, each once."""
    unknown = [form for form in formats if form not in EXPORTS]
    if unknown:
        raise ValueError(
            f"no export format '{unknown[0]}'; there are {', '.join(get_args(Format))}"
        )
    if "usd" in formats:
        check_usd()
    if "mano" in formats:
        mano_here()
    return [EXPORTS[form] for form in dict.fromkeys(formats)]
