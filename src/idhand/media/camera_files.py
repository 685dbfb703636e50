"""Camera files → intrinsics and lens: JSON, NumPy, OpenCV's YAML and XML, ROS `camera_info`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from jaxtyping import Float

from idhand.data.safe_yaml import PlainLoader, check_nesting
from idhand.files import existing_file
from idhand.lens import Lens, LensModel, distortion_array, lens_of
from idhand.media.cameras import check_intrinsics

MAX_BYTES = 500_000
"""Camera files have a few hundred."""
_K_NAMES = ("K", "camera_matrix", "Camera_Matrix", "cameraMatrix", "mtx", "M1", "K1")
_DIST_NAMES = (
    *("dist", "D", "d", "distortion_coefficients", "Distortion_Coefficients", "distCoeffs"),
    *("dist_coeffs", "distortion_coeffs", "D1"),
)
_MODEL_NAMES = ("model", "distortion_model", "camera_model", "lens_model")
_WIDTH_NAMES, _HEIGHT_NAMES = ("image_width", "width"), ("image_height", "height")
_SIZE_NAMES = ("image_size", "imageSize", "resolution", "size")
_MODELS: Mapping[str, LensModel] = {
    **dict.fromkeys(("brown", "plumb_bob", "rational_polynomial", "radtan", "opencv"), "brown"),
    **dict.fromkeys(("pinhole", "thin_prism", "none", ""), "brown"),
    **dict.fromkeys(("fisheye", "equidistant", "kannala_brandt", "opencv_fisheye"), "fisheye"),
}
"""By what others call them: OpenCV, ROS, Kalibr, COLMAP."""
_FORMS = (
    'JSON {"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], "dist": [k1, k2, p1, p2, k3]}, '
    "a 3×3 .npy, or YAML or XML from OpenCV or ROS"
)


@dataclass(frozen=True, kw_only=True)
class CameraFile:
    """What a camera file states."""

    K: Float[np.ndarray, "3 3"]
    """Intrinsics, px."""
    lens: Lens | None
    """None where the file states none."""
    size_px: tuple[int, int] | None = None
    """Width and height of the pictures that K is of, where the file states them."""


def read_camera(
    path: str | Path,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " coefficients"] | Lens | None]:
    """Read intrinsics and distortion, as `pipe(rgb, K=K, dist=dist)` takes them.

    Returns:
        K in px of the full picture, and OpenCV's distortion coefficients (5 at least), a `Lens` if
        it is a fish-eye, None if none are given. `read_camera_file` also gives the picture's size.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind or its numbers do not describe a camera.
    """
    camera = read_camera_file(path)
    if camera.lens is None or camera.lens.model == "fisheye":
        return camera.K, camera.lens
    return camera.K, distortion_array(camera.lens)


def read_camera_file(path: str | Path) -> CameraFile:
    """Read intrinsics, lens and picture size.

    JSON `{"K": [[...]], "dist": [...]}` with `"model": "fisheye"` and `"image_size": [width,
    height]` if wanted; a 3×3 `.npy`; OpenCV's YAML, XML or JSON (`camera_matrix`,
    `distortion_coefficients`; `fisheye_model` 1 as its calibration sample writes it); ROS
    `camera_info` as YAML (`plumb_bob`, `rational_polynomial`, `equidistant`).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind or its numbers do not describe a camera.
    """
    path = existing_file(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 1000} kB")
        data = path.read_bytes()
        if data.startswith(b"\x93NUMPY"):
            return CameraFile(K=check_intrinsics(np.load(path, allow_pickle=False)), lens=None)
        return _camera(_record(data))
    except RecursionError as error:
        fault = "it is nested too deeply"
        raise ValueError(f"{path} is not a camera file: {fault}; give {_FORMS}") from error
    except (ValueError, EOFError, OverflowError) as error:  # not UTF-8 is also a ValueError
        raise ValueError(f"{path} is not a camera file: {error}; give {_FORMS}") from error


def _record(data: bytes) -> Mapping[str, Any]:
    """The names and values of a JSON, YAML or XML file."""
    text = data.decode("utf-8-sig").strip()
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        if text.startswith("{"):
            raise ValueError("it is not JSON") from None
        record = _xml(text) if text.startswith("<") else _yaml(text)
    if not isinstance(record, Mapping):
        raise ValueError('there is no "K" in it')
    if isinstance(record.get("k"), list):  # ROS 2 writes its messages in small letters
        record = {"K": record["k"], **record}
    return record


class _Loader(PlainLoader):
    """OpenCV's matrices as dictionaries, too."""


