"""The real photos that the judge compares with: which of them, and what it said, kept on disk."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import numpy as np
from real_stereo import read_rig
from studio_judge import Judge, Picture, Readings

import idhand
from idhand.media import VideoReader, read_image

SOURCES = ("sign_digits", "stereo", "dexretarget", "tfjs", "taco")
NUM_DIGIT_PHOTOS = 300
CLIP_STEP = 4
"""Every so many frames of a clip; its neighbours show nothing new."""
SEED = 0
CLIPS = {
    "stereo": ("stereo/cam0_test.mp4", "stereo/cam1_test.mp4"),
    "dexretarget": ("dexretarget/human_hand_video.mp4",),
    "tfjs": ("tfjs/asl_hand.25fps.mp4",),
}
"""One person's right hand each."""
JUDGED_BY = (
    *("detection", "refinement", "pipeline.py", "hand.py", "geometry.py"),
    *(f"assets/{name}.py" for name in ("nets", "models", "population")),
    *(f"assets/data/{net}.safetensors" for net in ("palm_detection_full", "hand_landmark_full")),
    *("assets/data/open_hand.npz", "assets/data/landmark_points.json"),
)
"""Parts of the package that what the judge says depends on."""


def real_pictures(root: Path, source: str) -> Iterator[Picture]:
    """The pictures of one source that are used: a seeded choice of photos, every fourth frame."""
    if source == "sign_digits":
        yield from _digits(root / source)
    if source == "tfjs":
        rgb = read_image(root / "tfjs" / "hands.jpg")[0]
        yield Picture(group="hands.jpg", rgb=rgb, K=None, dist=None, num_hands=2, is_right=False)
    if source == "taco":
        yield from _taco(root / source)
    for number, clip in enumerate(CLIPS.get(source, ())):
        K = dist = None
        if source == "stereo":
            rig = read_rig(root / source)
            K, dist = rig.K[number], rig.dist[number]
        reader = VideoReader(root / clip)
        for frame in reader:
            if frame.index % CLIP_STEP == 0:
                second = int(frame.index / reader.fps)
                yield Picture(
                    group=f"{source} {second}", rgb=frame.rgb, K=K, dist=dist, is_right=True
                )


def _digits(folder: Path) -> Iterator[Picture]:
    paths = sorted(folder.glob("student_*/*.jpg"))
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:NUM_DIGIT_PHOTOS]
    for i in sorted(chosen.tolist()):
        rgb = read_image(paths[i])[0]
        yield Picture(group=paths[i].parent.name, rgb=rgb, K=None, dist=None, is_right=True)


def _taco(folder: Path) -> Iterator[Picture]:
    cameras = {
        record["image"]: record["K"]
        for record in json.loads((folder / "truth.json").read_text())["hands"]
    }
    for name, K in sorted(cameras.items()):
        rgb = read_image(folder / name)[0]
        yield Picture(group=name, rgb=rgb, K=np.array(K, float), dist=None, num_hands=2)


# ---------------------------------------------------------------- kept on disk


def real_readings(judge: Judge, root: Path, cache: Path) -> dict[str, Readings]:
    """What the judge says of each source that is there; read from the cache if nothing changed."""
    found = {}
    for source in SOURCES:
        if not (root / source).is_dir():
            print(f"{root / source} is not here: this source is left out", flush=True)
            continue
        file = cache / f"realism_{source}_{_fingerprint(root / source)}.npz"
        if not file.is_file():
            print(f"reading real photos: {source}", flush=True)
            cache.mkdir(parents=True, exist_ok=True)
            write_readings(file, judge.read(real_pictures(root, source)))
        found[source] = read_readings(file)
    return found


def write_readings(file: Path, readings: Readings) -> None:
    """Keep what the judge said: arrays, no pickle."""
    columns = {f.name: getattr(readings, f.name) for f in fields(Readings)}
    np.savez_compressed(file, allow_pickle=False, **columns)


def read_readings(file: Path) -> Readings:
    """What the judge said before."""
    with np.load(file, allow_pickle=False) as archive:
        return Readings(**{f.name: archive[f.name] for f in fields(Readings)})


def _fingerprint(folder: Path) -> str:
    """Of the pictures, of the code and nets that read them, and of the choice of pictures."""
    package = Path(str(files(idhand)))
    here = Path(__file__).parent
    roots = [folder, *(package / part for part in JUDGED_BY)]
    roots += [here / "studio_judge.py", here / "studio_real.py"]
    digest = hashlib.sha256()
    for root in roots:
        paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in paths:
            if "__pycache__" not in path.parts:
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
