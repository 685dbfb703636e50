import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import idhand
import idhand.cli.run
from idhand.assets import open_hand
from idhand.cli import main
from idhand.cli.calibrate import _frames, _smaller
from idhand.cli.common import Camera, Outcome
from idhand.cli.demo import errors_of, read_demo, size_table
from idhand.cli.outputs import output_names
from idhand.identity import Identity, Measurement, PhotoUse
from idhand.media import VideoReader
from idhand.records import HandResult
from idhand.view import VideoWriter, read_hands
from tests.test_view import broken_hand, make_hand

OF_A = ["meshes/a.glb", "meshes/a.obj", "overlays/a_overlay.jpg"]
"""What a run writes of a photo a.jpg."""
K_640 = [[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]


def open_handed(hand: HandResult) -> HandResult:
    """The same with the open hand's mesh at rest, so that it can be exported."""
    model = open_hand() if hand.is_right else open_hand().mirrored()
    verts = model.template.numpy() - model.joint_template[0].numpy() + hand.keypoints_cam[0]
    return replace(hand, verts_cam=verts, faces=model.faces.numpy(), betas=np.zeros(16))


class FakePipe:
    """Finds as many hands as the grey value of the picture says: one per 60."""

    model = open_hand()

    def __init__(self):
        self.calls: list[dict[str, Any]] = []
        self.searches: list[int] = []
        """Hands per picture in which a detector's search saw some."""
        self.interrupt_at: int | None = None

    @property
    def detector(self) -> "FakePipe":
        return self

    def __call__(self, rgb: np.ndarray, **settings: Any):
        self._called(rgb, settings)
        if int(rgb[1, 1, 0]) > 245:
            return [broken_hand()]
        boxes = settings.get("boxes_px")
        number = min(number_in(rgb), settings["max_hands"]) if boxes is None else len(boxes)
        return [made_hand(i) for i in range(number)]

    def _called(self, rgb: np.ndarray, settings: dict[str, Any]) -> None:
        self.calls.append({"shape": rgb.shape, **settings})
        if self.interrupt_at == len(self.calls):
            raise KeyboardInterrupt

    def detect(self, rgb: np.ndarray, *, max_hands: int = 2, mirrored: bool = False):
        self.searches.append(number_in(rgb))
        return [made_hand(i).detection for i in range(min(number_in(rgb), max_hands))]

    def track(self, rgb: np.ndarray, previous: Any, *, mirrored: bool = False):
        return [hand if i < number_in(rgb) else None for i, hand in enumerate(previous)]

    def in_boxes(self, rgb: np.ndarray, boxes_px: Any, *, mirrored: bool = False):
        return [made_hand(i).detection for i in range(len(boxes_px))]

    def estimate(self, rgb: np.ndarray, detections: Any, K: Any, dist: Any, identity: Any):
        self._called(rgb, {"K": K, "dist": dist, "identity": identity})
        if int(rgb[1, 1, 0]) > 245:
            return [broken_hand() for _ in detections]
        return [
            replace(
                made_hand(0),
                is_right=seen.is_right,
                score=seen.score,
                keypoints_px=seen.landmarks_px,
                bbox_px=seen.bbox_px,
                detection=seen,
            )
            for seen in detections
        ]

    def fit(self, detections: Any, K: Any, dist: Any = None, **settings: Any):
        return [
            open_handed(make_hand(is_right=seen.is_right, score=seen.score)) for seen in detections
        ]


def number_in(rgb: np.ndarray) -> int:
    """How many hands a picture of this grey shows."""
    return int(rgb[1, 1, 0]) // 60


def made_hand(index: int) -> HandResult:
    """The picture's hand of this number, in its place."""
    place = (0.12 * index - 0.1, 0.0, 0.5)
    return open_handed(make_hand(is_right=index % 2 == 0, centre=place, score=0.6 + 0.1 * index))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> FakePipe:
    fake = FakePipe()
    monkeypatch.setitem(vars(idhand), "load", lambda: fake)
    return fake


def photo(path: Path, hands=1, size=(640, 480), **options) -> Path:
    Image.new("RGB", size, (60 * hands + 10,) * 3).save(path, **options)
    return path


def clip(path: Path, hands: list[int]) -> Path:
    with VideoWriter(path, 25.0) as writer:
        for number in hands:
            writer.add(np.full((480, 640, 3), 60 * number + 10, np.uint8))
    return path


def names(folder: Path) -> list[str]:
    """All files in it and in the folders inside of it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


# ------------------------------------------------------------------------------------- the command


def test_help_and_version_import_next_to_nothing():
    code = (
        "import sys; from idhand.cli import main; assert main(['--help']) == 0; "
        "assert main(['--version']) == 0; heavy = {'torch', 'tyro', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "calibrate" in run.stdout
    assert f"idhand {idhand.__version__}" in run.stdout


def test_without_a_verb_there_is_help(capsys):
    assert main([]) == 0
    assert "usage: idhand VERB" in capsys.readouterr().out


def test_unknown_verbs_and_flags(capsys):
    assert main(["rnu"]) == 2
    assert "there is no verb 'rnu'; use one of: run, calibrate, demo" in capsys.readouterr().err
    assert main(["run", "--nonsense"]) == 2
    assert main(["run", "a.jpg", "--max-hands", "0"]) == 2
    assert "--max-hands must be at least 1" in capsys.readouterr().err
    assert main(["calibrate", "a.jpg"]) == 2, "--out is required"


@pytest.mark.parametrize("verb", ["run", "calibrate"])
def test_help_of_verbs(verb: str, capsys):
    assert main([verb, "--help"]) == 0
    assert "--fov" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------- run


def test_photos_give_overlays_meshes_and_numbers(tmp_path: Path, pipe: FakePipe, capsys):
    photo(tmp_path / "one.jpg")
    photo(tmp_path / "two.png", hands=2)
    out = tmp_path / "out"
    assert main(["run", str(tmp_path), "--out", str(out)]) == 0
    ends = ("meshes/{}.glb", "meshes/{}.obj", "overlays/{}_overlay.jpg")
    made = [end.format(stem) for stem in ("one", "two") for end in ends]
    assert names(out) == sorted([*made, "hands.json", "report.html"])
    images = read_hands(out / "hands.json")
    assert [image.name for image in images] == ["one", "two"]
    assert [len(image.hands) for image in images] == [1, 2]
    with Image.open(out / "overlays" / "two_overlay.jpg") as overlay:
        assert overlay.size == (640, 480)
    assert f"3 hands in 2 photos. Written to {out}" in capsys.readouterr().out


def test_a_folder_with_everything_in_it(tmp_path: Path, pipe: FakePipe, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "good.jpg")
    photo(folder / "good.png")
    photo(folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:900])
    (folder / "empty.jpg").touch()
    (folder / "letter.txt").write_text("no picture")
    (folder / "fake.mp4").write_text("no video")
    clip(folder / "clip.mp4", [1, 1, 1])
    out = tmp_path / "out"
    assert main(["run", str(folder), str(tmp_path / "none.jpg"), "--out", str(out)]) == 1
    text = capsys.readouterr()
    for sentence in (
        "skipped 1 other file in the folders (letter.txt)",
        "cut.jpg cannot be decoded",
        "empty.jpg is empty (0 bytes)",
        "fake.mp4 cannot be read: not a video",
        "none.jpg: no such file",
    ):
        assert sentence in text.err
    assert "Traceback" not in text.err
    assert "4 problems, listed above." in text.out
    assert [image.name for image in read_hands(out / "hands.json")] == ["good", "good-2"]
    assert set(names(out / "overlays")) == {
        *("good_overlay.jpg", "good-2_overlay.jpg", "clip_overlay.mp4")
    }
    assert not any(".part" in name for name in names(out))


def test_no_hand(tmp_path: Path, pipe: FakePipe, capsys):
    file = photo(tmp_path / "wall.jpg", hands=0)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "wall.jpg: no hand found; is it in view" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["hands.json", "report.html"]
    assert "No hand was found" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert read_hands(tmp_path / "out" / "hands.json")[0].hands == ()


def test_more_hands_than_asked_for(tmp_path: Path, pipe: FakePipe, capsys):
    file = photo(tmp_path / "crowd.jpg", hands=3)
    assert main(["run", str(file), "--out", str(tmp_path / "out"), "--max-hands", "1"]) == 0
    assert "more than 1 hand in it; the highest scores are kept" in capsys.readouterr().err
    hands = read_hands(tmp_path / "out" / "hands.json")[0].hands
    assert [hand.score for hand in hands] == [0.7], "of the two that were looked at, the surer"


def test_failed_fits_are_told_and_not_exported(tmp_path: Path, pipe: FakePipe, capsys):
    file = tmp_path / "odd.png"
    Image.new("RGB", (640, 480), (250, 250, 250)).save(file)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "the fit of 1 hand failed" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["hands.json", "overlays/odd_overlay.jpg", "report.html"]


def test_nothing_to_do(tmp_path: Path, pipe: FakePipe, capsys):
    (tmp_path / "letter.txt").write_text("no picture")
    assert main(["run", str(tmp_path)]) == 2
    assert main(["run"]) == 2
    assert main(["run", str(tmp_path / "none.jpg"), "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert "there is no photo and no video in" in text
    assert "there is no input; name photos, folders or videos" in text


def test_output_names(tmp_path: Path):
    paths = [Path(p) for p in ("a/x.jpg", "b/x.jpg", "c/X.png", "x-2.jpg")]
    assert output_names(paths, tmp_path) == ["x", "x-2", "X-3", "x-2-2"]
    beside = [tmp_path / "x.jpg", tmp_path / "overlays" / "x_overlay.jpg"]
    assert output_names(beside, tmp_path) == ["x-2", "x_overlay"], "inputs are not replaced"


def test_one_file_that_cannot_be_written(tmp_path: Path, pipe: FakePipe, capsys, monkeypatch):
    real = idhand.cli.run.export_photo

    def full(folder: Path, name: str, *rest: Any):
        if name == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, name, *rest)

    monkeypatch.setattr(idhand.cli.run, "export_photo", full)
    files = [str(photo(tmp_path / f"{name}.jpg")) for name in "ab"]
    assert main(["run", *files, "--out", str(tmp_path / "out")]) == 1
    sentence = "a.jpg: a file cannot be written, the disk is full (No space left on device); make"
    assert sentence in capsys.readouterr().err
    assert [image.name for image in read_hands(tmp_path / "out" / "hands.json")] == ["b"]


def test_a_report_that_cannot_be_written(tmp_path: Path, pipe: FakePipe, capsys, monkeypatch):
    def full(*args: Any, **options: Any):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("idhand.view.HtmlReport.write", full)
    out = tmp_path / "out"
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(out)]) == 1
    text = capsys.readouterr()
    assert "report.html cannot be written (No space left on device); all other" in text.err
    assert "Open" not in text.out
    assert names(out) == ["hands.json", *OF_A]


def test_reports_and_exports_are_a_choice(tmp_path: Path, pipe: FakePipe):
    file, out = str(photo(tmp_path / "a.jpg")), tmp_path / "out"
    assert main(["run", file, "--out", str(out), "--no-report", "--export", "ply", "npz"]) == 0
    made = ["hands.json", "meshes/a.ply", "overlays/a_overlay.jpg", "poses/a.npz"]
    assert names(out) == made
    assert main(["run", file, "--out", str(out), "--export", "fbx"]) == 2


def test_usd_without_its_library_is_told_before_any_work(
    tmp_path: Path, pipe: FakePipe, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pxr", None)
    file, out = str(photo(tmp_path / "a.jpg")), tmp_path / "out"
    assert main(["run", file, "--out", str(out), "--export", "usd"]) == 2
    assert "idhand[usd]" in capsys.readouterr().err
    assert pipe.calls == []
    assert not out.exists()


def test_problems_are_in_the_report(tmp_path: Path, pipe: FakePipe):
    (tmp_path / "<b>bad<i> 👋.jpg").write_text("no picture")
    photo(tmp_path / """it's "good" & fine.jpg""")
    assert main(["run", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;b&gt;bad&lt;i&gt; 👋.jpg is not a picture that can be read" in page
    assert "it&#39;s &#34;good&#34; &amp; fine.jpg" in page


def test_names_that_are_no_text(tmp_path: Path, pipe: FakePipe, calibrations):
    """File systems allow bytes that are no UTF-8; files and pages do not."""
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        photo(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    out = tmp_path / "out"
    assert main(["run", str(odd), "--out", str(out)]) == 0
    assert read_hands(out / "hands.json")[0].file.endswith("caf�.jpg")
    assert "caf�.jpg" in (out / "report.html").read_text("utf-8")
    assert main(["calibrate", str(odd), "--out", str(out / "me.hand.json")]) == 0
    assert "caf�.jpg" in (out / "me.report.html").read_text("utf-8")


def test_output_folders_that_cannot_be_written_to(tmp_path: Path, pipe, capsys, monkeypatch):
    file = photo(tmp_path / "a.jpg")
    (tmp_path / "taken").write_text("a file")
    for out in (tmp_path / "taken", tmp_path / "taken" / "deeper"):
        assert main(["run", str(file), "--out", str(out)]) == 2
        assert f"cannot write into {out}: " in capsys.readouterr().err

    def refuse(self: Path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "Permission denied; choose another --out" in capsys.readouterr().err
    assert pipe.calls == []


def test_interrupted_between_photos(tmp_path: Path, pipe: FakePipe, capsys):
    files = [str(photo(tmp_path / f"{name}.jpg")) for name in "abc"]
    pipe.interrupt_at = 2
    assert main(["run", *files, "--out", str(tmp_path / "out")]) == 130
    assert "interrupted; finished files are kept" in capsys.readouterr().err
    assert names(tmp_path / "out") == OF_A


def test_interrupted_in_a_video(tmp_path: Path, pipe: FakePipe):
    files = [str(photo(tmp_path / "a.jpg")), str(clip(tmp_path / "c.mp4", [1] * 9))]
    pipe.interrupt_at = 5
    assert main(["run", *files, "--out", str(tmp_path / "out")]) == 130
    assert names(tmp_path / "out") == ["hands.json", *OF_A]


# -------------------------------------------------------------------------------- run: the camera


def camera_file(path: Path, K: Any = K_640, **more: Any) -> Path:
    path.write_text(json.dumps({"K": K, **more}))
    return path


def test_the_camera_comes_from_flags_or_the_file(tmp_path: Path, pipe: FakePipe):
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 26}
    file = str(photo(tmp_path / "a.jpg", exif=exif))
    k = str(camera_file(tmp_path / "k.json", dist=[0.1, 0, 0, 0, 0]))
    out = ["--out", str(tmp_path / "out")]
    for flags, focal in (([], 26 * 800 / 43.2666), (["--k", k], 600), (["--fov", "90"], 320)):
        assert main(["run", file, *flags, *out]) == 0
        assert pipe.calls[-1]["K"][0, 0] == pytest.approx(focal, rel=1e-5)
        np.testing.assert_allclose(pipe.calls[-1]["K"][:2, 2], (319.5, 239.5))
        assert (pipe.calls[-1]["dist"] is not None) == ("--k" in flags)
    assert main(["run", str(photo(tmp_path / "b.png")), *out]) == 0
    assert pipe.calls[-1]["K"] is None, "the pipeline guesses"
    assert main(["run", file, "--k", k, "--fov", "60"]) == 2
    assert main(["run", file, "--fov", "200"]) == 2


@pytest.mark.parametrize(
    ("K", "sentence"),
    [
        ([[float("nan"), 0, 1], [0, 1, 1], [0, 0, 1]], "K holds NaN"),
        ([[-600, 0, 320], [0, 600, 240], [0, 0, 1]], "must be positive"),
        ([[600, 0], [0, 600]], "3×3 matrix"),
    ],
)
def test_camera_files_that_are_none(tmp_path: Path, pipe: FakePipe, capsys, K, sentence: str):
    k = camera_file(tmp_path / "k.json", K)
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--k", str(k)]) == 2
    assert sentence in capsys.readouterr().err
    assert pipe.calls == []


def test_a_camera_of_another_size(tmp_path: Path, pipe: FakePipe, capsys):
    k = str(camera_file(tmp_path / "k.json"))
    small, fitting = photo(tmp_path / "s.jpg", size=(320, 240)), photo(tmp_path / "f.jpg")
    out = ["--out", str(tmp_path / "out")]
    assert main(["run", str(small), str(fitting), "--k", k, *out]) == 1
    assert "s.jpg: K is not of a 320×240 picture" in capsys.readouterr().err
    assert main(["run", str(small), "--k", k, *out]) == 2


# --------------------------------------------------------------------------------- run: the person


def person(photos: tuple[PhotoUse, ...] = (), **changes: Any) -> Identity:
    values = {
        "model": open_hand().name,
        "betas": np.zeros(16),
        "covariance": np.eye(16),
        "measurements": {
            "hand_length": Measurement(value_mm=185.04, low_mm=181.0, high_mm=189.0),
            "index_proximal": Measurement(value_mm=42.0, low_mm=39.0, high_mm=45.0),
        },
        "photos": photos,
        "sides": ("right",),
    }
    return Identity(**{**values, **changes})


def test_the_profile_goes_to_the_pipeline(tmp_path: Path, pipe: FakePipe):
    profile = tmp_path / "me.hand.json"
    person().save(profile)
    flags = ["--identity", str(profile), "--mirrored", "--out", str(tmp_path / "out")]
    assert main(["run", str(photo(tmp_path / "a.jpg")), *flags]) == 0
    assert isinstance(pipe.calls[0]["identity"], Identity)
    assert pipe.calls[0]["mirrored"] is True
    assert read_hands(tmp_path / "out" / "hands.json")[0].mirrored


def test_profiles_that_cannot_be_used(tmp_path: Path, pipe: FakePipe, capsys):
    file, profile = str(photo(tmp_path / "a.jpg")), tmp_path / "me.hand.json"
    person().save(profile)
    good = profile.read_text()
    run = ["run", file, "--identity", str(profile), "--out", str(tmp_path / "out")]
    for text, sentence in (
        (good.replace('"version": 1', '"version": 99'), "version 99"),
        (good[:200], "the profile is damaged"),
        ('{"some": "json"}', "no idhand profile"),
    ):
        profile.write_text(text)
        assert main(run) == 2
        assert sentence in capsys.readouterr().err
    profile.unlink()
    assert main(run) == 2
    assert "no profile at" in capsys.readouterr().err
    assert pipe.calls == []


def test_a_profile_of_another_model(tmp_path: Path, pipe: FakePipe, capsys):
    profile = tmp_path / "me.hand.json"
    person(model="mano", betas=np.zeros(10), covariance=np.eye(10)).save(profile)
    files = [str(photo(tmp_path / name)) for name in ("a.jpg", "b.jpg")]
    assert main(["run", *files, "--identity", str(profile), "--out", str(tmp_path / "out")]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"{profile}: this profile was made with hand model 'mano' (10 betas)" in sentence
    assert pipe.calls == [], "refused before the work"


# -------------------------------------------------------------------------------------- run: video


def test_videos_are_followed(tmp_path: Path, pipe: FakePipe, capsys):
    numbers = [0, 1, 1, 2, 2, 1, 1] + [2] * 20
    file = clip(tmp_path / "c.mp4", numbers)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    frames = read_hands(tmp_path / "out" / "hands.jsonl")
    made = ["hands.jsonl", "meshes/c.glb", "overlays/c_overlay.mp4", "report.html"]
    assert names(tmp_path / "out") == made
    assert [frame.frame for frame in frames] == list(range(27))
    assert frames[5].time_s == pytest.approx(0.2, abs=1e-6)
    found = [len(frame.hands) for frame in frames]
    assert found[:7] == [0, 1, 1, 1, 1, 1, 1], "no search while a hand is followed"
    assert found[7:14] == [1] * 7
    assert found[14:] == [2] * 13, "and one half a second after the last one"
    assert pipe.searches == [0, 1, 2]
    both = ("hand_0_right", "hand_1_left")
    assert [frame.names for frame in frames] == [both[:n] for n in found]
    assert len(list(VideoReader(tmp_path / "out" / "overlays" / "c_overlay.mp4"))) == 27
    assert "hands in 26 frames of 1 video" in capsys.readouterr().out


def test_a_lost_hand_is_searched_at_once(tmp_path: Path, pipe: FakePipe):
    file = clip(tmp_path / "c.mp4", [2, 2, 1, 2, 2, 2, 2])
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    assert pipe.searches == [2, 1, 2], "in its frame, and 0.1 s later"
    followed = read_hands(tmp_path / "out" / "hands.jsonl")
    assert [len(frame.hands) for frame in followed] == [2, 2, 1, 1, 1, 2, 2]
    assert {name for frame in followed for name in frame.names} == {"hand_0_right", "hand_1_left"}


@pytest.mark.parametrize("form", ["json", "csv"])
def test_own_boxes_and_sides(tmp_path: Path, pipe: FakePipe, form: str, capsys):
    video = clip(tmp_path / "c.mp4", [2] * 6)
    files = [str(photo(tmp_path / f"{name}.jpg")) for name in "ab"]
    boxes = tmp_path / f"boxes.{form}"
    if form == "json":
        of = {"a.jpg": [[1, 2, 30, 40]] * 3, "c.mp4": {"1": [[1, 2, 30, 40]], "2": []}}
        boxes.write_text(json.dumps({**of, "other.jpg": []}))
    else:
        rows = ["a.jpg,,1,2,30,40"] * 3 + ["c.mp4,1,1,2,30,40", "other.jpg,,1,2,3,4"]
        boxes.write_text("\n".join(["file,frame,left,top,right,bottom", *rows]))
    flags = ["--boxes", str(boxes), "--side", "left", "--out", str(tmp_path / "out")]
    assert main(["run", *files, str(video), *flags]) == 0
    assert "boxes of 1 file beside the inputs: other.jpg" in capsys.readouterr().err
    photos = pipe.calls[:2]
    assert photos[0]["boxes_px"] == ((1.0, 2.0, 30.0, 40.0),) * 3
    assert photos[1]["boxes_px"] is None
    assert {call["sides"] for call in photos} == {"left"}
    assert [len(image.hands) for image in read_hands(tmp_path / "out" / "hands.json")] == [3, 1]
    frames = read_hands(tmp_path / "out" / "hands.jsonl")
    expected = [2, 1, 0, 2, 2, 2] if form == "json" else [2, 1, 1, 2, 2, 2]
    assert [len(frame.hands) for frame in frames] == expected
    assert not any(hand.is_right for frame in frames for hand in frame.hands)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("b.json", "[1]", "holds no object of files and boxes; give JSON"),
        ("b.json", "{", "is not readable as JSON"),
        ("b.json", '{"a.jpg": 5}', "a.jpg has 5 for a list of boxes"),
        ("b.json", '{"a.jpg": [[1, 2, 3]]}', "box 0 of a.jpg must be four numbers"),
        ("b.json", '{"a.jpg": [[1, 2, 3, 4], [9, 2, 3, 4]]}', "box 1 of a.jpg [9.0"),
        ("b.json", '{"a.jpg": {"x": []}}', "a.jpg has frame 'x', but frames are 0, 1, 2"),
        ("b.json", '{"b.jpg": []}', "has boxes of none of the inputs (it names b.jpg)"),
        ("b.json", "{}", "has boxes of none of the inputs (it is empty)"),
        ("b.json", '{"a.jpg": {"0": []}}', "has frames of"),
        ("b.csv", "file,left\na.jpg,1", "has no column frame, top, right, bottom"),
        ("b.csv", "file,frame,left,top,right,bottom\na.jpg,,1,2,x,4", "line 2: a side of the box"),
        ("b.csv", "file,frame,left,top,right,bottom\n,,1,2,3,4", "there is no file's name"),
        ("b.csv", f"file,frame,left,top,right,bottom\n{'a' * 200_000}", "not readable as CSV"),
    ],
)
def test_boxes_that_are_none(
    tmp_path: Path, pipe: FakePipe, capsys, name: str, text: str, sentence: str
):
    (tmp_path / name).write_text(text)
    flags = ["--boxes", str(tmp_path / name), "--out", str(tmp_path / "out")]
    assert main(["run", str(photo(tmp_path / "a.jpg")), *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert pipe.calls == []


def test_pipes_and_links_in_a_loop_are_problems_and_the_others_are_done(
    tmp_path: Path, pipe: FakePipe, capsys
):
    folder = tmp_path / "folder"
    folder.mkdir()
    pipes = [tmp_path / "pipe.jpg", folder / "pipe.jpg"]
    loops = [tmp_path / "loop.jpg", folder / "loop.jpg"]
    for path, loop in zip(pipes, loops, strict=True):
        os.mkfifo(path)
        loop.symlink_to(loop)
    photo(folder / "a.jpg")
    inputs = [str(path) for path in (loops[0], pipes[0], folder)]
    assert main(["run", *inputs, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert f"{pipes[0]} is a pipe or device; save what it holds in a file first" in told
    assert f"{loops[0]} cannot be read: Too many levels of symbolic links" in told
    assert [image.name for image in read_hands(tmp_path / "out" / "hands.json")] == ["a"]


def test_videos_without_hands_or_with_a_broken_end(tmp_path: Path, pipe: FakePipe, capsys):
    empty = clip(tmp_path / "empty.mp4", [0, 0, 0])
    broken = tmp_path / "broken.mp4"
    noise = np.random.default_rng(0)
    with VideoWriter(broken, 25.0) as writer:
        for _ in range(40):
            frame = noise.integers(0, 255, (120, 160, 3), np.uint8)
            frame[:24, :24] = 70
            writer.add(frame)
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    assert main(["run", str(empty), str(broken), "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "empty.mp4: no hand found in any frame" in text
    assert "broken.mp4" in text
    assert "frames could be read; those were done" in text
    assert set(names(tmp_path / "out")) == {
        *("overlays/empty_overlay.mp4", "overlays/broken_overlay.mp4", "meshes/broken.glb"),
        *("hands.jsonl", "report.html"),
    }


# --------------------------------------------------------------------------------------- calibrate


@pytest.fixture
def calibrations(pipe: FakePipe, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the fake `idhand.calibrate` was called with."""
    calls: list[dict[str, Any]] = []

    def fake(pipe: Any, images: Any, *, progress: Any, **settings: Any) -> Identity:
        images = list(progress(images))
        calls.append({"images": images, **settings})
        found = [int(rgb[1, 1, 0]) // 60 for rgb in images]
        if not any(found):
            raise ValueError("no usable hand in the photos; add clearer photos")
        uses = {0: PhotoUse(weight=0.0, reason="no hand found"), 1: PhotoUse(weight=1.0)}
        uses[2] = PhotoUse(weight=0.4, reason="doubtful pose")
        anchor = settings["hand_length_mm"]
        return person(tuple(uses[n] for n in found), hand_length_mm=anchor)

    monkeypatch.setitem(vars(idhand), "calibrate", fake)
    return calls


def test_calibrate_prints_measures_and_writes_the_profile(tmp_path: Path, calibrations, capsys):
    for name, hands in (("a", 1), ("b", 2), ("c", 1)):
        photo(tmp_path / f"{name}.jpg", hands=hands)
    out = tmp_path / "new" / "me.hand.json"
    flags = ["--out", str(out), "--hand-length-mm", "185", "--hand-length-sigma-mm", "1.5"]
    flags += ["--side", "right"]
    assert main(["calibrate", str(tmp_path), *flags]) == 0
    assert calibrations[0]["side"] == "right"
    assert calibrations[0]["hand_length_mm"] == 185
    assert calibrations[0]["hand_length_sigma_mm"] == 1.5
    assert calibrations[0]["K"] == [None] * 3
    assert Identity.load(out).hand_length_mm == 185
    text = capsys.readouterr()
    assert "One person's hand (right) from 3 of 3 pictures" in text.out
    assert "hand length       185.0  181.0 to 189.0" in text.out
    assert f"Written to {out}" in text.out
    assert "b.jpg has weight 40%: doubtful pose" in text.err
    assert "the camera is known for none of the pictures" in text.err
    assert "--hand-length-mm makes it this person's" not in text.err
    assert names(out.parent) == ["me.hand.json", "me.report.html"]
    assert f"Open {out.parent / 'me.report.html'}" in text.out
    page = (out.parent / "me.report.html").read_text("utf-8")
    assert "doubtful pose" in page
    assert "<b>b.jpg</b>" in page


def test_calibrate_goes_on_without_bad_photos(tmp_path: Path, calibrations, capsys):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "wall.jpg", hands=0)
    (tmp_path / "empty.jpg").touch()
    assert main(["calibrate", str(tmp_path), "--out", str(tmp_path / "me.hand.json")]) == 1
    text = capsys.readouterr().err
    assert "empty.jpg is empty" in text
    assert "wall.jpg was not used: no hand found" in text
    assert "--hand-length-mm makes it this person's" in text


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--hand-length-mm", "18.5"], "a hand length of 18.5 mm cannot be"),
        (["--hand-length-mm", "nan"], "a hand length of nan mm cannot be"),
        (["--hand-length-sigma-mm", "0"], "more than 0 and less than 100 mm, got 0"),
    ],
)
def test_calibrate_refuses_lengths(tmp_path: Path, calibrations, capsys, flags, sentence: str):
    file = str(photo(tmp_path / "a.jpg"))
    assert main(["calibrate", file, "--out", str(tmp_path / "me.hand.json"), *flags]) == 2
    assert sentence in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_calibrate_without_anything_usable(tmp_path: Path, calibrations, capsys):
    wall, empty = photo(tmp_path / "wall.jpg", hands=0), tmp_path / "empty.jpg"
    empty.touch()
    out = ["--out", str(tmp_path / "me.hand.json")]
    assert main(["calibrate", str(wall), *out]) == 2
    assert "no usable hand in the photos" in capsys.readouterr().err
    assert main(["calibrate", str(empty), *out]) == 2
    assert "none of the inputs could be read" in capsys.readouterr().err
    assert main(["calibrate", str(wall), "--out", str(tmp_path)]) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    assert names(tmp_path) == ["empty.jpg", "wall.jpg"]


def test_calibrate_takes_frames_from_the_whole_video(tmp_path: Path, monkeypatch):
    file = clip(tmp_path / "c.mp4", [1] * 70)
    monkeypatch.setattr("idhand.cli.calibrate.VIDEO_FRAMES", 5)
    camera = Camera(K=None, dist=None, fov_deg=60.0)
    frames = _frames(file, camera, Outcome())
    seconds = [float(frame.name.split()[-2]) for frame in frames]
    assert len(frames) == 5
    assert seconds[0] == 0
    assert seconds[-1] > 2.4
    assert max(np.diff(seconds)) < 0.9
    assert frames[0].K is not None


def test_large_photos_are_made_smaller_with_their_camera():
    rgb = np.zeros((3000, 4000, 3), np.uint8)
    rgb[1500:1502, 3000:3002] = 255
    K = np.array([[3000.0, 0, 3000.5], [0, 3000, 1500.5], [0, 0, 1]])
    small, K_small = _smaller(rgb, K)
    assert small.shape == (1536, 2048, 3)
    assert K_small is not None
    weight = small[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    middle = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    np.testing.assert_allclose(K_small[:2, 2], middle, atol=0.05)
    assert K_small[0, 0] == pytest.approx(3000 * 2048 / 4000)
    assert _smaller(small, K_small)[0] is small


# -------------------------------------------------------------------------------------------- demo


@pytest.fixture
def small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three plain pictures in place of the bundled ones; in the last one is no hand."""
    folder = tmp_path / "package" / "assets" / "data" / "demo"
    folder.mkdir(parents=True)
    photos = []
    for i, hands in enumerate((1, 1, 0)):
        photo(folder / f"photo_{i:02d}.jpg", hands=hands)
        keypoints = make_hand(centre=(-0.1, 0.0, 0.51)).keypoints_cam.tolist()
        photos.append({"file": f"photo_{i:02d}.jpg", "K": K_640, "keypoints_cam_m": keypoints})
    sizes = {"hand_length": 188.0, "index_proximal": 46.0, "not_measured": 1.0}
    truth = {"hand_length_mm": 188.0, "measurements_mm": sizes, "photos": photos}
    (folder / "truth.json").write_text(json.dumps(truth))
    monkeypatch.setattr("idhand.cli.demo.files", lambda package: tmp_path / "package")
    return folder


def test_demo_compares_with_the_truth(tmp_path: Path, small_demo, calibrations, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out)]) == 1
    text = capsys.readouterr()
    assert "photo_02: no hand found" in text.err
    words = " ".join(text.out.split())
    assert "hand length 188.0 185.0 +- 4.0" in words
    assert "index proximal 46.0 42.0 +- 3.0*" in words
    assert "within 95 % interval 1 of 2 1 of 2" in words
    assert "mean of 2 pictures" in words
    assert "before: each photo alone 0.0 0.0 10.0 10.0" in words
    assert [call["hand_length_mm"] for call in calibrations] == [None, 188.0]
    assert set(names(out)) == {
        *(f"overlays/photo_0{i}_before_after.jpg" for i in range(3)),
        *(f"meshes/photo_0{i}{suffix}" for i in range(2) for suffix in (".glb", ".obj")),
        *(f"poses/photo_00{end}" for end in (".npz", "_hand_0_right.bvh", ".openxr.json")),
        "meshes/photo_00.ply",
        *("hands.json", "photos.hand.json", "photos_and_ruler.hand.json", "report.html"),
    }


def test_demo_without_its_pictures(tmp_path: Path, small_demo: Path, capsys):
    (small_demo / "truth.json").unlink()
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert "the demo pictures are missing; install idhand again" in capsys.readouterr().err


def test_errors_by_hand():
    hand = make_hand(centre=(0.0, 0.0, 0.5))
    moved = errors_of(hand, hand.keypoints_cam + np.array([0.003, 0, 0.004]))
    assert (moved.relative_mm, moved.aligned_mm) == (pytest.approx(0), pytest.approx(0, abs=1e-9))
    assert (moved.camera_mm, moved.depth_mm) == (pytest.approx(5), pytest.approx(4))
    larger = errors_of(hand, (hand.keypoints_cam - hand.keypoints_cam[0]) * 2)
    assert larger.aligned_mm == pytest.approx(0, abs=1e-9)
    assert larger.relative_mm > 10


def test_intervals_that_miss_are_marked():
    table = size_table({"hand_length": 181.0, "index_proximal": 38.9}, {"me": person()})
    assert "+-  4.0 " in table
    assert "+-  3.0*" in table
    assert "1 of 2" in table


@pytest.mark.slow
def test_the_real_demo(tmp_path: Path):
    truth, pictures = read_demo()
    assert len(pictures) == 16
    assert main(["demo", "--out", str(tmp_path)]) == 0
    for name in ("photos", "photos_and_ruler"):
        me = Identity.load(tmp_path / f"{name}.hand.json")
        length = me.measurements["hand_length"]
        assert length.low_mm <= truth["hand_length_mm"] <= length.high_mm