def _opencv_matrix(loader: yaml.SafeLoader, node: Any) -> Any:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _opencv_matrix)


def _yaml(text: str) -> object:
    """YAML with or without OpenCV's header, which is not YAML."""
    check_nesting(text)
    lines = [line for line in text.splitlines() if not line.startswith("%YAML")]
    try:
        record = next(iter(yaml.load_all("\n".join(lines), Loader=_Loader)), None)
    except yaml.YAMLError as error:
        raise ValueError("it is not JSON, YAML or XML") from error
    if not isinstance(record, Mapping):
        raise ValueError("it is not JSON, YAML or XML with names and values")
    return record


def _xml(text: str) -> object:
    """OpenCV's XML: matrices have `rows`, `cols` and `data`, everything else is text."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it has XML declarations that OpenCV does not write")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"its XML is damaged ({error})") from error
    record: dict[str, Any] = {}
    for node in root:
        data = node.find("data")
        if data is not None:
            sides = {side: int(node.findtext(side, "0")) for side in ("rows", "cols")}
            record[node.tag] = {**sides, "data": (data.text or "").split()}
        else:
            record[node.tag] = (node.text or "").strip().strip('"')
    return record


def _camera(record: Mapping[str, Any]) -> CameraFile:
    """The camera of a file's names and values."""
    if not any(name in record for name in _K_NAMES):
        raise ValueError('there is no "K" in it')
    K = check_intrinsics(_matrix(_first(record, _K_NAMES)))
    values = _first(record, _DIST_NAMES)
    model = _model(record)
    lens = None
    if values is not None:
        values = _floats(values)
        if model == "fisheye" or len(values):
            lens = lens_of(values, model)
    return CameraFile(K=K, lens=lens, size_px=_size(record))


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of these names that the file has."""
    return next((record[name] for name in names if name in record), None)


def _floats(values: Any) -> Any:
    """Numbers of a list, or of a matrix as OpenCV and ROS write it; text as numbers."""
    if isinstance(values, Mapping):
        values = values.get("data")
    try:
        return np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError('"dist" must be a list of numbers') from error


def _matrix(values: Any) -> Any:
    """K as rows, of rows, of nine numbers, or of a matrix as OpenCV and ROS write it."""
    if isinstance(values, Mapping):
        values = values.get("data")
    if isinstance(values, list) and len(values) == 9:
        return [values[i : i + 3] for i in (0, 3, 6)]
    return values


def _model(record: Mapping[str, Any]) -> LensModel:
    """The lens model by its name in the file; brown if there is none."""
    name = _first(record, _MODEL_NAMES)
    if name is None:
        return "fisheye" if str(record.get("fisheye_model", 0)) in ("1", "True") else "brown"
    model = _MODELS.get(str(name).lower().replace("-", "_"))
    if model is None:
        known = ", ".join(name for name in _MODELS if name)
        raise ValueError(f"its lens model {name!r} is not known (known: {known})")
    return model


def _size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height, where they are stated as positive numbers."""
    size = _first(record, _SIZE_NAMES)
    if not (isinstance(size, list) and len(size) == 2):
        size = [_first(record, names) for names in (_WIDTH_NAMES, _HEIGHT_NAMES)]
    try:
        numbers = [float(value) for value in size]
    except (TypeError, ValueError):
        return None
    if not all(math.isfinite(value) and value >= 1 for value in numbers):
        return None
    return round(numbers[0]), round(numbers[1])
