"""sdist and wheel: built, whole, small, and at work in an environment of their own."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import meshio
import numpy as np
import pygltflib
import pytest

from idhand.view import read_hands
from tests.test_export import bvh_positions_m

ROOT = Path(__file__).parents[1]
MAX_WHEEL_BYTES = 40e6


def run(*command: str | Path, cwd: Path) -> str:
    """The command's output; its errors fail the test."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    clean = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, out: Path, target: str) -> Path:
    """What hatchling makes out of a source tree."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out, cwd=source)
    (made,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def contents(wheel: Path) -> dict[str, int]:
    """Files and their checksums, without the record of them."""
    with zipfile.ZipFile(wheel) as archive:
        return {i.filename: i.CRC for i in archive.infolist() if not i.filename.endswith("RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def test_the_wheel_is_whole_and_small(wheel: Path):
    names = set(contents(wheel))
    for name in (
        "py.typed",
        "assets/data/open_hand.npz",
        "assets/data/hand_landmark_full.safetensors",
        "assets/data/three.min.js",
        "assets/data/demo/truth.json",
        "view/report/report.html.jinja",
        "view/report/report.css",
        "view/report/report.js",
    ):
        assert f"idhand/{name}" in names
    licences = {Path(name).name for name in names if "dist-info/licenses" in name}
    assert {
        *("LICENSE", "NOTICE", "THREE_LICENSE.txt", "WEBXR_LICENSE.txt", "MEDIAPIPE_LICENSE.txt")
    } <= licences
    assert not [name for name in names if name.startswith(("tests", "tools", "examples"))]
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path):
    sdist = built(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for part in ("examples", "tests", "docs", "LICENSE", "NOTICE"):
        assert (source / part).exists()
    assert contents(built(source, tmp_path / "again", "wheel")) == contents(wheel)


@pytest.fixture(scope="module")
def demo(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder, made by the wheel in an empty environment from another folder.

    This environment's site-packages are lent to it for the dependencies.
    """
    tmp_path = tmp_path_factory.mktemp("installed")
    env, elsewhere = tmp_path / "env", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=tmp_path)
    python = env / "bin" / "python"
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps")
    run(sys.executable, *install, wheel, cwd=tmp_path)
    (own,) = (env / "lib").glob("python*/site-packages")
    (own / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import idhand; print(idhand.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(env), "not the source tree's"
    told = run(env / "bin" / "idhand", "demo", "--out", "out", cwd=elsewhere)
    assert told.rstrip().endswith(f"Open {Path('out') / 'report.html'}")
    assert [path.name for path in elsewhere.iterdir()] == ["out"]
    return elsewhere / "out"


def test_the_demo_runs_from_the_wheel_alone(demo: Path):
    assert 1e6 < (demo / "report.html").stat().st_size < 15e6
    assert len(list(demo.glob("meshes/photo_*.glb"))) == 16
    assert len(list(demo.glob("*.hand.json"))) == 2


def test_the_demos_exports_are_read_back(demo: Path):
    """By other libraries than the ones that wrote them; all hold the same hand."""
    hand = read_hands(demo / "hands.json")[0].hands[0]
    wrist = hand.keypoints_cam[0]
    mesh = meshio.read(demo / "meshes" / "photo_00.ply")
    assert np.linalg.norm(mesh.points - wrist, axis=1).min() < 0.05
    np.testing.assert_allclose(
        meshio.read(demo / "meshes" / "photo_00.obj").points, mesh.points, atol=2e-6
    )
    gltf = pygltflib.GLTF2().load(str(demo / "meshes" / "photo_00.glb"))
    assert gltf is not None
    bones = gltf.skins[0].joints or []
    assert len(bones) == 16
    root = gltf.nodes[bones[0]]
    assert root.translation is not None
    np.testing.assert_allclose(root.translation, wrist * [1, -1, -1], atol=1e-6)
    with np.load(demo / "poses" / "photo_00.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["keypoints_cam"][0], hand.keypoints_cam, atol=1e-6)
        assert arrays["hand_pose"].shape == (1, 45)
    places = bvh_positions_m(demo / "poses" / "photo_00_hand_0_right.bvh", 0)
    assert len(places) == 16
    np.testing.assert_allclose(places["wrist"], wrist * [1, -1, -1], atol=1e-5)
    joints = json.loads((demo / "poses" / "photo_00.openxr.json").read_text())
    place = joints["hands"][0]["frames"][0]["positions"][joints["joint_names"].index("wrist")]
    np.testing.assert_allclose(place, wrist * [1, -1, -1], atol=2e-6)
