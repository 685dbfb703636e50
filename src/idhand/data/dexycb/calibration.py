"""DexYCB's calibration: cameras and their places, and the shape of each subject's hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from idhand.data.dexycb.layout import CALIBRATION, HEIGHT_PX, REMEDY, WIDTH_PX
from idhand.data.safe_yaml import read_yaml
from idhand.geometry import rotation_from_vector

NUM_BETAS = 10
MAX_BETA = 20.0
"""The release's lie between −1.93 and 1.06; beyond this no hand has its bones in order."""
MAX_FOCAL = 10.0
"""Of a camera, in widths of the picture; the release's have about one."""
RIGID_TOLERANCE = 1e-3
"""How far a rotation in a file may be from an orthogonal matrix, which has its numbers rounded."""


def intrinsics_file(root: Path, serial: str) -> Path:
    """Where a camera's intrinsics are."""
    return root / CALIBRATION / "intrinsics" / f"{serial}_{WIDTH_PX}x{HEIGHT_PX}.yml"


def extrinsics_file(root: Path, name: str) -> Path:
    """Where the cameras' places are, of the sequences that name them."""
    return root / CALIBRATION / f"extrinsics_{name}" / "extrinsics.yml"


def shape_file(root: Path, name: str) -> Path:
    """Where the shape of a hand is, of the sequences that name it."""
    return root / CALIBRATION / f"mano_{name}" / "mano.yml"


def read_intrinsics(root: Path, serial: str) -> Float[np.ndarray, "3 3"]:
    """K of a colour camera, px.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it cannot be used.
    """
    path = intrinsics_file(root, serial)
    colour = read_yaml(path, REMEDY).get("color")
    names = ("fx", "fy", "ppx", "ppy")
    if not isinstance(colour, Mapping) or not all(name in colour for name in names):
        raise ValueError(f"{path} has no colour camera with {', '.join(names)}; {REMEDY}")
    fx, fy, cx, cy = _numbers([colour[name] for name in names], (4,), path)
    if not (fx > 0 and fy > 0):
        raise ValueError(f"{path} has focal lengths {fx:g} and {fy:g}; {REMEDY}")
    if max(fx, fy) > MAX_FOCAL * WIDTH_PX or not (0 < cx < WIDTH_PX and 0 < cy < HEIGHT_PX):
        raise ValueError(
            f"{path} has focal lengths {fx:g} and {fy:g} px and the centre {cx:g}, {cy:g}, which "
            f"are no camera's of {WIDTH_PX} × {HEIGHT_PX} px; {REMEDY}"
        )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def read_extrinsics(root: Path, name: str) -> dict[str, Float[np.ndarray, "3 4"]]:
    """Serial → rotation and translation, metres, from the camera to the world.

    The world is the frame of the master camera. `apriltag` is the table's tag.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it cannot be used.
    """
    path = extrinsics_file(root, name)
    table = read_yaml(path, REMEDY).get("extrinsics")
    if not isinstance(table, Mapping):
        raise ValueError(f"{path} has no extrinsics; {REMEDY}")
    places = {str(k): _numbers(row, (12,), path).reshape(3, 4) for k, row in table.items()}
    for serial, place in places.items():
        R = place[:, :3]
        if np.abs(R @ R.T - np.eye(3)).max() > RIGID_TOLERANCE or np.linalg.det(R) < 0:
            raise ValueError(f"{path} has no rotation for {serial}; {REMEDY}")
    return places


def read_betas(root: Path, name: str) -> Float[np.ndarray, " 10"]:
    """Shape of a hand in MANO's betas.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it cannot be used.
    """
    path = shape_file(root, name)
    betas = _numbers(read_yaml(path, REMEDY).get("betas"), (NUM_BETAS,), path)
    if np.abs(betas).max() > MAX_BETA:
        raise ValueError(
            f"{path} has a beta of {betas[np.abs(betas).argmax()]:g}; no hand is that far from the "
            f"mean: {REMEDY}"
        )
    return betas


def _numbers(values: Any, shape: tuple[int, ...], path: Path) -> Float[np.ndarray, "*shape"]:
    """Finite numbers of a YAML list."""
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"{path} does not hold {shape[0]} finite numbers as it should; {REMEDY}")
    return numbers


def world_to_camera(
    pose_world: Float[np.ndarray, "*batch 51"],
    rest_wrist: Float[np.ndarray, " 3"],
    camera_to_world: Float[np.ndarray, "3 4"],
) -> Float[np.ndarray, "*batch 51"]:
    """MANO parameters in the world (`pose.npz`) → those of the same hand in a camera.

    MANO turns about the wrist of the shape at rest and then adds the translation, so that this,
    too, changes.

    Args:
        pose_world: Rotation vector of the wrist, 45 coefficients, translation in metres.
        rest_wrist: Of the shape at rest, metres.
        camera_to_world: As in `read_extrinsics`.
    """
    R, t = camera_to_world[:, :3], camera_to_world[:, 3]
    turn = rotation_from_vector(torch.from_numpy(pose_world[..., :3].astype(np.float64))).numpy()
    moved = (pose_world[..., 48:] + rest_wrist - t) @ R - rest_wrist
    return np.concatenate((_vectors(R.T @ turn), pose_world[..., 3:48], moved), -1)


def _vectors(R: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    import roma  # here, because only fixtures and deep checks need it

    return roma.rotmat_to_rotvec(torch.from_numpy(np.ascontiguousarray(R))).numpy()
