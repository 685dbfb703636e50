"""MANO's files: what is read, in which forms, and what is refused without running anything."""

import io
import pickle
import struct
import tracemalloc
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idhand.assets import mano_reading
from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_reading import read_mano
from idhand.assets.pickle_names import MANO_NAMES, NEW_NUMPY_NAMES, Shell
from idhand.assets.unpickling import MAX_BYTES, read_pickle, unpickled
from tests.mano_files import (
    Global,
    Named,
    contents,
    hand_file,
    left_as_shipped,
    pickled,
    plain_contents,
    save_npz,
    wave_file,
)


def assert_same(found: ManoFile, expected: ManoFile) -> None:
    for field in fields(ManoFile):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(expected, field.name), field.name
        )


def refused(data: bytes) -> str:
    """The sentence with which a pickle is refused."""
    with pytest.raises(ValueError, match=r"x.pkl is refused: .*; nothing of it was run") as caught:
        unpickled(data, MANO_NAMES, "x.pkl", max_steps=1000)
    return str(caught.value)


def fault_of(data: bytes) -> str | None:
    """The sentence with which a pickle is refused; None if it is read."""
    try:
        unpickled(data, MANO_NAMES, "x.pkl")
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture
def right(tmp_path: Path) -> Path:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickled(contents(hand_file())))
    return path


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize("make", [hand_file, wave_file])
def test_a_pickle_in_the_originals_form_holds_what_was_put_there(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickled(contents(make())))
    for name in ("chumpy.reordering\nSelect", "scipy.sparse.csc\ncsc_matrix", "__builtin__\nset"):
        assert name.encode() in path.read_bytes()
    (file,) = read_mano(path)
    assert_same(file, make())


def test_every_form_gives_the_same_hands(tmp_path: Path) -> None:
    right, left = hand_file(), left_as_shipped(hand_file())
    folder = tmp_path / "mano_v1_2"
    (folder / "models").mkdir(parents=True)
    for name, file in (("MANO_RIGHT", right), ("MANO_LEFT", left)):
        (folder / "models" / f"{name}.pkl").write_bytes(pickled(contents(file)))
        save_npz(folder / f"{name}.npz", file)
        save_npz(folder / f"packed {name}.npz", file, packed=True)
    with zipfile.ZipFile(tmp_path / "mano_v1_2.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mano_v1_2/LICENSE.txt", "words")
        for name in ("MANO_RIGHT", "MANO_LEFT"):
            archive.write(folder / "models" / f"{name}.pkl", f"mano_v1_2/models/{name}.pkl")
    for place in (folder, folder / "models", tmp_path / "mano_v1_2.zip"):
        first, second = read_mano(place)
        assert_same(first, right)
        assert_same(second, left)
    for name, file in (("MANO_RIGHT", right), ("MANO_LEFT", left)):
        for path in (folder / f"{name}.npz", folder / f"packed {name}.npz"):
            (found,) = read_mano(path)
            assert_same(found, file)


def test_of_a_hand_that_is_there_twice_the_pickle_is_taken(right: Path) -> None:
    save_npz(right.with_suffix(".npz"), replace(hand_file(), pose_mean=np.zeros(45)))
    (file,) = read_mano(right.parent)
    assert_same(file, hand_file())


def test_arrays_of_other_programs_come_through() -> None:
    """Kong et al.'s files are lists of dictionaries with arrays, by Python 3."""
    value = {
        "list": [{"image": "a.jpg", "mesh": np.arange(6.0).reshape(2, 3)}] * 2,
        "turned": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "numbers": (1, -2.5, 10**30, None, True, b"\x00\xff", "ü", np.float64(2.5), np.int32(-7)),
        3: np.zeros((0, 4)),
        "big": np.arange(3, dtype=">i2"),
        "words": np.array(["ab", "c"]),
    }
    for protocol in (2, 3, 4):
        found = unpickled(pickle.dumps(value, protocol), NEW_NUMPY_NAMES, "x")
        assert found["list"][0] is found["list"][1]
        assert found["numbers"] == value["numbers"]
        assert list(found) == list(value)
        for key in ("turned", 3, "big", "words"):
            np.testing.assert_array_equal(found[key], value[key])
            assert found[key].dtype == value[key].dtype
        np.testing.assert_array_equal(found["list"][0]["mesh"], value["list"][0]["mesh"])
    old = pickled({"a": Named("chumpy.ch", "Ch", {"x": np.ones(2)})})
    shell = unpickled(old, MANO_NAMES, "x")["a"]
    assert isinstance(shell, Shell)
    assert shell.name == "chumpy.ch.Ch"
    np.testing.assert_array_equal(shell.attributes["x"], np.ones(2))


