"""HUMBI's text files: cameras, boxes of crops, fitted hands.

Yu et al., "HUMBI", CVPR 2020. Lines may end as on Windows, and spaces may repeat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.files import existing_file

REMEDY = "unpack the publishers' archive again"
MAX_BYTES = 1 << 20
"""Of a text file; the largest, the vertices, have some 30 kB."""
HEADER_LINES = 3
"""Before the cameras of a camera file."""
WIDTH_PX, HEIGHT_PX = 1920, 1080
"""Of the pictures that the crops were cut from."""
CROP_PX = 250
"""Side of all crops."""
NUM_PARAMS = 36
"""Of a fitted hand: translation, rotation of the whole, 20 coefficients, 10 betas."""
MAX_PARAM = 100.0
"""In absolute value: metres, radians, coefficients and betas stay far below."""
ROTATION_TOLERANCE = 1e-3
"""How far R Rᵀ may be from the identity."""


@dataclass(frozen=True, kw_only=True)
class HumbiCamera:
    """One camera of the stage, for whole pictures."""

    K: Float[np.ndarray, "3 3"]
    R: Float[np.ndarray, "3 3"]
    """World → camera: x_cam = R (x − C)."""
    centre_m: Float[np.ndarray, " 3"]
    """C, in the world."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A line of `list.txt`: where a crop was cut out, px of the whole picture, both ends in it."""

    camera: int
    left_px: float
    right_px: float
    top_px: float
    bottom_px: float

    @property
    def from_whole(self) -> Float[np.ndarray, "3 3"]:
        """Pixels of the whole picture → pixels of the crop; homogeneous. As in HUMBI's viewer."""
        sx = CROP_PX / (self.right_px - self.left_px + 1)
        sy = CROP_PX / (self.bottom_px - self.top_px + 1)
        return np.array([[sx, 0, -sx * self.left_px], [0, sy, -sy * self.top_px], [0, 0, 1.0]])

    @property
    def fault(self) -> str | None:
        """Why the box cannot be used."""
        edges = (self.left_px, self.right_px, self.top_px, self.bottom_px)
        if not np.isfinite(edges).all():
            return "is not finite"
        if self.right_px <= self.left_px or self.bottom_px <= self.top_px:
            return "has no area"
        inside = self.left_px >= 0 and self.top_px >= 0
        if not inside or self.right_px > WIDTH_PX or self.bottom_px > HEIGHT_PX:
            return f"leaves the picture of {WIDTH_PX} × {HEIGHT_PX} px"
        return None


def read_cameras(folder: Path) -> tuple[dict[int, HumbiCamera], tuple[str, ...]]:
    """Cameras by id, and a sentence on each that cannot be used.

    Args:
        folder: A subject's `hand`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged.
    """
    K_of = _camera_blocks(folder / "intrinsic.txt", (3, 3))
    pose_of = _camera_blocks(folder / "extrinsic.txt", (4, 3))
    cameras: dict[int, HumbiCamera] = {}
    problems: list[str] = []
    for number, K in K_of.items():
        pose = pose_of.get(number)
        if pose is None:
            problems.append(f"{folder / 'extrinsic.txt'} has no camera {number}; it is left out")
            continue
        fault = _camera_fault(K, pose)
        if fault:
            problems.append(f"{folder}: camera {number} {fault}; it is left out, {REMEDY}")
            continue
        cameras[number] = HumbiCamera(K=K, R=pose[1:], centre_m=pose[0])
    lacking = sorted(pose_of.keys() - K_of.keys())
    if lacking:
        problems.append(f"{folder / 'intrinsic.txt'} has no camera {lacking[0]}; it is left out")
    return cameras, tuple(problems)


def read_projections(folder: Path) -> Mapping[int, Float[np.ndarray, "3 4"]]:
    """`project.txt`: each camera's whole projection, up to a factor.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    return _camera_blocks(folder / "project.txt", (3, 4))


def _camera_fault(K: Float[np.ndarray, "3 3"], pose: Float[np.ndarray, "4 3"]) -> str | None:
    if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2].tolist() == [0, 0, 1]):
        return "has intrinsics that no camera has"
    R = pose[1:]
    if np.abs(R @ R.T - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(R) < 0:
        return "has a rotation that is none"
    return None


def _camera_blocks(path: Path, shape: tuple[int, int]) -> dict[int, np.ndarray]:
    """Numbers of each camera: after the header a line `0 ID`, then rows of so many numbers."""
    rows = shape[0]
    lines = [line.split() for line in _text(path).splitlines()]
    lines = [line for line in lines if line][HEADER_LINES:]
    blocks: dict[int, np.ndarray] = {}
    try:
        if not lines or len(lines) % (rows + 1):
            raise ValueError(f"{len(lines)} lines after the header")
        for start in range(0, len(lines), rows + 1):
            _, number = lines[start]
            block = np.array(lines[start + 1 : start + 1 + rows], dtype=np.float64)
            if block.shape != shape:
                raise ValueError(f"rows of {block.shape[1]} numbers instead of {shape[1]}")
            if not np.isfinite(block).all():
                raise ValueError(f"camera {number} has numbers that are not finite")
            blocks[int(number)] = block
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no camera file ({error}); {REMEDY}") from None
    return blocks


def read_crops(path: Path) -> tuple[Crop, ...]:
    """The lines of a `list.txt`; none if the file is empty.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    crops = []
    text = _text(path) if path.is_file() and path.stat().st_size else ""
    for place, line in enumerate(text.splitlines()):
        words = line.split()
        if not words:
            continue
        try:
            number, *edges = map(float, words)
            left, right, top, bottom = edges
            if number < 0 or number % 1:
                raise ValueError("no camera's number")
        except ValueError as error:
            raise ValueError(
                f"{path}, line {place + 1} is not a camera and four edges ({error}); {REMEDY}"
            ) from None
        crops.append(
            Crop(camera=int(number), left_px=left, right_px=right, top_px=top, bottom_px=bottom)
        )
    return tuple(crops)


def read_numbers(path: Path, count: int) -> Float[np.ndarray, " count"]:
    """All numbers of a file, however they stand in lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there are more or fewer, or one is not finite.
    """
    words = _text(path).split()
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {REMEDY}") from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        fault = "some are not finite" if len(numbers) == count else f"there are {len(numbers)}"
        raise ValueError(f"{path} must have {count} numbers, and {fault}; {REMEDY}")
    return numbers


def _text(path: Path) -> str:
    """A file's text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is too large or no text.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}")
    try:
        size = existing_file(path).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path} has {size:,} bytes, far more than HUMBI's; {REMEDY}")
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; {REMEDY}") from None
