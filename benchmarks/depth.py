"""Is the depth right, and are the stated deviations true? Tables and curves on labelled pictures.

    python benchmarks/depth.py SHARDS --out DIR [--every N] [--network FILE] [--trust network]

One hand at a time, in the data set's box and of its side (as `idhand reproduce`: the landmark net
reads the box in four turns), K known; each hand is fitted with its true shape and with a shape
estimated from the picture. Of every picture the truth, what was seen and what was fitted is kept in
DIR, so that a run goes on where it was stopped, and `--tables` makes the tables without pictures.
What is kept are the posterior's own deviations; `--deviations` says what becomes of them. Detecting
takes two thirds of the time; `--detected` takes the file that `idhand reproduce` keeps.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from depth_rows import MIDDLE_KNUCKLE, WRIST, Fits, Rows, read_folder, without_fit
from depth_tables import report, save_curves

from idhand.assets.nets import shipped_networks
from idhand.data import Shards, Subset
from idhand.lens import lens_of
from idhand.methods.detections import DetectedHands, DetectionCache
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import landmark_roi
from idhand.nets.files import KEYPOINTS_FILE
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.records import Camera, HandInImage, Sample
from idhand.refinement import STATUS_NAMES, network_only
from idhand.refinement.deviations import AS_STATED, DeviationCalibration, Recalibration, Stated

CHUNK = 250
"""Pictures that one file holds: what a run that is stopped loses at most."""
BATCH = 64
"""Hands that are fitted together, each by itself."""
JOINTS = {"wrist": WRIST, "middle knuckle": MIDDLE_KNUCKLE}


class Recorder:
    """Takes deviations as they are stated, and remembers what was stated last."""

    last: Stated | None = None

    def deviations(self, stated: Stated) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Recalibration`."""
        self.last = stated
        return AS_STATED.deviations(stated)


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is run on every picture."""

    pipe: Pipeline
    recorder: Recorder

    @staticmethod
    def of(config: PipelineConfig) -> "Measuring":
        """With nets and hand model loaded."""
        recorder = Recorder()
        return Measuring(pipe=replace(config.build(), deviations=recorder), recorder=recorder)

    @property
    def backbone(self) -> HandBackbone | None:
        """Whose features of the hands are needed."""
        reader = self.pipe.reader
        if reader is None:
            return None
        assert isinstance(reader.net.backbone, HandBackbone)
        return reader.net.backbone

    def rows(self, truth: list[Sample], detected: DetectedHands) -> Rows:
        """Fit every hand; pictures are not needed."""
        num = len(truth)
        network_px = np.full((num, 21, 2), np.nan)
        known, unknown = without_fit(num), without_fit(num)
        found = np.flatnonzero(detected.found)
        hands = [self._hand(truth[i], detected, i) for i in found.tolist()]
        if hands and self.pipe.reader is not None:
            seen = [hand.detection.keypoints for hand in hands]
            if all(one is not None for one in seen):
                marked = np.stack([one.points_px for one in seen if one is not None])
            else:
                marked = self.pipe.reader.points_px([hand.detection for hand in hands])
            network_px[found] = np.nan if marked is None else marked
        shapes = [self._true_betas(truth[i]) for i in found.tolist()]
        self._fit(unknown, found, hands, None)
        of_known = [k for k, betas in enumerate(shapes) if betas is not None]
        true = [betas for betas in shapes if betas is not None]
        self._fit(known, found[of_known], [hands[k] for k in of_known], true)
        return Rows(
            subject=np.array([s.subject or "" for s in truth]),
            sample_id=np.array([s.id for s in truth]),
            found=detected.found,
            is_visible=np.stack([_visible(s) for s in truth]),
            truth_cam=np.stack([_keypoints_cam(s) for s in truth]),
            truth_px=np.stack([s.keypoints_px for s in truth]),
            crop_px=np.array([landmark_roi(s.keypoints_px).size_px for s in truth]),
            score=detected.score,
            landmarks_px=detected.landmarks_px,
            network_px=network_px,
            known=known,
            unknown=unknown,
        )

    def _hand(self, sample: Sample, detected: DetectedHands, row: int) -> HandInImage:
        """A hand that was found, with its features."""
        seen = detected.detection(row)
        assert seen is not None
        if self.pipe.reader is not None:
            assert detected.features is not None
            seen = replace(seen, features=detected.features[row].astype(np.float32))
        return HandInImage(detection=seen, camera=Camera(K=sample.K, dist=lens_of(sample.dist)))

    def _true_betas(self, sample: Sample) -> np.ndarray | None:
        """The person's true shape; None if it is unknown in the pipeline's model."""
        is_known = sample.betas is not None and sample.model == self.pipe.model.name
        return sample.betas if is_known else None

    def _fit(
        self,
        fits: Fits,
        rows: np.ndarray,
        hands: list[HandInImage],
        shapes: list[np.ndarray] | None,
    ) -> None:
        """Fit hands, each by itself, and put what comes out into their rows."""
        n = self.pipe.model.num_betas
        for first in range(0, len(hands), BATCH):
            batch, at = hands[first : first + BATCH], rows[first : first + BATCH]
            betas = None if shapes is None else np.stack(shapes[first : first + BATCH])
            results = self.pipe.fit_all(
                batch,
                None if betas is None else torch.from_numpy(betas.astype(np.float64)),
                None if betas is None else torch.zeros(n, n, dtype=torch.float64),
            )
            stated = self.recorder.last
            assert stated is not None
            fits.keypoints_cam[at] = np.stack([hand.keypoints_cam for hand in results])
            fits.keypoints_px[at] = np.stack([hand.keypoints_px for hand in results])
            fits.status[at] = [STATUS_NAMES.index(hand.status) for hand in results]
            for name, values in vars(stated.uncertainty).items():
                getattr(fits, name)[at] = values.numpy()
            for name in ("size", "visible", "misfit_m"):
                getattr(fits, name)[at] = getattr(stated, name).numpy()


def _visible(sample: Sample) -> np.ndarray:
    if sample.visible is None:
        raise SystemExit(f"sample {sample.id} does not say which keypoints are visible")
    return sample.visible


def _keypoints_cam(sample: Sample) -> np.ndarray:
    if sample.keypoints_cam is None:
        raise SystemExit(f"sample {sample.id} has no keypoints in the camera's frame")
    return sample.keypoints_cam


def measured(options: argparse.Namespace) -> Iterator[float]:
    """Run whatever chunks are missing; yields pictures per second."""
    shards = Shards(options.shards)
    chosen = range(options.start, len(shards), options.every)[: options.images]
    config = PipelineConfig(
        network=None if options.network == "none" else options.network,
        refinement=network_only() if options.trust == "network" else None,
    )
    about = described(options, shards)
    measuring = None
    for number, first in enumerate(range(0, len(chosen), CHUNK)):
        path = options.out / f"rows-{number:05d}.npz"
        part = Subset(shards, chosen[first : first + CHUNK])
        own = {**about, "pictures": part.fingerprint()}
        if path.exists():
            if Rows.load(path)[1] != own:
                raise SystemExit(
                    f"{path} is of other pictures or another pipeline; name another --out"
                )
            continue
        measuring = measuring or Measuring.of(config)
        begin = time.monotonic()
        detected = hands_of(options, shards, part, measuring.backbone, number)
        measuring.rows(list(part.labels()), detected).save(path, own)
        yield len(part) / (time.monotonic() - begin)


def hands_of(
    options: argparse.Namespace,
    shards: Shards,
    part: Subset,
    backbone: HandBackbone | None,
    number: int,
) -> DetectedHands:
    """The hands of a chunk: of the file that is named, else detected and kept beside the rows."""
    if options.detected is None:
        folder = options.out / "detected"
        folder.mkdir(exist_ok=True)
        return DetectionCache(path=folder / f"hands-{number:05d}.npz").of(part, backbone)
    whole = DetectionCache(path=options.detected).of(shards, backbone)
    return whole.of([label.id for label in part.labels()])


def described(options: argparse.Namespace, shards: Shards) -> dict[str, Any]:
    """What a folder of rows is of."""
    network, keypoints = options.network, shipped_networks() / KEYPOINTS_FILE
    is_file = isinstance(network, Path)
    return {
        "data": shards.fingerprint(),
        "network": hashlib.sha256(network.read_bytes()).hexdigest() if is_file else network,
        "keypoints": hashlib.sha256(keypoints.read_bytes()).hexdigest()
        if keypoints.exists()
        else "none",
        "trust": options.trust,
    }


def main() -> None:
    """Read the flags, run, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows, tables, curves")
    parser.add_argument("--detected", type=Path, help="hands of SHARDS as `reproduce` keeps them")
    parser.add_argument("--every", type=int, default=1, help="take one in so many pictures")
    parser.add_argument("--start", type=int, default=0, help="from this picture on")
    parser.add_argument("--images", type=int, help="at most so many")
    parser.add_argument("--network", default="shipped", help="shipped, none or a file")
    parser.add_argument("--trust", choices=("both", "network"), default="both", help="whose points")
    parser.add_argument("--deviations", default="shipped", help="shipped, none or a file")
    parser.add_argument("--joint", choices=tuple(JOINTS), default="wrist", help="whose depth")
    parser.add_argument("--tables", action="store_true", help="only from the rows that are there")
    options = parser.parse_args()
    if options.network not in ("shipped", "none"):
        options.network = Path(options.network)
    torch.set_num_threads(1)
    if not options.tables:
        options.out.mkdir(parents=True, exist_ok=True)
        for per_second in measured(options):
            print(f"{per_second:.1f} pictures/s", flush=True)
    rows, _ = read_folder(options.out)
    recalibration = recalibration_of(options)
    text = report(rows, recalibration, JOINTS[options.joint])
    print(text)
    (options.out / "tables.md").write_text(text)
    save_curves(rows, recalibration, options.out / "curves.png")


def recalibration_of(options: argparse.Namespace) -> Recalibration:
    """What `--deviations` names."""
    match options.deviations:
        case "none":
            return AS_STATED
        case "shipped":
            network = None if options.network == "none" else options.network
            return PipelineConfig(network=network).build().deviations
        case file:
            return DeviationCalibration.load(Path(file))


if __name__ == "__main__":
    main()