# ---------------------------------------------------------------- what runs code elsewhere


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "system", ("touch it",)),
        ("posix", "system", ("touch it",)),
        ("builtins", "eval", ("1",)),
        ("__builtin__", "eval", ("1",)),
        ("__builtin__", "getattr", ("a", "b")),
        ("numpy", "load", ("other.npy",)),
        ("numpy.core.multiarray", "scalar", ()),
        ("numpy", "ndarray.__reduce__", ()),
        ("copyreg", "_reconstructor", (Global("os", "system"), Global("os", "x"), None)),
        ("copy_reg", "add_extension", ("os", "system", 1)),
        ("chumpy.ch", "Ch.__init__", ()),
    ],
)
def test_names_that_are_no_part_of_such_a_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, arguments: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for step in (b"R", b"\x81"):
        evil = Named(module, name, None, arguments, step)
        for value in (evil, {"v_template": evil}, [np.ones(2), evil]):
            assert f"it names '{module}.{name}'" in refused(pickled(value))
    assert not list(tmp_path.iterdir())


def stacked(*names: str) -> bytes:
    """A name put together on the stack, as protocol 4 does."""
    return b"".join(b"\x8c" + bytes([len(n)]) + n.encode() for n in names) + b"\x93"


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        (stacked("os", "system") + b"\x8c\x01x\x85R", "it names 'os.system'"),
        (b"cos\nsystem\n.", "it names 'os.system'"),
        (b"\x82\x01", "an extension of copyreg's"),
        (b"\x83\x01\x00", "an extension of copyreg's"),
        (b"\x84\x01\x00\x00\x00", "an extension of copyreg's"),
        (b"Pos.system\n", "kept outside it"),
        (b"K\x01Q", "kept outside it"),
        (b"(ios\nsystem\n", "in a way that data do not need"),
        (b"(cnumpy\nndarray\no", "in a way that data do not need"),
        (b"cnumpy\nndarray\n)}\x92", "in a way that data do not need"),
        (b"I01\n", "text protocol"),
        (b"2", "it has the opcode b'2', which no data need: it is damaged, or no pickle"),
        (b"K\x01)R", "it calls something that has no name"),
        (b"]}b", "it changes the attributes of something that has none"),
        (b"cchumpy.ch\nCh\n}U\x04makeK\x01sb", "attributes of something that has none"),
        (b"cchumpy.ch\nCh\n)\x81K\x01K\x02\x86b", "gives a chumpy.ch.Ch no plain attributes"),
        (b"cchumpy.ch\nCh\n)\x81N}U\x01aK\x01s\x86b", "no plain attributes"),
        (b"cchumpy.ch\nCh\nK\x01\x85\x81", "makes a chumpy.ch.Ch of arguments"),
        (b"cchumpy.ch\nCh\n)\x81}U\x01aK\x01sb}U\x01aK\x01sb", "no plain attributes"),
        (b"cnumpy\nndarray\n)R", "makes an array in an unusual way"),
        (b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R", "of the type 'O'"),
        (b"cnumpy\ndtype\nU\x05i4,O4K\x00K\x01\x87R", "of the type 'i4,O4'"),
        (b"}]K\x01s", "neither a text nor a whole number"),
        (b"}" + b"\x8a\x09" + b"\xff" * 8 + b"\x7f" + b"K\x01s", "neither a text nor a whole"),
        (b"K\x01K\x02a", "it puts things into something that is no list"),
        (b"]K\x01K\x02s", "it puts things into something that is no dict"),
        (b"e", "damaged, or no pickle"),
        (b"0", "damaged, or no pickle"),
        (b"h\x07", "damaged, or no pickle"),
        (b"R", "damaged, or no pickle"),
        (b"U\x05ab", "it is cut short, or no pickle: 5 bytes should follow, 3 bytes"),
        (b"T\x10\x27\x00\x00ab", "10,000 bytes should follow, 3 bytes"),
        (b"T\xff\xff\xff\xff", "it is cut short"),
        (b"X\x02\x00\x00\x00\xff\xff", "damaged, or no pickle"),
    ],
)
def test_what_data_do_not_need_is_refused(steps: bytes, fault: str) -> None:
    assert fault in refused(b"\x80\x02" + steps + b".")


