"""The benchmarks run, on next to nothing; their numbers are not looked at here."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import idhand

from .conftest import shared_file

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_hand_layer_is_timed_and_reported() -> None:
    rows = import_module("speed_hand").hand_layer(repeats=1, batch=2)
    text = import_module("speed").report(rows)
    assert "hands/s" in text
    assert all(row.value > 0 for row in rows if row.unit == "hands/s")


def test_row_knows_whether_its_target_is_met() -> None:
    Row = import_module("timing").Row
    assert Row(name="a", value=1.0, unit="s", target=2).met
    assert not Row(name="a", value=1.0, unit="×", target=2, at_most=False).met
    assert Row(name="a", value=1.0, unit="s").met is None


def test_bones_of_scaled_hands_vary_only_in_size() -> None:
    shape = import_module("real_shape")
    points = np.random.default_rng(0).normal(size=(21, 3))
    lengths = shape.bone_lengths(np.stack([points, 1.1 * points, 0.9 * points]))
    raw, scaled = shape.variation(lengths)
    assert raw == pytest.approx(10.0)
    assert scaled == pytest.approx(0.0, abs=1e-9)


def test_steady_motion_has_no_second_difference() -> None:
    shape = import_module("real_shape")
    points = [np.full((21, 3), 0.01 * k) for k in range(4)]
    assert shape.second_difference_mm(points).max() < 1e-9
    assert shape.second_difference_mm([points[0], None, points[1], points[2]]).size == 0


def test_recognition_of_people_who_differ_is_perfect() -> None:
    recognition = import_module("real_recognition")
    halves = recognition._halves(recognition.QUICK_SPLITS)
    rng = np.random.default_rng(0)
    people = [[own for _ in halves] for own in rng.normal(size=(5, 16))]
    auc, _, first, _ = recognition._scores(people, recognition._distance, halves)
    assert (auc, first) == (1.0, 100.0)
    P = recognition.size_free(idhand.load().model)
    assert np.linalg.matrix_rank(P) == 15


def test_man_is_told_from_students_by_hand() -> None:
    """Of three calibrations of the man only the first and the last are compared: 0.4 apart.

    The first is nearer to the last than to two of three students, the last than to one.
    """
    places = import_module("real_places")
    within = np.array([[0.0, 9.0, 0.4], [9.0, 0.0, 9.0], [0.4, 9.0, 0.0]])
    between = np.array([[0.5, 0.6, 0.3], [0.0, 0.0, 0.0], [0.1, 0.2, 0.7]])
    found = places.separation(within, between)
    assert found.auc == pytest.approx(3 / 6)
    assert found.low <= found.auc <= found.high


def test_every_kind_of_evidence_is_explained_and_calibrates() -> None:
    evidence = import_module("real_evidence")
    assert [*evidence.MEANING] == [*evidence.EVIDENCE]


def test_taco_table_has_all_hands() -> None:
    root = shared_file("data/real")
    data = import_module("real_data").RealData(root=root, pipe=idhand.load())
    text = import_module("real_truth").taco_report(data)
    assert "WRONG" not in text
    assert text.count("hand length given |") == 4


@pytest.mark.slow
def test_hands_of_manos_form_are_measured() -> None:
    mano = import_module("mano")
    assert "| the worst of them | 0." in mano.carrying()
    assert "betas given" in mano.refining(repeats=1, num=2)
    assert "hands found" in mano.detecting(2)
    assert "both sides converted" in mano.conversion()
