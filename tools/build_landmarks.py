"""Where the landmark net really marks a hand: offsets from the joints, learned from real photos.

    python tools/build_landmarks.py --real ../shared/data/real

One hierarchical fit over all people at once, by expectation–maximisation: every photo has a pose,
every person a shape and a bias per landmark, everybody shares the offsets, the covariance of the
biases and, for this fit alone, the mean pose of these photos (else offsets would make up for it).
 Students 70–93 of sign_digits are left out; they are test people. The
betas of all people average to zero, else a general difference between the net's hand and ours
would pass for everybody's shape. Writes
`src/idhand/assets/data/landmark_points.json`.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from idhand.assets import open_hand, with_landmarks
from idhand.calibration import Calibration, CalibrationConfig, calibrate_shape
from idhand.detection import HandDetector
from idhand.geometry import intrinsics_from_fov
from idhand.media import VideoReader, read_image
from idhand.nets.reading import Reader
from idhand.records import Camera, Detection, HandInImage
from idhand.refinement import ObjectiveConfig, Observations, observations

OUT = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data" / "landmark_points.json"
TEST_STUDENTS = range(70, 94)
VIDEOS = {
    "dexretarget/human_hand_video.mp4": 20,
    "tfjs/asl_hand.25fps.mp4": 10,
    "stereo/cam0_test.mp4": 20,
}
"""One person each; every so many frames, so that poses differ."""
START_BIAS_SD_M = 0.006
BIAS_FLOOR_SD_M = 0.0007
"""No landmark is more exact than this from person to person."""
SHRINK_OFF_DIAGONAL = 0.5
"""Share of the covariances between landmarks that is kept: there are fewer people than entries."""

RENDERED = Path(__file__).with_name("rendered_marks.json")
"""Offsets on renders with exact truth: the start, and where stays what photos do not show."""
OFFSET_DECAY = 0.15
"""Pull of the offsets towards the start per round."""

SHAPE_GAIN = 0.7
"""How much of a person's proportions the net shows; it draws hands towards the average one.

The spread of the students' betas, with gain one, is about half of anthropometry's variance in what
the photos tell (0.24 of 0.80 for fingers against palm, 0.49 of 0.54 for length against breadth)."""
MEAN_STEP = 0.7
"""Step of the multiplier that holds the mean of all people's betas at zero."""

Person = tuple[list[Detection], list[np.ndarray]]


def people(real: Path, reader: Reader | None = None) -> Iterator[tuple[str, Person]]:
    """Name, detections (with a network's features) and intrinsics of each training person."""
    detector = HandDetector()
    for folder in sorted((real / "sign_digits").glob("student_*")):
        if int(folder.name.split("_")[1]) in TEST_STUDENTS:
            continue
        images = [read_image(p)[0] for p in sorted(folder.glob("*.jpg"))]
        yield folder.name, _seen(detector, images, reader)
    for name, step in VIDEOS.items():
        frames = [f.rgb for k, f in enumerate(VideoReader(real / name)) if k % step == 0]
        yield name, _seen(detector, frames, reader)


def _seen(detector: HandDetector, images: list[np.ndarray], reader: Reader | None) -> Person:
    hands, cameras = [], []
    for rgb in images:
        found = detector.detect(rgb, max_hands=1, views=2)
        if found and found[0].score > 0.8:
            hands += found if reader is None else reader.with_features(rgb, found)
            cameras.append(intrinsics_from_fov(rgb.shape[1], rgb.shape[0]).numpy())
    return hands, cameras


def fit(
    seen_by_person: list[Observations], rounds: int, config: CalibrationConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Offsets (21, 3) and covariance of the biases (63, 63), metres, by EM."""
    base = open_hand()
    rendered = json.loads(RENDERED.read_text())["offsets_mm"]
    start = torch.tensor(rendered, dtype=torch.float64) / 1e3
    offsets = start
    bias = START_BIAS_SD_M**2 * torch.eye(63, dtype=torch.float64)
    pose_space, mean = base.pose_space, base.prior.mean
    for k in range(rounds):
        marked = with_landmarks(base, offsets, SHAPE_GAIN)
        model = replace(
            marked,
            pose_space=pose_space,
            landmarks=replace(marked.landmarks, bias_covariance=bias),
            prior=replace(base.prior, mean=mean),
        )
        fits = [calibrate_shape(model, seen, config=config) for seen in seen_by_person]
        found = torch.stack([f.bias.flatten() for f in fits])
        spread = torch.stack([f.bias_covariance for f in fits])
        step = found.mean(0)
        offsets = offsets + step.view(21, 3)
        poses = torch.cat([f.states.angles for f in fits])
        pose_space = replace(pose_space, mean=poses.mean(0))
        offsets = offsets + OFFSET_DECAY * (start - offsets)
        betas = torch.stack([f.betas for f in fits])
        mean = mean - MEAN_STEP * betas.mean(0)
        off = found - step
        raw = off.T @ off / len(fits) + spread.mean(0)
        bias = shrunk(raw)
        fit_cost = torch.cat([f.fit_cost for f in fits]).mean()
        print(
            f"round {k}: offsets moved {1e3 * step.norm():.2f} mm, bias sd "
            f"{1e3 * raw.diagonal().mean().sqrt():.2f} mm, cost per photo {fit_cost:.2f}",
            flush=True,
        )
        print(
            f"    mean betas {betas.mean(0).norm():.2f}, spread {spread_ratio(fits):.2f}",
            flush=True,
        )
    return offsets, bias


def spread_ratio(fits: list[Calibration]) -> float:
    """Variance of the people's proportions over the prior's, where the photos tell them."""
    betas = torch.stack([f.betas for f in fits])[:, 1:]
    left = torch.stack([f.covariance.diagonal() for f in fits])[:, 1:].mean(0)
    known = (1 - left).clamp_min(0)
    return float((known * (betas.var(0, correction=1) + left)).sum() / known.sum())


def shrunk(covariance: torch.Tensor) -> torch.Tensor:
    """Between-landmark terms damped, a floor on the diagonal: positive definite."""
    same = torch.block_diag(*torch.ones(21, 3, 3, dtype=covariance.dtype))
    keep = same + SHRINK_OFF_DIAGONAL * (1 - same)
    return covariance * keep + BIAS_FLOOR_SD_M**2 * torch.eye(63, dtype=covariance.dtype)


def main() -> None:
    """Detect, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--real", type=Path, required=True, help="folder with the real photos")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    config = CalibrationConfig(objective=ObjectiveConfig())
    seen_by_person = []
    for name, (hands, cameras) in people(args.real):
        print(name, len(hands), "hands", flush=True)
        rows = zip(hands, cameras, strict=True)
        pictures = [HandInImage(detection=d, camera=Camera(K=K)) for d, K in rows]
        seen_by_person.append(observations(pictures, config.objective))
    write(*fit(seen_by_person, args.rounds, config), len(seen_by_person))


def write(offsets: torch.Tensor, bias: torch.Tensor, num_people: int) -> None:
    """The shipped file, rounded to a micrometre."""
    document = {
        "source": f"tools/build_landmarks.py, {num_people} people",
        "frame": "rest frame of the open right hand: x thumb side, y proximal, z dorsal",
        "shape_gain": SHAPE_GAIN,
        "offsets_mm": np.round(offsets.numpy() * 1e3, 3).tolist(),
        "bias_covariance_mm2": np.round(bias.numpy() * 1e6, 4).tolist(),
    }
    OUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
