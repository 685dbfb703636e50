"""Hands of photos and frames ↔ JSON files. The schema is in docs/output.md."""

import dataclasses
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, get_args

import numpy as np
from jaxtyping import Float

from idhand import __version__
from idhand.assets import OPEN_HAND
from idhand.files import FileKind, existing_file, parse_json, replacing
from idhand.hand import FittableHand
from idhand.lens import Distortion, Lens, lens_of
from idhand.records import FLIP, Detection, HandResult, Status
from idhand.view.mesh import check_model

KIND = FileKind(format="", version=1, name="file of hands", remedy="run idhand on it again")
"""The version is the schema's: raised when a reader of the old would misunderstand the new one."""

DECIMALS_PX, DECIMALS = 3, 6
"""Kept digits of pixels, and of metres (1 µm), rotations, betas and probabilities."""
_SHAPES = {"rotations": (16, 3, 3), "keypoints_cam": (21, 3), "keypoints_px": (21, 2), "K": (3, 3)}
"""Of a hand's arrays that drawings and exports rely on."""
_LEFT_OUT = ("verts_cam", "faces", "features", "keypoints")


@dataclass(frozen=True, kw_only=True)
class ImageHands:
    """What was found in one photo or in one frame of a video."""

    file: str
    """Of the photo or video, as the user named it."""
    name: str
    """What the output files of this photo or video begin with."""
    width: int
    height: int
    """Of the upright picture, px."""
    K: Float[np.ndarray, "3 3"] | None
    """As given or read from the file; None if it had to be guessed."""
    dist: Distortion = None
    """Lens distortion as it was given; a fish-eye is a `Lens`, also when read back."""
    mirrored: bool = False
    """Whether the picture was given as a mirror image."""
    hands: tuple[HandResult, ...]
    """Read back without a model, their meshes are empty."""
    names: tuple[str, ...] = ()
    """Of the hands of a video's frame, as a tracker names them: the same hand has the same name in
    all frames, and in the exports. Empty for photos."""
    frame: int | None = None
    """Index in the video, from 0; None for photos."""
    time_s: float | None = None
    """Since the video's first frame; None for photos."""


def write_hands(path: str | Path, images: Sequence[ImageHands]) -> None:
    """Write the photos' hands as one JSON file."""
    record = {
        **KIND.header,
        "idhand": __version__,
        "images": [_encode_image(i) for i in images],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, allow_nan=False, ensure_ascii=False), "utf-8")


class JsonLines:
    """Writes hands frame by frame, one JSON line each: `with JsonLines(path) as f: f.add(...)`.

    The file appears when the block ends well. If the block fails or is interrupted, or if no frame
    was added, there is none, and one of an earlier time stays.
    """

    def __init__(self, path: str | Path):
        self._path, self._stack = Path(path), ExitStack()
        self._temporary: Path | None = None
        self._stream: TextIO | None = None

    def __enter__(self) -> "JsonLines":
        """Choose a temporary name."""
        self._temporary = self._stack.enter_context(replacing(self._path))
        return self

    def add(self, image: ImageHands) -> None:
        """Append one line."""
        assert self._temporary is not None, "use JsonLines in a with block"
        if self._stream is None:
            stream = self._temporary.open("w", encoding="utf-8")
            self._stream = self._stack.enter_context(stream)
        record = {**KIND.header, "idhand": __version__, **_encode_image(image)}
        self._stream.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the file its name, or remove it."""
        self._stack.__exit__(kind, error, trace)


def read_hands(path: str | Path, model: FittableHand | None = None) -> list[ImageHands]:
    """Read `hands.json` or `hands.jsonl` back; null numbers as NaN.

    Args:
        path: The file.
        model: The right-hand model of the hands, such as `pipe.model`: gives them their meshes,
            which are empty without it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of a later version or of another kind.
    """
    path = existing_file(path)
    try:
        images = [_decode(record) for record in _records(path)]
    except (KeyError, TypeError, ValueError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not a readable file of hands: {missing}") from error
    if model is None:
        return images
    return [
        dataclasses.replace(
            image,
            hands=tuple(
                hand if hand.status == "diverged" else with_mesh(hand, model)
                for hand in image.hands
            ),
        )
        for image in images
    ]


def _records(path: Path) -> list[dict[str, Any]]:
    """One dictionary per picture or frame; of a file of lines, each line names its version."""
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        lines = ((f"line {n}", line) for n, line in enumerate(data.split(b"\n"), 1) if line)
        return [KIND.check(parse_json(line, n, KIND.remedy), n) for n, line in lines]
    return KIND.check(parse_json(data, "the file", KIND.remedy), "the file")["images"]


def with_mesh(hand: HandResult, model: FittableHand) -> HandResult:
    """The hand with the mesh that its shape and pose give.

    Args:
        hand: A hand whose fit has a meaning.
        model: The right-hand model that it was fitted with.

    Raises:
        ValueError: If the model is another one.
    """
    import torch

    check_model("the hand", hand.model, hand.betas.shape[-1], model)
    sided = model if hand.is_right else model.mirrored()
    flip = np.ones(3) if hand.is_right else FLIP
    R = torch.from_numpy(flip[:, None] * hand.rotations * flip)
    person = sided.with_shape(torch.from_numpy(hand.betas.astype(np.float64)))
    posed = person.posed(R, torch.from_numpy(hand.keypoints_cam[0].astype(np.float64)))
    return dataclasses.replace(hand, verts_cam=posed.verts.numpy(), faces=sided.faces.numpy())


def _encode_image(image: ImageHands) -> dict[str, Any]:
    """The picture's record; names are written with their hands."""
    record = _encode(image)
    names = record.pop("names")
    if names:
        for hand, name in zip(record["hands"], names, strict=True):
            hand["name"] = name
    return record


