"""What `benchmarks/depth.py` keeps of each picture: the truth, what was seen, what was fitted."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from idhand.files import FileKind, read_headed_arrays, replacing
from idhand.refinement.deviations import Recalibration, Stated
from idhand.refinement.uncertainty import Uncertainty

KIND = FileKind(
    format="idhand depth rows", version=1, name="file of depth.py", remedy="measure again"
)
WRIST, MIDDLE_KNUCKLE = 0, 9


@dataclass(frozen=True, kw_only=True)
class Fits:
    """One fit for each picture; NaN where there is none."""

    keypoints_cam: Float[np.ndarray, "pictures 21 3"]
    keypoints_px: Float[np.ndarray, "pictures 21 2"]
    status: Int[np.ndarray, " pictures"]
    """Index into `STATUS_NAMES`; −1 without a fit."""
    keypoints_pose: Float[np.ndarray, "pictures 21"]
    """This and the next three as in `Uncertainty`."""
    keypoints_shape: Float[np.ndarray, "pictures 21"]
    depth_pose: Float[np.ndarray, " pictures"]
    depth_shape: Float[np.ndarray, " pictures"]
    size: Float[np.ndarray, " pictures"]
    """This and the next two as in `Stated`."""
    visible: Float[np.ndarray, "pictures 21"]
    misfit_m: Float[np.ndarray, " pictures"]

    @property
    def done(self) -> Bool[np.ndarray, " pictures"]:
        """Where there is a fit with usable numbers."""
        return np.isfinite(self.keypoints_cam).all((1, 2)) & np.isfinite(self.depth_pose)

    def stated(self) -> Stated:
        """What a recalibration is given, of all pictures."""
        tensors = {f.name: torch.from_numpy(getattr(self, f.name)) for f in fields(Uncertainty)}
        return Stated(
            uncertainty=Uncertainty(**tensors),
            depth_m=torch.from_numpy(self.keypoints_cam[:, WRIST, 2]),
            size=torch.from_numpy(self.size),
            visible=torch.from_numpy(self.visible),
            misfit_m=torch.from_numpy(self.misfit_m),
        )

    def deviations(
        self, recalibration: Recalibration
    ) -> tuple[Float[np.ndarray, "pictures 21"], Float[np.ndarray, " pictures"]]:
        """Of the keypoints about the wrist and of the wrist's depth, metres."""
        keypoints, depth = recalibration.deviations(self.stated())
        return keypoints.numpy(), depth.numpy()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All pictures."""

    subject: np.ndarray
    sample_id: np.ndarray
    found: Bool[np.ndarray, " pictures"]
    is_visible: Bool[np.ndarray, "pictures 21"]
    """According to the data set."""
    truth_cam: Float[np.ndarray, "pictures 21 3"]
    truth_px: Float[np.ndarray, "pictures 21 2"]
    crop_px: Float[np.ndarray, " pictures"]
    """Side of the square about the true keypoints as the hand net's crops are cut."""
    score: Float[np.ndarray, " pictures"]
    landmarks_px: Float[np.ndarray, "pictures 21 2"]
    """The landmark net's, which are other points than the keypoints."""
    network_px: Float[np.ndarray, "pictures 21 2"]
    """What the trained network marks."""
    known: Fits
    """With the true shape."""
    unknown: Fits
    """With the shape estimated from the picture."""

    def __len__(self) -> int:
        return len(self.found)

    @property
    def num_visible(self) -> Int[np.ndarray, " pictures"]:
        """Visible keypoints of each picture."""
        return self.is_visible.sum(1)

    def select(self, chosen: np.ndarray) -> "Rows":
        """Some of the pictures."""
        return _rows({name: array[chosen] for name, array in _flat(self).items()})

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write them in one step."""
        header = json.dumps({**KIND.header, "about": dict(about)})
        arrays = {"header": np.frombuffer(header.encode(), np.uint8), **_flat(self)}
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    @staticmethod
    def load(path: Path) -> tuple["Rows", dict[str, Any]]:
        """The rows of a file, and what it says of them.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is something else or damaged.
        """
        header, arrays = read_headed_arrays(path, KIND)
        try:
            return _rows(arrays), header["about"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}); measure again") from None


def joined(parts: Iterable[Rows]) -> Rows:
    """All pictures of several files."""
    arrays = [_flat(part) for part in parts]
    return _rows({name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]})


def read_folder(folder: Path) -> tuple[Rows, dict[str, Any]]:
    """All rows that `depth.py` has left in a folder.

    Raises:
        FileNotFoundError: If there are none.
    """
    files = sorted(folder.glob("rows-*.npz"))
    if not files:
        raise FileNotFoundError(f"no rows in {folder}; benchmarks/depth.py makes them")
    read = [Rows.load(path) for path in files]
    return joined(rows for rows, _ in read), read[0][1]


def _flat(rows: Rows) -> dict[str, np.ndarray]:
    """All arrays by name, those of fits as `known.status`."""
    arrays: dict[str, np.ndarray] = {}
    for field in fields(rows):
        value = getattr(rows, field.name)
        if isinstance(value, Fits):
            arrays |= {f"{field.name}.{f.name}": getattr(value, f.name) for f in fields(value)}
        else:
            arrays[field.name] = value
    return arrays


def _rows(arrays: Mapping[str, np.ndarray]) -> Rows:
    """The opposite."""
    fits: dict[str, Any] = {
        mode: Fits(**{f.name: arrays[f"{mode}.{f.name}"] for f in fields(Fits)})
        for mode in ("known", "unknown")
    }
    own: dict[str, Any] = {f.name: arrays[f.name] for f in fields(Rows) if f.name not in fits}
    return Rows(**own, **fits)


def without_fit(num: int) -> Fits:
    """Pictures before anything was fitted."""
    shapes = {
        "keypoints_cam": (21, 3),
        "keypoints_px": (21, 2),
        "keypoints_pose": (21,),
        "keypoints_shape": (21,),
        "visible": (21,),
    }
    names = [field.name for field in fields(Fits) if field.name != "status"]
    numbers = {name: np.full((num, *shapes.get(name, ())), np.nan) for name in names}
    return Fits(status=np.full(num, -1), **numbers)
