"""Every script of examples/ runs as it stands there, on bundled pictures."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
EXPECTED = {
    "photos": ("photo_00.jpg: 1 hand(s)", {"overlay_photo_00.png", "overlay_photo_04.png"}),
    "video": ("hand_0_right: 12 frames", {"moving_camera.mp4", "moving_camera.glb"}),
    "own_camera": ("with your camera: wrist 0.", {"camera.json"}),
    "personalise_and_export": ("of 6 photos", {"me.hand.json", "hand.glb", "hand.npz"}),
    "measure": ("hand_length", {"hand.png"}),
}


def test_all_examples_are_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    words, files = EXPECTED[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert words in capsys.readouterr().out
    made = {path.name for path in tmp_path.iterdir()}
    assert files <= made
    assert all(path.stat().st_size > 0 for path in tmp_path.iterdir())
