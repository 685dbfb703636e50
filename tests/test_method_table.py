"""Every command of the table in docs/method.md, section 12, on the fixture of DexYCB.

The commands are read from the page itself, in its order, so that the page cannot drift. They share
one folder, as they do for whoever types them.
"""

import re
import shlex
from pathlib import Path

import pytest
import torch

from idhand.cli import main
from idhand.nets.resnet import ResNet, ResNetName
from idhand.predictions import Predictions
from tests.dexycb_tree import fixture_root

PAGE = Path(__file__).parents[1] / "docs" / "method.md"
TITLE = "## 12. The original's commands, and ours"
SMALL = {
    "data prepare": "--size 128 --workers 1",
    "train": "--steps 1 --batch 2 --workers 0",
}
"""Beginning of a command → flags that keep it short."""
TRIED_ELSEWHERE = ("demo", "run FOLDER", "synth", "reproduce")
"""Beginnings of commands that need other pictures or take hours: test_cli.py, test_chain.py."""

COMPLAINING = ("data check", "data prepare")
"""They end with 1 here: the fixture is shorter than the release, and has a picture cut off."""


def commands() -> list[str]:
    """What the table's last column says to type, without `idhand`, from top to bottom.

    Not those that are announced ("comes with the comparison methods").
    """
    section = PAGE.read_text("utf-8").partition(TITLE)[2].partition("\n## ")[0]
    cells = [line.split(" | ")[2] for line in section.splitlines() if line.startswith("| ")]
    lines = re.findall(r"`idhand ([^`]+)`(?! comes with)", "\n".join(cells))
    return [line for line in lines if not line.startswith(TRIED_ELSEWHERE)]


def shortened(line: str) -> list[str]:
    """The command with the flags that keep it short."""
    flags = [more for start, more in SMALL.items() if line.startswith(start)]
    return shlex.split(" ".join((line, *flags)))


def test_the_table_is_complete():
    lines = commands()
    assert len(lines) >= 18
    assert not any("…" in line for line in lines), "every command can be copied"
    begun = "\n".join(lines)
    for stage in (
        "data check", "assets mano", "data prepare", "data shapes", "data list",
        "train paper_baseline", "train paper_identity", "train paper_confidence",
        "train paper_heatmaps", "predict W/heatmaps/", "predict W/confidence/", "calibrate",
        "predict W/identity/", "evaluate W/baseline.npz", "evaluate W/true.npz", "refine",
    ):  # fmt: skip
        assert re.search(f"^{re.escape(stage)}", begun, re.MULTILINE), stage


def imagenet_file(path: Path, net: ResNetName) -> None:
    """Weights under the names of torchvision's file, drawn at random."""
    torch.manual_seed(0)
    torch.save(ResNet(net).state_dict(), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are typed, with the files that the page names."""
    here = tmp_path_factory.mktemp("table")
    (here / "DEXYCB").symlink_to(fixture_root())
    assert main(["assets", "export", "--format", "mano", "--out", str(here / "M")]) == 0
    (here / "MANO_RIGHT.pkl").symlink_to(here / "M" / "MANO_RIGHT.pkl")
    imagenet_file(here / "resnet50-19c8e357.pth", "resnet50")
    imagenet_file(here / "resnet18-f37072fd.pth", "resnet18")
    return here


@pytest.mark.slow
def test_every_command_of_the_table_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IDHAND_HANDS", str(folder / "hands"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for line in commands():
        code = main(shortened(line))
        told = capsys.readouterr()
        assert code == int(line.startswith(COMPLAINING)), f"idhand {line}\n{told.err}"
    true, calibrated = (Predictions.load(folder / "W" / f"{n}.npz") for n in ("true", "calibrated"))
    assert true.found.all()
    assert true.betas is not None
    assert calibrated.betas is not None
    assert not (true.betas == calibrated.betas).all()
