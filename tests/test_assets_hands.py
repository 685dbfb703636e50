"""The registry of hand models: what `add_hand` writes, `hand` reads, or refuses with a sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand import assets
from idhand.assets import OPEN_HAND, open_hand
from idhand.hand import FittableHand, Measures, ShapePrior

from .conftest import toy_hand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's hand models lie in a folder that is not there yet."""
    path = tmp_path / "models" / "hands"
    monkeypatch.setenv("IDHAND_HANDS", str(path))
    return path


def tensors(value: Any) -> dict[str, Any]:
    """All of a model's fields and its parts' by name."""
    found: dict[str, Any] = {}
    for name, part in vars(value).items():
        if name.startswith("_") or name in type(value).__dict__:
            continue  # what was computed and kept
        parts = dict(part) if isinstance(part, dict) else {"": part}
        for key, item in parts.items():
            deep = not torch.is_tensor(item) and hasattr(item, "__dataclass_fields__")
            inner = tensors(item) if deep else {"": item}
            found |= {f"{name}.{key}.{k}": v for k, v in inner.items()}
    return found


def rewritten(path: Path, **changed: Any) -> None:
    """The same file with some arrays replaced, or left out where None is given."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changed
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{k: v for k, v in arrays.items() if v is not None})


def with_header(path: Path, **changed: Any) -> None:
    with np.load(path) as archive:
        header = json.loads(archive["header"].tobytes()) | changed
    rewritten(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8))


@pytest.mark.parametrize("with_correctives", [True, False])
def test_a_hand_comes_back_as_it_was_added(folder: Path, with_correctives: bool) -> None:
    populations = {
        "child": ShapePrior(mean=torch.ones(4).double(), covariance=torch.eye(4).double())
    }
    model = replace(toy_hand(), populations=populations)
    model = model if with_correctives else replace(model, pose_basis=None)
    assert assets.add_hand(model) == folder / "toy.npz"
    back = assets.hand("toy")
    assert back.is_right
    expected, found = tensors(model), tensors(back)
    assert set(found) == set(expected)
    assert sum(torch.is_tensor(value) for value in expected.values()) >= 20
    for name, value in expected.items():
        if torch.is_tensor(value):
            assert torch.equal(found[name], value), name
            assert found[name].dtype == value.dtype, name
        else:
            assert found[name] == value, name
    assert torch.equal(back.of_population("child").prior.mean, torch.ones(4).double())


def test_hands_are_listed_and_replaced(folder: Path) -> None:
    assert assets.hand_names() == (OPEN_HAND,)
    assert assets.hand(OPEN_HAND) is open_hand()
    assets.add_hand(toy_hand())
    assert assets.hand_names() == (OPEN_HAND, "toy")
    assert assets.hand("toy") is assets.hand("toy"), "read once"
    assets.add_hand(replace(toy_hand(), template=2 * toy_hand().template))
    assert torch.equal(assets.hand("toy").template, 2 * toy_hand().template)
    assert [path.name for path in folder.iterdir()] == ["toy.npz"], "nothing else is left there"


def test_an_unknown_name_is_answered_with_those_that_are_here(folder: Path) -> None:
    with pytest.raises(ValueError, match=f"'toy' is not here; there is '{OPEN_HAND}'. Add it"):
        assets.hand("toy")
    assets.add_hand(toy_hand())
    with pytest.raises(ValueError, match=f"'mano' is not here; there are '{OPEN_HAND}', 'toy'"):
        assets.hand("mano")


@pytest.mark.parametrize("name", ["", "../toy", "a/b", ".toy", "to y", "toy\n"])
def test_names_are_file_names(folder: Path, name: str) -> None:
    for call in (assets.hand, lambda n: assets.add_hand(replace(toy_hand(), name=n))):
        with pytest.raises(ValueError, match="letters, digits, dots, hyphens and underscores, got"):
            call(name)
    assert not folder.exists()


def test_the_built_in_name_is_taken(folder: Path) -> None:
    with pytest.raises(ValueError, match=f"'{OPEN_HAND}' is the built-in hand model.*another name"):
        assets.add_hand(replace(toy_hand(), name=OPEN_HAND))
    assert not folder.exists()


def test_a_damaged_file_is_refused_with_a_sentence(folder: Path) -> None:
    path = assets.add_hand(toy_hand())
    whole = path.read_bytes()
    again = "add the hand model again with idhand.assets.add_hand"
    middle = len(whole) // 2
    for content, fault in (
        (whole[:middle], rf"damaged \(.*; {again}"),
        (whole[:middle] + b"\xff" * 64 + whole[middle + 64 :], rf"damaged \(.*; {again}"),
        (b"", r"is empty \(0 bytes\)"),
        (b"no archive at all", "is no hand model of idhand's; name another file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"toy.npz.*{fault}"):
            assets.hand("toy")


def test_files_of_another_kind_version_or_name_are_refused(folder: Path) -> None:
    path = assets.add_hand(toy_hand())
    whole = path.read_bytes()
    with_header(path, version=2)
    with pytest.raises(ValueError, match="has version 2, this idhand reads version 1; update"):
        assets.hand("toy")
    path.write_bytes(whole)
    with_header(path, format="idhand-predictions")
    with pytest.raises(ValueError, match="is no hand model of idhand's"):
        assets.hand("toy")
    path.write_bytes(whole)
    rewritten(path, header=None)
    with pytest.raises(ValueError, match="is no hand model of idhand's"):
        assets.hand("toy")
    path.write_bytes(whole)
    with_header(path, name="other")
    with pytest.raises(ValueError, match=r"holds the hand model 'other'; call the file other\.npz"):
        assets.hand("toy")


_INFINITE = np.full((40, 3), np.inf)
_MANO_ORDER = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 13])


@pytest.mark.parametrize(
    ("name", "array", "fault"),
    [
        ("template", _INFINITE, "'template' with numbers that are not finite"),
        ("template", np.zeros((40, 2)), r"shape \(40, 2\), but \(40, 3\) is needed \(vertices × 3"),
        (
            "skinning",
            np.zeros((41, 16)),
            r"'skinning' of shape \(41, 16\), but \(40, 16\) is needed",
        ),
        ("shape_basis", None, "has no 'shape_basis'"),
        ("pose_basis", np.zeros((40, 3, 45)), r"\(40, 3, 135\) is needed"),
        (
            "parents",
            _MANO_ORDER,
            "the 16 joints must be the wrist, then three each of thumb, index",
        ),
        ("faces", np.array([[0, 1, 40]]), "'faces' with other values than whole numbers 0 to 39"),
        ("faces", np.array([[0.5, 1, 2]]), "'faces' with other values than whole numbers 0 to 39"),
        ("tip_verts", np.array([-1, 1, 2, 3, 4]), "'tip_verts' with other values than whole"),
        ("pose_space.joint", np.zeros(45, int), "'pose_space.joint' with other .* 1 to 15"),
        ("pose_space.mean", np.zeros(44), r"'pose_space.mean' of shape \(44,\), but \(45,\)"),
        ("landmarks.template", np.zeros((20, 3)), r"\(21, 3\) is needed"),
        ("measures.names", np.array(["span"]), "has no measure 'hand_length'.*it has span"),
        ("measures.names", np.array([1]), "'measures.names' that are not texts"),
        ("prior.covariance", np.eye(5), r"'prior.covariance' of shape \(5, 5\), but \(4, 4\)"),
        ("prior.mean", np.full(4, np.nan), "'prior.mean' with numbers that are not finite"),
    ],
)
def test_arrays_that_make_no_hand_are_refused(
    folder: Path, name: str, array: np.ndarray | None, fault: str
) -> None:
    path = assets.add_hand(toy_hand())
    rewritten(path, **{name: array})
    with pytest.raises(ValueError, match=f"toy.npz.*{fault}"):
        assets.hand("toy")


def test_what_could_not_be_read_is_not_written(folder: Path) -> None:
    good: FittableHand = toy_hand()
    bad = replace(good, template=good.template * torch.nan)
    with pytest.raises(
        ValueError, match="hand model 'toy' has 'template' with numbers that are not"
    ):
        assets.add_hand(bad)
    assert not list(folder.glob("*"))
    measures: Measures = replace(good.measures, segments=good.measures.segments + 7)
    with pytest.raises(ValueError, match=r"'measures\.segments' with other values than whole"):
        assets.add_hand(replace(good, measures=measures))
