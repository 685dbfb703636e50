"""Pickles that the code of the ECCV 2022 paper has written: its lists of pictures, its predictions.

They are read by `idhand.assets.unpickling`, so nothing in them is run. Meshes, by far the largest
part, are skipped. Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization
from RGB Images", ECCV 2022, and its released code.
"""

import mmap
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float

from idhand.assets.mano import MANO_JOINTS
from idhand.assets.pickle_names import NEW_NUMPY_NAMES, Known
from idhand.assets.unpickling import unpickled
from idhand.data.sample_list import Part, SampleList
from idhand.files import existing_file
from idhand.geometry import rotation_from_6d
from idhand.predictions import Predictions
from idhand.records import Sample

MAX_STEPS = 400_000_000
"""Opcodes of a pickle: some 400 a picture, and 200,000 pictures; a minute each 50 million."""
NUM_POSE = 96
"""Two rows of 16 rotations, in MANO's order of the joints, the mean pose included."""
MESH_SHAPE = (778, 3)
FOLDS = {"s1": "paper", **{f"s{k}": f"paper-s{k}" for k in (5, 6, 7, 9, 10, 11)}}
"""What we call the setups that the code knows."""
METHOD = "kong"

_LIST_NAME = re.compile(r"(s\d+)_(train|val|test)_size_2")
_PICTURE = re.compile(r"(\d{8}-(subject-\d\d)/\d{8}_\d{6}/\d{12}/color_\d{6})\.jpg")
_REMEDY = "name a file that the paper's code has written"


def read_list(path: Path) -> SampleList:
    """The pictures of `split_annotations/SETUP_PART_size_2.pkl`, in their order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its name says no setup and part, or it holds something else.
    """
    match = _LIST_NAME.fullmatch(path.stem)
    if match is None or match[1] not in FOLDS:
        raise ValueError(
            f"{path} should be called SETUP_PART_size_2.pkl, with a setup of "
            f"{', '.join(FOLDS)} and train, val or test; give it the name that it was written under"
        )
    entries = _read(path, lambda shape: True)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} is no list of pictures; {_REMEDY}")
    ids = tuple(_id(entry.get("orig_img_path"), path)[0] for entry in entries)
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path} names a picture twice; {_REMEDY}")
    part = next(part for part in get_args(Part) if part == match[2])
    return SampleList(protocol=FOLDS[match[1]], part=part, ids=ids)


def read_predictions(path: Path, labels: Iterable[Sample], model: str) -> Predictions:
    """Poses and shapes of `predictions_on_PART_set.pkl`, of pictures that the labels know.

    The networks predict no position. Without predicted shapes (networks that are given one) the
    betas are those that they were given.

    Args:
        path: The file.
        labels: Of the same pictures, for K; those without a prediction are left out.
        model: Name of the hand model of the betas: the right hand of the MANO in use then.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else, or no picture of the labels.
    """
    document = _read(path, lambda shape: shape[-2:] == MESH_SHAPE)
    if not isinstance(document, dict) or "image_relative_paths" not in document:
        raise ValueError(f"{path} holds no predictions; {_REMEDY}")
    names = [_id(name, path) for name in _texts(document["image_relative_paths"], path)]
    pose = _rows(document, "pred_pose_params", len(names), NUM_POSE, path)
    shape_key = "pred_shape_params" if "pred_shape_params" in document else "gt_shape_params"
    betas = _rows(document, shape_key, len(names), 10, path)
    confidence = None
    if document.get("conf_pred") is not None:
        confidence = _rows(document, "conf_pred", len(names), 1, path)[:, 0]
    K_of: dict[str, Float[np.ndarray, "3 3"]] = {sample.id: sample.K for sample in labels}
    rows = [row for row, (name, _) in enumerate(names) if name in K_of]
    if not rows:
        raise ValueError(
            f"none of the {len(names):,} pictures of {path} is in the data; name the set that they "
            "were predicted for"
        )
    sixd = pose.reshape(-1, 16, 6)[rows][:, MANO_JOINTS, :]
    ids = tuple(names[row][0] for row in rows)
    return Predictions(
        header={"model": model, "method": METHOD, "shapes": shape_key, "file": path.name},
        sample_id=ids,
        subject=tuple(names[row][1] for row in rows),
        is_right=np.ones(len(rows), bool),
        found=np.ones(len(rows), bool),
        K=np.stack([K_of[name] for name in ids]),
        rotations=rotation_from_6d(torch.from_numpy(sixd)).numpy(),
        betas=betas[rows],
        confidence=None if confidence is None else confidence[rows],
    )


def _read(path: Path, is_skipped: Any) -> Any:
    """What a pickle holds, without arrays of some shapes, which become None."""
    array = NEW_NUMPY_NAMES["numpy.core.multiarray._reconstruct"]
    assert array.build is not None
    build = array.build

    def kept(made: Any, state: Any) -> Any:
        shape = state[1] if isinstance(state, tuple) and len(state) == 5 else ()
        whole = isinstance(shape, tuple) and is_skipped(shape)
        return None if whole else build(made, state)

    known: Mapping[str, Known] = {
        name: Known(make=each.make, build=kept) if each.build is build else each
        for name, each in NEW_NUMPY_NAMES.items()
    }
    with (
        existing_file(path).open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return unpickled(data, known, path, max_steps=MAX_STEPS)


def _id(value: Any, path: Path) -> tuple[str, str]:
    """A picture's id and subject, as of DexYCB's tree, from a path of whoever ran the code."""
    match = _PICTURE.search(value.replace("\\", "/")) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{path} has {str(value)[:80]!r} for a picture of DexYCB; {_REMEDY}")
    return match[1], match[2]


def _texts(value: Any, path: Path) -> list[str]:
    names = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(names, list | tuple):
        raise ValueError(f"{path} has no list of pictures; {_REMEDY}")
    return list(names)


def _rows(
    document: Mapping[str, Any], key: str, num_rows: int, width: int, path: Path
) -> Float[np.ndarray, "rows width"]:
    """An entry as so many numbers for each picture.

    Raises:
        ValueError: If it is something else, or not finite.
    """
    try:
        array = np.array(document.get(key), dtype=np.float64).reshape(num_rows, width)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{path} has no '{key}' of {width} numbers for each of {num_rows:,} pictures; {_REMEDY}"
        ) from None
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has '{key}' with numbers that are not finite; {_REMEDY}")
    return array
