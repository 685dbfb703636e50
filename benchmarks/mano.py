"""Hands of MANO's form, on the open hand resampled to its sizes: how near, how fast, how well seen.

python benchmarks/mano.py [--pictures 80] [--repeats 5]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speed_refinement import BATCH, scene
from tables import table
from timing import interleaved

from idhand.assets import open_hand
from idhand.assets.carrying import carried, carried_over
from idhand.assets.mano import mano_hand
from idhand.assets.mano_reading import read_mano
from idhand.assets.mano_writing import write_resampled
from idhand.assets.resampled import TIP_VERTS, open_betas, resampled_hand
from idhand.detection import HandDetector
from idhand.fixtures.motions import Lab, draw_motion
from idhand.fixtures.pictures import draw_place, fixture_person, fixture_picture
from idhand.hand import HAND_LENGTH, KEYPOINT_ORDER
from idhand.refinement import RefinementConfig, solve

MM_PER_M = 1e3
PEOPLE = 50
K = np.array([[613.0, 0, 313], [0, 612, 245], [0, 0, 1]])
UP, AHEAD = np.array([0, -0.8, -0.6]), np.array([0, -0.6, 0.8])
MANO_ORDER = [0, *range(13, 16), *range(1, 4), *range(4, 7), *range(10, 13), *range(7, 10)]
"""For each joint of ours, its place among MANO's."""
FOUND_WITHIN = 0.2
"""Mean landmark error of a hand that counts as found, over its extent in the picture."""


def carrying() -> str:
    """How well measures are carried over from the open hand, over random people."""
    model = mano_hand(resampled_hand(), carried_over)
    betas = torch.from_numpy(np.random.default_rng(2).normal(size=(PEOPLE, 10)))
    truth = open_hand().measures.lengths(torch.from_numpy(open_betas(betas.numpy())))
    off_mm = MM_PER_M * (model.measures.lengths(betas) - truth)
    fit = carried(model)
    length = off_mm[:, model.measures.names.index(HAND_LENGTH)]
    return table(
        ["what is carried over", "mm"],
        [
            ["surfaces apart before the last offsets", fit.fit_mm],
            ["surfaces apart", fit.residual_mm],
            [f"measures of {PEOPLE} people, rms", float(off_mm.square().mean().sqrt())],
            ["the worst of them", float(off_mm.abs().max())],
            ["hand length, the worst", float(length.abs().max())],
        ],
        digits=2,
    )


def conversion() -> str:
    """Reading pickles of both sides and making hand models of them, without imports."""
    with tempfile.TemporaryDirectory() as folder:
        write_resampled(Path(folder))
        began, cpu = time.perf_counter(), time.process_time()
        for file in read_mano(Path(folder)):
            mano_hand(file, carried_over)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return table(
        ["both sides converted", "value"],
        [["s", seconds], ["s of one core", cpu], ["peak memory of the process, MB", peak_mb]],
        digits=1,
    )


def refining(repeats: int, num: int = BATCH) -> str:
    """Refinement of hands in batches, with the open hand and with MANO's 45 angles, in turns."""
    models = {"open hand": open_hand(), "MANO": mano_hand(resampled_hand(), carried_over)}
    scenes = {name: scene(num, model=model) for name, model in models.items()}
    rows = []
    for what, is_free in (("betas free", True), ("betas given", False)):
        starts = {n: s.start if is_free else s.known_start for n, s in scenes.items()}
        tasks = {
            n: lambda n=n, is_free=is_free, starts=starts: solve(
                scenes[n].objective, scenes[n].seen, starts[n], RefinementConfig(), shape=is_free
            )
            for n in scenes
        }
        ms = {n: 1e3 * s / num for n, s in interleaved(tasks, repeats).items()}
        rows.append([what, *ms.values(), ms["MANO"] / ms["open hand"]])
    return table([f"{num} hands at a time", "open hand, ms", "MANO, ms", "ratio"], rows, digits=2)


def detecting(pictures: int) -> str:
    """How many hands of fixture pictures the shipped detector finds in whole pictures."""
    detector, found, right_side = HandDetector(), 0, 0
    began = 0.0
    for seed in range(pictures):
        is_right, rng = seed % 2 == 0, np.random.default_rng(seed)
        file, person = resampled_hand(is_right=is_right), fixture_person(seed % 10)
        angle = rng.uniform(0, 2 * np.pi)
        ahead = np.cos(angle) * AHEAD + np.sin(angle) * np.cross(AHEAD, UP)
        lab = Lab(centre_m=np.array([0, 0, 0.75]), ahead=ahead, up=UP)
        motion = draw_motion(rng, file, person.betas, lab, 20)
        verts, joints = (values[-1] for values in motion.posed(file))
        place = draw_place(rng, K, 640, 480, UP)
        start = time.process_time()
        picture = fixture_picture(verts, person, place, rng, is_right=is_right)
        began += time.process_time() - start if seed else 0.0
        tips = verts[[numbers[0] for numbers in TIP_VERTS]]
        points = np.concatenate([joints[MANO_ORDER], tips])[list(KEYPOINT_ORDER)] @ K.T
        pixels = points[:, :2] / points[:, 2:]
        for hand in detector.detect(picture.rgb):
            apart = np.linalg.norm(hand.landmarks_px - pixels, axis=1).mean()
            if apart < FOUND_WITHIN * np.ptp(pixels, axis=0).max():
                found += 1
                right_side += hand.is_right == is_right
                break
    per_second = (pictures - 1) / began if began else float("nan")
    return table(
        [f"{pictures} fixture pictures of 640 × 480 px", "value"],
        [
            ["hands found", found],
            ["of them with the right side", int(right_side)],
            ["pictures made per second of one core", per_second],
        ],
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for text in (
        conversion(),
        carrying(),
        refining(options.repeats),
        detecting(options.pictures),
    ):
        print(text)


if __name__ == "__main__":
    main()
