"""FreiHAND's annotations: one JSON list per kind of label, an entry for each base picture.

Zimmermann et al., "FreiHAND", ICCV 2019. Nothing of the vertices, the largest files, is needed:
they follow from pose, shape and the hand model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from idhand.assets.mano_parameters import ManoParameters, from_mano
from idhand.files import existing_file, read_json
from idhand.hand import FittableHand

Split = Literal["training", "evaluation"]
REMEDY = "unpack the publishers' archive again"
MAX_BYTES = 1 << 28
"""Of a JSON file that is read; the release's largest, the joints, has some 45 MB."""
NUM_MANO = 61
"""Of `*_mano`: 48 rotation numbers, 10 betas, u, v and scale of the root."""
ROOT_KEYPOINT, ROOT_JOINT = 9, 7
"""The base of the middle finger among 21 keypoints and among our 16 joints: FreiHAND's root."""
FREIHAND_V1_MM = 5.0
"""Labels farther than this from the hand model's joints, on average, were fitted with another
one."""
MAX_DEPTH_M, MAX_ANGLE_RAD, MAX_BETA = 10.0, 30.0, 30.0
BATCH = 256
"""Hands that are posed at once."""

_SHAPES: Mapping[str, tuple[int, ...]] = {"K": (3, 3), "xyz": (21, 3), "mano": (NUM_MANO,)}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is known of a split's base pictures; entry i belongs to base i."""

    K: Float[np.ndarray, "bases 3 3"]
    """px; the centre of the top-left pixel is (0, 0)."""
    joints: Float[np.ndarray, "bases 21 3"] | None
    """`xyz`: camera frame, m. None of the evaluation set before its truth was published."""
    mano: Float[np.ndarray, "bases 61"] | None
    usable: Bool[np.ndarray, " bases"]
    """Whether an entry's numbers can be a hand's."""
    problems: tuple[str, ...]
    """A sentence on each file with entries that are not usable."""

    def __len__(self) -> int:
        return len(self.K)


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Pose and shape of some base pictures in our terms."""

    rotations: Float[np.ndarray, "bases 16 3 3"]
    betas: Float[np.ndarray, "bases betas"]
    wrist_cam: Float[np.ndarray, "bases 3"]


def read_labels(folder: Path, split: Split, truth: Path | None) -> Labels:
    """The annotations of a split.

    Args:
        folder: Where `*_K.json` lies.
        split: Which.
        truth: Where `*_xyz.json` and `*_mano.json` lie, if anywhere.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or two do not have as many entries.
    """
    arrays = {"K": _entries(folder / f"{split}_K.json", "K")}
    paths = {"K": folder / f"{split}_K.json"}
    for name in ("xyz", "mano"):
        path = (truth or folder) / f"{split}_{name}.json"
        if truth is not None and (name == "xyz" or path.is_file()):
            arrays[name], paths[name] = _entries(path, name), path
    num = len(arrays["K"])
    for name, array in arrays.items():
        if len(array) != num:
            raise ValueError(
                f"{paths[name]} has {len(array):,} entries, {paths['K'].name} has {num:,}; {REMEDY}"
            )
    usable, problems = np.ones(num, bool), []
    if split == "training" and "mano" not in arrays:
        problems.append(
            f"{folder / 'training_mano.json'} is missing, so the training pictures have keypoints "
            f"alone, without pose and shape; {REMEDY}"
        )
    for name, array in arrays.items():
        good = _usable(name, array)
        if not good.all():
            bad = np.flatnonzero(~good)
            problems.append(
                f"{paths[name]} has {len(bad):,} entries that cannot be a hand's or a camera's "
                f"(first: {bad[0]}); their pictures are left out, {REMEDY}"
            )
        usable &= good
    return Labels(
        K=arrays["K"],
        joints=arrays.get("xyz"),
        mano=arrays.get("mano"),
        usable=usable,
        problems=tuple(problems),
    )


def poses(
    mano: Float[np.ndarray, "bases 61"], K: Float[np.ndarray, "bases 3 3"], model: FittableHand
) -> Poses:
    """FreiHAND's pose and shape as ours.

    The wrist is where the posed mesh's regressed middle knuckle lands on the root that u, v and
    scale say.

    Args:
        mano: Of the annotations.
        K: Of the same pictures.
        model: The right hand; its pose space's mean is MANO's.
    """
    turn, offsets, betas, root = np.split(mano, (3, 48, 58), axis=1)
    placed = from_mano(
        model,
        ManoParameters(
            global_orient=torch.from_numpy(turn),
            hand_pose=torch.from_numpy(offsets),
            betas=torch.from_numpy(betas),
            transl=torch.zeros(len(mano), 3, dtype=torch.float64),
            form="axis_angle",
            about_mean=True,
        ),
        is_right=True,
    )
    wrists = _roots(root, K)
    for start in range(0, len(mano), BATCH):
        rows = slice(start, start + BATCH)
        R = placed.rotations[rows]
        posed = model.with_shape(placed.betas[rows]).posed(R, R.new_zeros(len(R), 3))
        wrists[rows] -= (model.joint_regressor[ROOT_JOINT] @ posed.verts).numpy()
    return Poses(rotations=placed.rotations.numpy(), betas=betas, wrist_cam=wrists)


def _roots(
    root: Float[np.ndarray, "bases 3"], K: Float[np.ndarray, "bases 3 3"]
) -> Float[np.ndarray, "bases 3"]:
    """Position of the root in the camera frame from u, v and scale."""
    u, v, scale = root.T
    focal = (K[:, 0, 0] + K[:, 1, 1]) / 2
    return np.stack((u - K[:, 0, 2], v - K[:, 1, 2], focal), 1) / scale[:, None]


def _entries(path: Path, name: str) -> np.ndarray:
    """A file's list as an array, an entry a row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, too large or of another form.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}")
    size = existing_file(path).stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path} has {size:,} bytes, far more than FreiHAND's; name the publishers' folder"
        )
    document = read_json(path, REMEDY)
    shape = _SHAPES[name]
    try:
        array = _numbers(document).reshape(-1, *shape)
    except (ValueError, TypeError, OverflowError):
        array = np.empty((0, *shape))
    if not isinstance(document, list) or len(array) != len(document) or not len(array):
        wanted = " x ".join(map(str, shape))
        raise ValueError(
            f"{path} is no list of {wanted} numbers for each picture; {REMEDY}, of version 2"
        )
    return array


def _numbers(document: Any) -> np.ndarray:
    return np.array(document, dtype=np.float64)


def _usable(name: str, array: np.ndarray) -> Bool[np.ndarray, " bases"]:
    """Which entries are finite and not absurd."""
    flat = array.reshape(len(array), -1)
    good = np.abs(flat).max(1) < np.inf  # which NaN is not
    match name:
        case "K":
            lens = np.minimum(array[:, 0, 0], array[:, 1, 1]) > 0
            last = np.abs(array[:, 2] - np.array([0.0, 0.0, 1.0])).max(1) == 0
            return good & lens & last
        case "xyz":
            depth = array[..., 2]
            return good & (depth.min(1) > 0) & (depth.max(1) < MAX_DEPTH_M)
        case _:
            angles, betas = np.abs(flat[:, :48]).max(1), np.abs(flat[:, 48:58]).max(1)
            return good & (angles < MAX_ANGLE_RAD) & (betas < MAX_BETA) & (flat[:, 60] > 0)
