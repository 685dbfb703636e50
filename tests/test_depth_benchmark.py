"""The benchmark of depth: its tables from rows of known errors, and a run that goes on."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idhand.data import encode_sample, write_shards
from idhand.refinement.deviations import AS_STATED

from .test_benchmarks import benchmarks_importable as benchmarks_importable
from .test_cli_predict import Demo, demo_samples, jpeg_of

NUM = 400


@pytest.fixture(autouse=True)
def _benchmarks(benchmarks_importable: None) -> None:
    """Every test here imports from the benchmarks' folder."""


class Seen(Demo):
    """The bundled pictures, all keypoints visible."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = replace(demo_samples()[index], visible=np.ones(21, bool))
        return encode_sample(sample, jpeg_of(sample))


def some_rows(*, relative: np.ndarray, std_m: float = 0.01, off_m: float = 0.003) -> Any:
    """Hands at half a metre, too far by these shares; keypoints about the wrist off by `off_m`.

    Half of them have 20 visible keypoints, the others 3.
    """
    module = import_module("depth_rows")
    num, rng = len(relative), np.random.default_rng(0)
    truth = np.tile([0.0, 0.0, 0.5], (num, 21, 1))
    truth[:, 1:] += rng.normal(size=(num, 20, 3)) * 0.02
    fitted = truth + np.array([0.0, 0.0, 0.5]) * relative[:, None, None]
    fitted[:, 1:, 0] += off_m
    fits = replace(
        module.without_fit(num),
        keypoints_cam=fitted,
        keypoints_px=np.full((num, 21, 2), 103.0),
        status=np.zeros(num, int),
        keypoints_pose=np.full((num, 21), 0.002**2),
        keypoints_shape=np.zeros((num, 21)),
        depth_pose=np.full(num, std_m**2),
        depth_shape=np.zeros(num),
        size=np.ones(num),
        visible=np.ones((num, 21)),
        misfit_m=np.full(num, 0.002),
    )
    return module.Rows(
        subject=np.array([f"p{i % 20}" for i in range(num)]),
        sample_id=np.array([str(i) for i in range(num)]),
        found=np.ones(num, bool),
        is_visible=np.arange(21) < np.where(np.arange(num) % 2, 20, 3)[:, None],
        truth_cam=truth,
        truth_px=np.full((num, 21, 2), 100.0),
        crop_px=np.full(num, 448.0),
        score=np.ones(num),
        landmarks_px=np.full((num, 21, 2), 106.0),
        network_px=np.full((num, 21, 2), np.nan),
        known=fits,
        unknown=module.without_fit(num),
    )


def cells(text: str, name: str) -> list[str]:
    """The first line of tables that begins with a name, without intervals."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.split(" [")[0].strip() for cell in line.strip("| ").split("|")]


def test_depth_table_of_normal_errors() -> None:
    """Errors of 2 % about 3 %, stated as 1 cm of half a metre (2 %): columns by hand."""
    relative = 0.03 + 0.02 * np.random.default_rng(1).normal(size=NUM)
    rows = some_rows(relative=relative)
    tables = import_module("depth_tables")
    text = tables.depth_table(rows, rows.known, np.full(NUM, 0.01), 0)
    name, n, median, mean, deviation, half, stated, beyond, camera, _ = cells(text, "all")
    assert (name, n) == ("all", "400")
    assert float(median) == pytest.approx(3.0, abs=0.3)
    assert float(mean) == pytest.approx(100 * relative.mean(), abs=0.06)
    assert float(deviation) == pytest.approx(100 * relative.std(), abs=0.06)
    assert float(half) == pytest.approx(2.0, abs=0.3)
    assert float(stated) == pytest.approx(100 * 0.01 / (0.5 * 1.03), abs=0.1)
    assert float(beyond) == pytest.approx(100 * (np.abs(relative) > 0.06).mean(), abs=0.06)
    assert float(camera) == pytest.approx(1e3 * 0.5 * np.abs(relative).mean(), rel=0.1)
    assert cells(text, "19–21")[1] == cells(text, "0–5")[1] == "200"
    assert "| 11–14 |" not in text


def test_coverage_and_points_by_hand() -> None:
    """Keypoints 3 mm off at stated 2 mm are within 1.96 deviations, and none within 1; points of
    the fit are 3 px off per axis in a crop of twice 224."""
    rows = some_rows(relative=np.zeros(NUM))
    tables = import_module("depth_tables")
    text = tables.report(rows, AS_STATED, 0)
    line = cells(text[text.index("Coverage") :], "all")
    assert line[2:6] == ["100.0", "100.0", "0.0", "100.0"]
    assert line[-1] == "0.0"
    fit = cells(text, "fit, true shape")
    assert float(fit[1]) == pytest.approx(3 * 2**0.5 / 2, abs=0.06)
    assert "| network |" not in text
    assert "estimated shape, %" not in text


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    module = import_module("depth_rows")
    rows = some_rows(relative=np.zeros(30))
    rows.select(np.arange(20)).save(tmp_path / "rows-00000.npz", {"data": "a"})
    rows.select(np.arange(20, 30)).save(tmp_path / "rows-00001.npz", {"data": "a"})
    back, about = module.read_folder(tmp_path)
    assert about == {"data": "a"}
    assert (back.sample_id == rows.sample_id).all()
    np.testing.assert_array_equal(back.known.keypoints_cam, rows.known.keypoints_cam)
    with pytest.raises(FileNotFoundError, match="no rows"):
        module.read_folder(tmp_path / "none")


def test_curves_are_drawn(tmp_path: Path) -> None:
    tables = import_module("depth_tables")
    relative = 0.02 * np.random.default_rng(1).normal(size=NUM)
    tables.save_curves(some_rows(relative=relative), AS_STATED, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = import_module("depth")
    write_shards(Seen(count=3), tmp_path / "shards", workers=1)
    command = ["depth.py", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(depth, "CHUNK", 2)
    monkeypatch.setattr(sys, "argv", [*command, "--images", "2"])
    depth.main()
    assert "| 19–21 | 2 |" in (tmp_path / "out" / "tables.md").read_text("utf-8")
    first = (tmp_path / "out" / "rows-00000.npz").stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", command)
    depth.main()
    assert (tmp_path / "out" / "rows-00000.npz").stat().st_mtime_ns == first
    text = (tmp_path / "out" / "tables.md").read_text("utf-8")
    assert "| 19–21 | 3 |" in text
    assert "Coverage of stated intervals, true shape" in text
    with monkeypatch.context() as patch:
        patch.setattr(depth.Measuring, "of", None)  # nothing is to be loaded
        depth.main()
    monkeypatch.setattr(sys, "argv", [*command, "--trust", "network"])
    with pytest.raises(SystemExit, match="another pipeline"):
        depth.main()
