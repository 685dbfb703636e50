"""Build the test set "photoreal": 20 invented people in 40 photo-like pictures each, with truth.

    python tools/build_photoreal.py --bpy-python PYTHON --cache DIR --out DIR [--workers 2]

A second, independent look at what is tested on renders of `idhand.synth`: light transport by
Cycles with scattering in the skin, Blender's own panoramas, and for half of the people SOMA-X's
hand with its own joints. Never used for training. `--bpy-python` is the interpreter of a separate
environment with PyPI `bpy` 4.5.15 (GPL; a tool that never becomes a dependency). The way:
`soma_hand` and `photoreal_people` (who) → `photoreal_shots` and `photoreal_places` (what) → this
file (the picture) → `photoreal_scene` (inside Blender's Python); `photoreal_truth` (what is known).
Finished pictures stay in the cache, so a run that was stopped goes on; at the end they are written
as shards that `idhand.data.Shards` reads.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from demo_photo import (
    LUMA,
    MIDDLE_GREY,
    SKIN_IN_WHITE_LIGHT,
    background,
    composed,
    developed,
    normalised,
    turned_panorama,
)
from photoreal_people import NUM_PEOPLE, SEED, Person, make_person
from photoreal_shots import LIGHTS, SIZE_PX, Frame, Plan, draw_plans
from photoreal_truth import DATASET, meshes_of, sample_of, seen
from soma_hand import fetch_wheel

from idhand.data import write_shards
from idhand.data.samples import encode_sample

BLENDER = "4.5.15"
PICTURES, SEQUENCE_FRAMES = 40, 8
SEQUENCES: dict[int, tuple[int, ...]] = dict.fromkeys((2, 7, 12, 17), (SEQUENCE_FRAMES,) * 2)
"""Of these people the last pictures are two sequences."""
EXPOSURE_SHARE = 0.85
"""How far a camera leaves dark skin dark and pale skin pale instead of making both grey."""


class Blender:
    """One Blender that renders job after job."""

    def __init__(self, python, folder: Path):
        """Start it; jobs and results lie in the folder."""
        scene = Path(__file__).with_name("photoreal_scene.py")
        self.folder = folder
        self.process = subprocess.Popen(
            [python, str(scene)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def render(self, job):
        """Linear RGBA and the object index of every pixel."""
        paths = self.folder / "job.npz", self.folder / "result.npz"
        np.savez(paths[0], **job)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        print(*paths, sep="\t", file=stdin, flush=True)
        while True:
            line = stdout.readline()
            if not line:
                raise SystemExit("Blender ended before its picture was done")
            if line.startswith("rendered"):
                break
        with np.load(paths[1]) as result:
            return result["picture"], result["index"]

    def close(self):
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def fetch_lights(bpy_python, folder: Path):
    """Blender's own panoramas as linear float32 arrays, decoded once into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / f"{name}.npy").exists() for name in LIGHTS):
        code = "import bpy, os; print(os.path.join(bpy.utils.resource_path('LOCAL'), 'datafiles'))"
        found = subprocess.run(
            [bpy_python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split("\n")[-2]
        for name in LIGHTS:
            source = Path(found) / "studiolights" / "world" / f"{name}.exr"
            (folder / source.name).write_bytes(source.read_bytes())
        scene = Path(__file__).with_name("demo_scene.py")
        subprocess.run([bpy_python, str(scene), "decode", str(folder)], check=True)
    return folder


@cache
def light(folder: Path, name):
    """One panorama, scaled."""
    return normalised(np.load(folder / f"{name}.npy"))


def scene_job(person: Person, plan: Plan, frame: Frame, sleeve, panorama, samples, seed):
    """Everything Blender needs for one picture."""
    body, traits = person.body, person.subject.skin
    things = [
        {
            "kind": prop.kind,
            "colour": prop.colour,
            "second": prop.second,
            "is_held": prop.is_held,
            "is_smooth": prop.kind == "painted",
        }
        for prop in plan.props
    ]
    settings = {
        "K": plan.camera.K.tolist(),
        "width": plan.camera.width,
        "height": plan.camera.height,
        "samples": samples,
        "seed": seed,
        "wetness": 0.02 + 0.1 * traits.shine,
        "sleeve_colour": plan.sleeve_colour,
        "hair_colour": traits.hair_tone,
        "things": things,
        "table": plan.table,
        "lamp": plan.lamp,
        "focus_m": float(frame.posed.keypoints[:, 2].mean()),
        "aperture_m": plan.aperture_m,
    }
    job = {
        "skin_verts": frame.skin.astype(np.float32),
        "skin_faces": body.refiner.faces.astype(np.int32),
        "skin_rest": body.rest.astype(np.float32),
        "skin_tone": body.paint["tone"].astype(np.float32),
        "skin_rough": body.paint["rough"].astype(np.float32),
        "panorama": turned_panorama(panorama, plan.axes),
        "settings": json.dumps(settings),
    }
    if sleeve:
        job |= dict(zip(("sleeve_verts", "sleeve_faces", "sleeve_rest"), sleeve, strict=True))
    if person.hair:
        job["hair"] = person.hair.on(frame.skin, body.refiner.faces).astype(np.float32)
    for number, prop in enumerate(plan.props):
        job[f"thing{number}_verts"] = prop.solid.verts.astype(np.float32)
        job[f"thing{number}_faces"] = prop.solid.faces.astype(np.int32)
        job[f"thing{number}_tone"] = prop.solid.tone.astype(np.float32)
        job[f"thing{number}_gloss"] = prop.solid.gloss.astype(np.float32)
    return job


def photo(person: Person, plan: Plan, picture, is_hand, panorama, seed):
    """What the camera makes of linear light: 8-bit RGB."""
    distance = float(np.mean([f.posed.keypoints[:, 2].mean() for f in plan.frames]))
    blur_px = plan.aperture_m * plan.camera.K[0, 0] / (2 * distance)
    behind = background(panorama, plan.axes, plan.camera, blur_px)
    white = (np.array(person.look.back_tone) + np.array(person.look.palm_tone)) / 2
    grey = MIDDLE_GREY * (white @ LUMA / (SKIN_IN_WHITE_LIGHT @ LUMA)) ** EXPOSURE_SHARE
    linear = composed(picture, behind, is_hand, plan.exposure, white=white, grey=float(grey))
    if plan.soft_px > 0.15:
        linear = cv2.GaussianBlur(linear, (0, 0), plan.soft_px)
    return developed(linear, np.random.default_rng(seed), plan.noise)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be built, and with what."""

    bpy_python: str
    cache: Path
    samples: int
    people: tuple[int, ...]
    pictures: int
    """Per person."""

    @property
    def folder(self):
        """Of the finished pictures."""
        return self.cache / "pictures"

    def sequences(self, number):
        """Number of frames of each of a person's sequences."""
        return SEQUENCES.get(number, ()) if self.pictures == PICTURES else ()

    def key(self, number, picture):
        """Name of a picture."""
        return f"{DATASET}-{number:02d}-{picture:02d}"


def build_person(order: Order, number):
    """Render all pictures of a person that are not there yet."""
    keys = [order.key(number, k) for k in range(order.pictures)]
    if all((order.folder / f"{key}.json").exists() for key in keys):
        return
    person = make_person(number, order.cache)
    sequences = order.sequences(number)
    singles = order.pictures - sum(sequences)
    with tempfile.TemporaryDirectory() as folder:
        blender = Blender(order.bpy_python, Path(folder))
        first = 0
        for plan in draw_plans(person, number, singles, sequences, SEED):
            plan_keys = keys[first : first + len(plan.frames)]
            sequence = f"{plan_keys[0]}-sequence" if len(plan.frames) > 1 else None
            for k, key in enumerate(plan_keys):
                if not (order.folder / f"{key}.json").exists():
                    began = time.perf_counter()
                    seed = 100 * number + first + k
                    files, iou = take(blender, order, person, plan, k, key, sequence, seed)
                    for suffix in sorted(files, key=lambda s: s == "json"):
                        (order.folder / f"{key}.{suffix}").write_bytes(files[suffix])
                    seconds = time.perf_counter() - began
                    size = sum(map(len, files.values()))
                    told = f"{plan.kind:12s} {plan.pose:18s} {plan.light:9s}"
                    print(f"{key} {told} IoU {iou:.4f} {size} B {seconds:.2f} s", flush=True)
            first += len(plan.frames)
        blender.close()


def take(blender: Blender, order: Order, person: Person, plan: Plan, k, key, sequence, seed):
    """One picture: its files, and how well the projected meshes cover what was rendered.

    Args:
        blender: Running.
        order: Of the set.
        person: Who is seen.
        plan: What is seen.
        k: Which frame of the plan.
        key: Name of the picture.
        sequence: Name of its sequence, or None.
        seed: Of its noise.
    """
    panorama = light(order.cache / "lights", plan.light)
    frame = plan.frames[k]
    # The sleeve's folds stay the same through a sequence.
    meshes, sleeve = meshes_of(person, plan, frame, seed - k)
    parts, depth_m = seen(meshes, plan.camera)
    job = scene_job(person, plan, frame, sleeve, panorama, order.samples, seed)
    picture, index = blender.render(job)
    rendered, projected = index > 0, parts > 0
    iou = (rendered & projected).sum() / max(1, (rendered | projected).sum())
    rgb = photo(person, plan, picture, index == 1, panorama, seed)
    sample = sample_of(person, plan, k, rgb, parts, depth_m, key, sequence)
    options = [cv2.IMWRITE_JPEG_QUALITY, plan.quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(sample.rgb[..., ::-1]), options)
    assert done
    files = encode_sample(sample, jpeg.tobytes())
    assert sample.parts is not None
    # Smaller than the studio's quick way.
    done, labels = cv2.imencode(".png", sample.parts, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return files | {"parts.png": labels.tobytes()}, iou


class Pictures:
    """The finished pictures as `idhand.data.write_shards` wants them."""

    def __init__(self, order: Order):
        """All pictures of all people, in order."""
        self.order = order
        self.keys = [order.key(n, k) for n in order.people for k in range(order.pictures)]

    def __len__(self):
        """Number of pictures."""
        return len(self.keys)

    def key(self, index):
        """Name of a picture."""
        return self.keys[index]

    def entry(self, index):
        """Its files."""
        stem = f"{self.keys[index]}."
        files = sorted(self.order.folder.glob(f"{stem}*"))
        return {path.name.removeprefix(stem): path.read_bytes() for path in files}

    def description(self):
        """What fixes the bytes."""
        return {
            "dataset": DATASET,
            "seed": SEED,
            "size_px": SIZE_PX,
            "people": list(self.order.people),
            "pictures": self.order.pictures,
            "samples": self.order.samples,
            "blender": BLENDER,
        }


def start_worker(counter):
    """One thread on one core for this process and its Blender, which would spin on all of them."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


def main():
    """Render and write the set."""
    parser = argparse.ArgumentParser(description="Build the test set photoreal.")
    parser.add_argument("--bpy-python", required=True, help=f"Python with PyPI bpy {BLENDER}")
    parser.add_argument("--cache", type=Path, required=True, help="folder for downloads, pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--samples", type=int, default=16, help="light paths per pixel")
    parser.add_argument("--people", type=int, nargs="*", default=list(range(NUM_PEOPLE)))
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of each person")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    order = Order(
        bpy_python=args.bpy_python,
        cache=args.cache,
        samples=args.samples,
        people=tuple(args.people),
        pictures=args.pictures,
    )
    order.folder.mkdir(parents=True, exist_ok=True)
    fetch_lights(order.bpy_python, order.cache / "lights")
    fetch_wheel(order.cache)  # here, so that no two workers do
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    with context.Pool(args.workers, start_worker, (counter,)) as pool:
        pool.starmap(build_person, [(order, number) for number in order.people], chunksize=1)
    manifest = write_shards(Pictures(order), args.out, workers=1, frames=SEQUENCE_FRAMES)
    print(f"{manifest.num_done} pictures in {args.out}")


if __name__ == "__main__":
    main()