def _encode(value: object, decimals: int = DECIMALS) -> Any:
    """Records → dictionaries without meshes, arrays → lists, numbers that are not finite → None."""
    if isinstance(value, Lens):
        numbers = list(value.coefficients)
        if value.model == "brown":
            return numbers
        return {"model": value.model, "coefficients": numbers}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if f.name not in _LEFT_OUT]
        return {
            name: _encode(getattr(value, name), DECIMALS_PX if name.endswith("_px") else DECIMALS)
            for name in fields
        }
    if isinstance(value, np.ndarray):
        return _encode(value.tolist(), decimals)
    if isinstance(value, (list, tuple)):
        return [_encode(item, decimals) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), decimals) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _decode(record: dict[str, Any]) -> ImageHands:
    """The opposite of `_encode`."""
    known = {field.name for field in dataclasses.fields(ImageHands)} - {"hands", "names"}
    values = {name: _array(value) for name, value in record.items() if name in known}
    if isinstance(values.get("dist"), dict):
        values["dist"] = lens_of(values["dist"]["coefficients"], values["dist"]["model"])
    values["hands"] = tuple(_decode_hand(hand) for hand in record["hands"])
    names = tuple(hand["name"] for hand in record["hands"] if "name" in hand)
    return ImageHands(names=names, **values)


def _decode_hand(record: dict[str, Any]) -> HandResult:
    """A hand with an empty mesh."""
    values, detection = _fields(HandResult, record), _fields(Detection, record["detection"])
    for name, shape in _SHAPES.items():
        if np.shape(values[name]) != shape:
            raise ValueError(f"{name} of a hand has shape {np.shape(values[name])}, not {shape}")
    if detection.get("outside") is not None:
        detection["outside"] = detection["outside"].astype(bool)
    values["detection"] = Detection(**detection)
    values.setdefault("model", OPEN_HAND)  # the only one while files did not name it
    if values["status"] not in get_args(Status):
        known = ", ".join(get_args(Status))
        raise ValueError(f"a hand has the status '{values['status']}', which is none of {known}")
    for name in ("residual_px", "depth_std_m"):
        values[name] = math.nan if values[name] is None else values[name]
    return HandResult(verts_cam=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int64), **values)


def _fields(kind: type[Any], record: dict[str, Any]) -> dict[str, Any]:
    """The values of a record's fields; keys that only later versions know are left out."""
    known = {field.name for field in dataclasses.fields(kind)}
    return {name: _array(value) for name, value in record.items() if name in known}


def _array(value: object) -> Any:
    """Lists as arrays, null in them as NaN."""
    return np.array(value, dtype=np.float64) if isinstance(value, list) else value