def test_every_cut_and_every_changed_byte_ends_in_a_sentence_or_in_data() -> None:
    whole = pickled({"a": np.arange(3), "b": [Named("chumpy.ch", "Ch", {"x": 1})]})
    for k in range(len(whole)):
        assert "x.pkl" in refused(whole[:k])
        for other in (0x62, whole[k] ^ 1)[k % 2 :]:
            changed = whole[:k] + bytes([other]) + whole[k + 1 :]
            assert (fault_of(changed) or "x.pkl is refused: it ").startswith(
                "x.pkl is refused: it "
            )


# ---------------------------------------------------------------- bombs


def array_bomb(shape: tuple[int, ...], data: bytes = b"few") -> Named:
    kind = Named("numpy", "dtype", (3, "<", None, None, None, -1, -1, 0), ("f8", 0, 1), b"R")
    start = (Global("numpy", "ndarray"), (0,), "b")
    return Named(
        "numpy.core.multiarray", "_reconstruct", (1, shape, kind, False, data), start, b"R"
    )


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def repeated(number: int) -> bytes:
    """Many arrays of the same bytes, which the memo holds."""
    body = bytes(100_000)
    text = b"T" + struct.pack("<i", len(body)) + body + b"q\x00"
    kind = pickled(array_bomb((12_500,)).state[2])[2:-1] + b"q\x01"
    one = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    one += b"(K\x01M\xd4\x30\x85h\x01\x89h\x00tb"
    return b"\x80\x02(" + text + kind + one * number + b"l."


def test_sizes_are_bounded_before_memory_is_taken(tmp_path: Path) -> None:
    huge = 2**31 - 1
    bombs = {
        "it claims an array of 10000.0 MB, of which 3 bytes are there": pickled(
            array_bomb((1_250_000_000,))
        ),
        "it claims an array of absurdly many bytes": pickled(array_bomb((huge,) * 4)),
        "it has an array whose shape is none": pickled(array_bomb((-1, huge))),
        "10000.0 MB should follow": b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"abc.",
        "2147.5 MB should follow": b"\x80\x02T" + struct.pack("<i", huge) + b"abc.",
        "it makes many things of the same bytes": repeated(50),
        "it has more than 1000 steps": b"\x80\x02" + b"]" * 2_000 + b".",
    }
    tracemalloc.start()
    try:
        for fault, data in bombs.items():
            assert fault in refused(data)
        place = b"\x80\x02K\x01r\xff\xff\xff\xff."  # a place of the memo, not four thousand million
        assert unpickled(place, MANO_NAMES, "x") == 1
        deep = unpickled(nested(3_000), MANO_NAMES, "x")
        assert isinstance(deep, list)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    path = tmp_path / "MANO_RIGHT.pkl"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"has 67\.1 MB, but at most 67\.1 MB are read"):
        read_pickle(path, MANO_NAMES)


def test_two_arrays_of_the_same_bytes_are_no_bomb() -> None:
    """Only what is copied again and again is one: the pickle has room for each array once."""
    assert len(unpickled(repeated(1), MANO_NAMES, "x")) == 3


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mano_reading, "MAX_BYTES", 10**6)
    bomb = zipped(tmp_path / "m.zip", **{"models/MANO_RIGHT.pkl": bytes(10**6 + 1)})
    assert bomb.stat().st_size < 2000
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl unpacks to more than 1\.0 MB"):
        read_mano(bomb)
    npz = zipped(tmp_path / "MANO_RIGHT.npz", **{"v_template.npy": bytes(10**6 + 1)})
    with pytest.raises(ValueError, match=r"v_template.npy unpacks to more than 1\.0 MB"):
        read_mano(npz)
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1_250_000_000,)}
    np.lib.format.write_array_header_1_0(stream, header)
    claims = zipped(tmp_path / "MANO_LEFT.npz", **{"v_template.npy": stream.getvalue() + b"few"})
    with pytest.raises(ValueError, match=r"claims an array of 10000.0 MB .* 3 bytes are there"):
        read_mano(claims)


def test_a_pickle_in_an_npz_is_not_opened(tmp_path: Path) -> None:
    arrays = plain_contents(hand_file()) | {"v_template": np.array([{}], dtype=object)}
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"claims an array of .* the type object"):
        read_mano(tmp_path / "MANO_RIGHT.npz")


@pytest.mark.parametrize(
    "name",
    ["../MANO_RIGHT.pkl", "/tmp/MANO_RIGHT.pkl", "a\\..\\..\\b", "C:\\a\\b", "C:MANO_RIGHT.pkl"],
)
def test_a_path_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "m.zip", **{name: pickled(contents(hand_file()))})
    with pytest.raises(ValueError, match=r"m.zip has a file whose path leaves the archive"):
        read_mano(path)


