"""What the pipeline's trained network is worth on labelled pictures: errors with it and without.

python benchmarks/pipeline_network.py --data FOLDER [--data FOLDER ...] [--every N]

Hands are read in the data set's boxes, K is known, nobody is. Of left hands the truth is the real
hand's, as everywhere.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tables import table

import idhand
from idhand.data import Shards
from idhand.detection.roi import CROP_SIZE_PX
from idhand.evaluation.bootstrap import mean_interval
from idhand.evaluation.metrics import aligned_to, distances_mm
from idhand.nets.crops import landmark_roi
from idhand.pipeline import Pipeline
from idhand.records import Sample

HEAD = ("", "about the wrist mm", "aligned mm", "in the camera mm", "seen in 2D px", "median")
ALIGNMENTS = ("root", "procrustes", "camera")


def errors_mm(pipe: Pipeline, sample: Sample) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Mean joint errors about the wrist, aligned, in the camera, and what was seen, by method.

    The last is in pixels of a crop of 224: the landmark net's points, the network's keypoints.
    """
    seen = pipe.detector.in_box(sample.rgb, sample.bbox_px, is_right=sample.is_right)
    if seen is None or sample.keypoints_cam is None:
        return
    assert pipe.reader is not None
    (read,) = pipe.reader.with_features(sample.rgb, [seen])
    truth = torch.from_numpy(sample.keypoints_cam)[None]
    marked = pipe.reader.points_px([read])
    assert marked is not None
    per_px = CROP_SIZE_PX / landmark_roi(seen.landmarks_px).size_px
    for name, detection, points_px in (
        ("landmarks alone", replace(read, features=None), seen.landmarks_px),
        ("default", read, marked[0]),
    ):
        (hand,) = pipe.fit([detection], sample.K, sample.dist)
        points = torch.from_numpy(hand.keypoints_cam)[None]
        shift = truth[:, 0] - points[:, 0]
        moved = (aligned_to(points, truth, how, root_shift=shift) for how in ALIGNMENTS)
        off_px = np.linalg.norm(points_px - sample.keypoints_px, axis=1).mean() * per_px
        yield name, (*(float(distances_mm(p, truth).mean()) for p in moved), float(off_px))


def main() -> None:
    """Print a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--every", type=int, default=1, help="only each Nth picture")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pipe = idhand.load()
    for folder in args.data:
        shards = Shards(folder)
        found: dict[str, list[tuple[float, ...]]] = {}
        people: list[str] = []
        for index in range(0, len(shards), args.every):
            sample = shards[index]
            done = dict(errors_mm(pipe, sample))
            people += [sample.subject or ""] if done else []
            for name, errors in done.items():
                found.setdefault(name, []).append(errors)
        rng = np.random.default_rng(0)
        rows = []
        for name, errors in found.items():
            spans = [mean_interval(column, people, rng) for column in np.array(errors).T]
            middle = f"{np.median(np.array(errors)[:, -1]):.1f}"
            told = (f"{s.estimate:.1f} [{s.low:.1f}, {s.high:.1f}]" for s in spans)
            rows.append([name, *told, middle])
        print(f"\n{folder.name}: {len(people)} hands of {len(set(people))} people\n")
        print(table(HEAD, rows))


if __name__ == "__main__":
    main()
