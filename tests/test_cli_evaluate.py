"""`idhand evaluate`: the table, the files, sentences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.cli import main
from idhand.data import encode_sample, write_shards
from idhand.predictions import Predictions
from idhand.records import Sample
from tests.test_data_shards import Fake, jpeg_of
from tests.test_evaluation import posed_sample, predicted

NUM_PICTURES = 12


def made_samples() -> list[Sample]:
    """Hands of three people."""
    model = open_hand()
    return [posed_sample(index, model) for index in range(NUM_PICTURES)]


@dataclass(frozen=True)
class Posed(Fake):
    """A source of pictures with a hand's truth."""

    changes: Mapping[str, Any] = field(default_factory=dict)

    def entry(self, index: int) -> dict[str, bytes]:
        sample = posed_sample(index, open_hand(), **self.changes)
        return encode_sample(sample, jpeg_of(sample))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(Posed(count=NUM_PICTURES), folder, workers=1)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of a good and a bad method; the bad one misses a hand."""
    good, bad = predicted(made_samples(), 0.02), predicted(made_samples(), 0.2)
    good.save(tmp_path / "good.npz")
    header = {"model": open_hand().name, "method": "bad"}
    found = np.arange(NUM_PICTURES) != 3
    replace(bad, header=header, found=found).save(tmp_path / "bad.npz")
    return tmp_path / "good.npz", tmp_path / "bad.npz"


def run(*arguments: str | Path) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_one_file(data: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert run(files[0], "--data", data) == 0
    told = capsys.readouterr()
    title, _, heading, _, row, *rest = told.out.splitlines()
    assert title == (
        "**12 pictures of 3 people, standard, kinematic joints; mean; "
        "too few people for an interval**"
    )
    assert "| method |" in heading
    assert "MPJPE root (mm) |" in heading
    assert row.startswith("| noisy  |      0 |")
    assert "[" not in row
    assert not "".join(rest)
    assert not told.err


def test_nobody_is_known(
    tmp_path: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "unknown"
    write_shards(Posed(count=NUM_PICTURES, changes={"subject": None}), folder, workers=1)
    assert run(files[0], "--data", folder, "--out", tmp_path / "out") == 0
    title, _, _, _, row, *_ = capsys.readouterr().out.splitlines()
    assert "[" in row
    assert title.startswith("**12 pictures of unknown people, standard")
    assert title.endswith("mean [95 % interval over pictures]**")
    (report,) = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["num_subjects"], report["intervals_over"]) == (0, "pictures")
    assert report["metrics"]["mpjpe_root"]["low"] < report["metrics"]["mpjpe_root"]["high"]


def test_several_files_are_compared(
    data: Path, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "results"
    assert run(*files, "--data", data, "--out", out) == 0
    told = capsys.readouterr().out
    assert "| bad − noisy |      – |" in told
    assert f"All metrics are in {out}: table.md, table.csv, table.tex, report.json" in told
    assert sorted(path.name for path in out.iterdir()) == [
        "report.json", "table.csv", "table.md", "table.tex",
    ]  # fmt: skip
    good, bad = json.loads((out / "report.json").read_text())
    assert (good["name"], bad["name"]) == ("noisy", "bad")
    assert (good["num_missed"], bad["num_missed"]) == (0, 1)
    for name in ("mpjpe_root", "mpvpe_scale", "rest_verts"):
        assert good["metrics"][name]["high"] < bad["metrics"][name]["low"], name
        assert good["metrics"][name]["num_pictures"] == NUM_PICTURES - 1, "found by both"
    assert good["metrics"]["auc_root"]["num_pictures"] == NUM_PICTURES
    assert set(good["measures_mm"]) == set(open_hand().measures.names)  # pyright: ignore
    table = (out / "table.csv").read_text().splitlines()
    assert len(table) == 4
    assert table[0].startswith("method,missed,MPJPE abs. (mm),MPJPE abs. (mm) low,")
    assert r"\begin{tabular}" in (out / "table.tex").read_text()
    before = [path.read_bytes() for path in sorted(out.iterdir())]
    assert run(*files, "--data", data, "--out", out) == 0
    assert [path.read_bytes() for path in sorted(out.iterdir())] == before


def test_files_of_different_pictures(
    data: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
):
    some = Predictions.load(files[0]).select(range(5))
    stranger = replace(some.select([0]), sample_id=("elsewhere",))
    part = files[0].with_name("part.npz")
    some.save(part)
    assert run(files[0], part, "--data", data) == 0
    told = capsys.readouterr()
    assert "noisy (part): 7 pictures of the data set have no prediction" in told.err
    assert "compared on the 5 of 12 pictures that all files have" in told.err
    assert "**5 pictures of 2 people, " in told.out
    assert "| noisy (good) " in told.out
    stranger.save(part)
    assert run(part, "--data", data) == 2
    assert (
        "none of the 1 pictures of 'noisy' is among the 12 of the data" in capsys.readouterr().err
    )


def test_regressed_joints(data: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert run(files[0], "--data", data, "--joints", "regressed") == 0
    assert "paper, regressed joints; mean" in capsys.readouterr().out


def test_mistakes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(tmp_path / "none.npz", "--data", data) == 2
    assert "none.npz: no such file; check the name" in capsys.readouterr().err
    assert run("--data", data) == 2
    assert "there are no predictions; name the .npz files" in capsys.readouterr().err
    assert run(tmp_path / "none.npz", "--data", tmp_path) == 2
    assert "holds no manifest.json" in capsys.readouterr().err
    assert run(tmp_path / "none.npz", "--data", data, "--joints", "some") == 2