@pytest.mark.parametrize("name", ["mano_v1_2.zip", "MANO_RIGHT.npz"])
def test_an_archive_that_is_cut_short_is_not_taken_for_a_pickle(tmp_path: Path, name: str) -> None:
    """Its bytes, read as opcodes, ask for odd things; a half download has another remedy."""
    path = zipped(tmp_path / name, **{"models/MANO_RIGHT.pkl": pickled(contents(hand_file()))})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=rf"{name} is an archive whose end is missing .* again$"):
        read_mano(path)


# ---------------------------------------------------------------- other hands, other parts


def changed(**arrays: Any) -> bytes:
    return pickled({k: v for k, v in (contents(hand_file()) | arrays).items() if v is not ...})


def test_the_side_is_that_of_the_mesh_and_of_the_name(tmp_path: Path) -> None:
    right, left = hand_file(), left_as_shipped(hand_file())
    for name, file, says in (("MANO_LEFT", right, "left"), ("MANO_RIGHT", left, "right")):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickled(contents(file)))
        is_one = "right" if says == "left" else "left"
        with pytest.raises(ValueError, match=f"says that it is the {says} .* holds a {is_one} one"):
            read_mano(path)
        path = tmp_path / f"hand of {name[-1]}.pkl"
        path.write_bytes(pickled(contents(file)))
        assert read_mano(path)[0].is_right == (file is right)
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    turned = replace(right, template=right.template @ turn)
    path = tmp_path / "hand.pkl"
    path.write_bytes(pickled(contents(turned)))
    with pytest.raises(ValueError, match=r"does not tell its side.*call it MANO_RIGHT or"):
        read_mano(path)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"v_template": np.zeros((6890, 3))}, r"has 6890 vertices \(SMPL's body\), MANO's hand "),
        ({"v_template": np.zeros((10475, 3))}, r"10475 vertices \(SMPL-X's body\)"),
        ({"v_template": np.zeros((99, 3))}, r"99 vertices \(of something else\)"),
        ({"v_template": ...}, "is no hand of MANO's: it has no 'v_template'"),
        ({"hands_mean": ...}, "has no 'hands_mean'"),
        ({"hands_components": np.zeros((6, 45))}, r"'hands_components' of shape \(6, 45\)"),
        ({"weights": np.zeros((778, 24))}, r"'weights' of shape \(778, 24\), MANO's has \(778, 16"),
        ({"weights": np.zeros((778, 16))}, r"'weights' whose rows do not sum to one \(off by 1\)"),
        ({"hands_mean": np.full(45, np.nan)}, "'hands_mean' with numbers that are not finite"),
        ({"hands_mean": "no"}, "'hands_mean' that is no array of numbers"),
        ({"f": np.full((1538, 3), 778)}, "'f' with other vertices than 0 to 777"),
        ({"v_template": 1e3 * hand_file().template}, "a hand of 221 m; metres are needed"),
        ({"kintree_table": np.zeros((2, 16), int)}, "joints in another order than MANO's"),
        ({"shapedirs": Named("chumpy.reordering", "Select", {"a": 1})}, "'shapedirs' that is no"),
        (
            {"J_regressor": Named("scipy.sparse.csc", "csc_matrix", {"_shape": (10**6, 10**6)})},
            "'J_regressor' that is no array",
        ),
        (
            {
                "J_regressor": Named(
                    "scipy.sparse.csc",
                    "csc_matrix",
                    {
                        "_shape": (16, 778),
                        "indptr": np.array([0] + [2**40] * 778),
                        "indices": np.zeros(1, int),
                        "data": np.ones(1),
                    },
                )
            },
            "'J_regressor' that is no array",
        ),
    ],
)
def test_other_parts_and_damaged_arrays_are_refused(
    tmp_path: Path, arrays: dict[str, Any], fault: str
) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(changed(**arrays))
    with pytest.raises(ValueError, match=f"MANO_RIGHT.pkl has .*{fault}|{fault}.*name MANO_RIGHT"):
        read_mano(path)


def test_places_without_mano_are_refused(tmp_path: Path, right: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_mano(tmp_path / "nothing.pkl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has neither MANO_RIGHT.pkl nor MANO_LEFT.pkl"):
        read_mano(tmp_path / "empty")
    path = zipped(tmp_path / "other.zip", **{"models/other.pkl": b"x"})
    with pytest.raises(ValueError, match=r"other.zip has neither"):
        read_mano(path)
    right.write_bytes(b"\xff\xd8\xff\xe0 a picture")
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl is refused: it has the opcode"):
        read_mano(right)
