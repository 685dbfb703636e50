"""The resampled hand as files in MANO's form: read back whole, with the original's names alone."""

import io
import pickletools
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_reading import read_mano
from idhand.assets.mano_writing import pickled, write_resampled
from idhand.assets.resampled import resampled_hand
from idhand.cli import main

ORIGINALS_NAMES = {
    "numpy.core.multiarray _reconstruct",
    "numpy ndarray",
    "numpy dtype",
    "scipy.sparse.csc csc_matrix",
    "chumpy.reordering Select",
    "chumpy.ch Ch",
    "__builtin__ set",
}
ORIGINALS_KEYS = [
    *("hands_components", "f", "J_regressor", "kintree_table", "J", "bs_style", "hands_coeffs"),
    *("weights", "posedirs", "hands_mean", "v_template", "shapedirs", "bs_type"),
]


def assert_alike(file: ManoFile, expected: ManoFile) -> None:
    assert file.is_right == expected.is_right
    for f in fields(ManoFile):
        np.testing.assert_array_equal(getattr(file, f.name), getattr(expected, f.name))


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path):
    names = [path.name for path in write_resampled(tmp_path / "new" / "mano")]
    assert names == ["MANO_RIGHT.pkl", "MANO_RIGHT.npz", "MANO_LEFT.pkl", "MANO_LEFT.npz"]
    for name in names:
        (file,) = read_mano(tmp_path / "new" / "mano" / name)
        assert_alike(file, resampled_hand(is_right="RIGHT" in name))


def test_the_pickle_has_the_originals_form():
    codes = list(pickletools.genops(pickled(resampled_hand())))
    assert (codes[0][0].name, codes[0][1]) == ("PROTO", 2)
    assert max(op.proto for op, _, _ in codes) == 2
    assert {arg for op, arg, _ in codes if op.name == "GLOBAL"} == ORIGINALS_NAMES
    texts = [arg for op, arg, _ in codes if op.name == "SHORT_BINSTRING"]
    assert [text for text in texts if text in ORIGINALS_KEYS] == ORIGINALS_KEYS
    pickletools.dis(pickled(resampled_hand()), out=io.StringIO())  # refuses what does not add up


def test_the_npz_has_the_originals_keys_and_values(tmp_path: Path):
    write_resampled(tmp_path)
    with np.load(tmp_path / "MANO_RIGHT.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(ORIGINALS_KEYS)
        assert arrays["kintree_table"][0].tolist() == [
            4294967295,
            0,
            1,
            2,
            0,
            4,
            5,
            0,
            7,
            8,
            0,
            10,
            11,
            0,
            13,
            14,
        ]
        assert arrays["f"].dtype == np.uint32
        joints = arrays["J_regressor"] @ arrays["v_template"]
        np.testing.assert_array_equal(arrays["J"], joints)


def test_the_command_writes_what_the_command_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    assert main(["assets", "export", "--format", "mano", "--out", str(tmp_path / "F")]) == 0
    assert (tmp_path / "F" / "MANO_LEFT.pkl").is_file()
    assert "MANO_RIGHT.npz" in capsys.readouterr().out
    assert main(["assets", "mano", str(tmp_path / "F")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    # ANSUR's length of the open hand, 187.2 mm, which the carried measures know.
    assert "right, hand length 187 mm" in first
    assert "left as shipped, mirrored, hand length 187 mm" in second
