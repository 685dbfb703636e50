"""Stage `predictions`: what the networks see in every test picture.

`points`: the keypoints in the picture. `baseline`: pose, shape and confidence, each person unknown.
`identity`: the identity-aware network's poses; the paper's hand layer alone uses the shape, so that
one pass serves every shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from idhand.data import DataSet
from idhand.detection import HandDetector
from idhand.experiments.chain.chunks import Bar, in_chunks, joined
from idhand.experiments.chain.config import ChainConfig
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.networks import Trained
from idhand.experiments.chain.sets import Sets
from idhand.hand import FittableHand
from idhand.methods.detections import DetectedHands, detect_hands
from idhand.methods.pictures import predict_images, predict_keypoints
from idhand.methods.pointing import placed, with_points
from idhand.methods.predicting import predict
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_network, load_regressor
from idhand.nets.heatmaps import HeatmapNet
from idhand.predictions import Predictions

PARTS = "parts"


@runtime_checkable
class Sight(Protocol):
    """What is seen in the test pictures, for placing hands and for refining them."""

    @property
    def model(self) -> FittableHand:
        """The hand model."""
        ...

    def of(self, predictions: Predictions) -> tuple[Predictions, DetectedHands]:
        """Predictions with these points, and these points as detected hands, of their pictures."""
        ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The stage's results."""

    baseline: Predictions
    identity: Predictions
    """With the mean shape and without a position: both are put in later."""
    sight: Sight
    needs: tuple[Done, ...]
    left_out: tuple[str, ...] = ()
    """Sentences on people in whose pictures no hand was found."""


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Hands of a data set with the hand net's features."""

    backbone: HandBackbone | None
    kind: type[DetectedHands] = DetectedHands

    def __call__(self, data: DataSet, /) -> DetectedHands:
        """See `Maker`."""
        return detect_hands(
            data, HandDetector(), self.backbone, header={"data": data.fingerprint()}
        )


@dataclass(frozen=True, kw_only=True)
class PredictPoints:
    """Keypoints by the 2D network; its highest cells, as published."""

    file: Path
    device: torch.device
    kind: type[Predictions] = Predictions

    def __call__(self, data: DataSet, /) -> Predictions:
        """See `Maker`."""
        net = load_network(self.file)
        assert isinstance(net, HeatmapNet)
        return predict_keypoints(
            net.to(self.device), data, cut="box", decoding="argmax", method=self.file.stem
        )


@dataclass(frozen=True, kw_only=True)
class PredictImages:
    """Poses by a network that sees the crop about the set's box."""

    file: Path
    device: torch.device
    known: bool
    """Everybody gets the mean shape."""
    kind: type[Predictions] = Predictions

    def __call__(self, data: DataSet, /) -> Predictions:
        """See `Maker`."""
        net = load_regressor(self.file).to(self.device)
        mean = np.zeros(net.config.num_betas)
        people = {sample.subject or "" for sample in data.labels()}
        betas = dict.fromkeys(people, mean) if self.known else None
        return predict_images(net, data, cut="box", betas=betas, method=self.file.stem)


@dataclass(frozen=True, kw_only=True)
class Predicting:
    """What the stage works with."""

    stages: Stages
    sets: Sets
    config: ChainConfig
    device: torch.device
    needs: tuple[Done, ...]
    bar: Bar | None = None

    def keep(
        self, name: str, needs: Sequence[Done], make: Any, about: Mapping[str, Any] | None = None
    ) -> Path:
        """A part of the stage that is one file of rows; the file."""
        file = f"{name.rpartition('/')[2]}.npz"
        self_needs = (*self.needs, *needs)

        def make_file(folder: Path) -> list[str]:
            make(folder).save(folder / file)
            remove_parts(folder)
            return [file]

        done = self.stages.keep(f"predictions/{name}", about or {}, self_needs, make_file)
        return done.folder / file

    def done(self, *names: str) -> tuple[Done, ...]:
        """Parts of the stage that others need."""
        return tuple(self.stages.kept[f"predictions/{name}"] for name in names)

    def chunked(self, make: Any, data: DataSet, folder: Path) -> Any:
        """Rows of a data set, made part by part."""
        workers = self.config.workers if self.device.type == "cpu" else 1
        return in_chunks(make, data, folder / PARTS, workers=workers, bar=self.bar)


def remove_parts(folder: Path) -> None:
    """Delete parts that have become one file."""
    for path in (folder / PARTS).glob("*") if (folder / PARTS).is_dir() else ():
        path.unlink()


# ------------------------------------------------------------------------------------ recipe paper


@dataclass(frozen=True, kw_only=True)
class PointSight:
    """Keypoints of the 2D network are all that is seen."""

    model: FittableHand
    points: Predictions
    sets: Sets

    def of(self, predictions: Predictions) -> tuple[Predictions, DetectedHands]:
        """See `Sight`."""
        return with_points(predictions, self.points, self.sets.labels, self.model)


def seen_by_paper(work: Predicting, trained: Sequence[Trained]) -> Seen:
    """The published networks' predictions."""
    rows: dict[str, Predictions] = {}
    for name, net in (("points", "points"), ("baseline", "confidence"), ("identity", "identity")):
        parts = []
        for each in trained:
            file = each.file(net, "paper")
            make = (
                PredictPoints(file=file, device=work.device)
                if name == "points"
                else PredictImages(file=file, device=work.device, known=name == "identity")
            )

            def of_fold(folder: Path, make: Any = make, each: Trained = each) -> Predictions:
                return work.chunked(make, each.fold.test, folder)

            path = work.keep(each.fold.below("", name), [each.parts[net]], of_fold)
            parts.append(Predictions.load(path))
        rows[name] = joined(parts)
    sight = PointSight(model=work.sets.model, points=rows["points"], sets=work.sets)
    baseline = placed(*sight.of(rows["baseline"]), work.sets.model)
    return Seen(
        baseline=baseline,
        identity=rows["identity"],
        sight=sight,
        needs=_all_done(work),
    )


def _all_done(work: Predicting) -> tuple[Done, ...]:
    """All parts of the stage."""
    return tuple(done for name, done in work.stages.kept.items() if name.startswith("predictions/"))


# ------------------------------------------------------------------------------------- recipe hand


@dataclass(frozen=True, kw_only=True)
class HandSight:
    """Detected hands; what the hand net marks in their crops is among the predictions."""

    model: FittableHand
    detected: DetectedHands
    """Without features."""

    def of(self, predictions: Predictions) -> tuple[Predictions, DetectedHands]:
        """See `Sight`: the predictions have the points already."""
        return predictions, self.detected.of(predictions.sample_id)


def seen_by_hand_net(work: Predicting, trained: Sequence[Trained]) -> Seen:
    """Predictions from the hand net's features."""
    net = load_regressor(trained[0].file("baseline", "hand"))
    assert isinstance(net.backbone, HandBackbone)
    backbone = net.backbone
    about = {"backbone": backbone.label, "test": work.sets.test.fingerprint()}

    def detect(folder: Path) -> DetectedHands:
        return work.chunked(Detect(backbone=backbone), work.sets.test, folder)

    detected = DetectedHands.load(work.keep("detected", (), detect, about))
    model, needs = work.sets.model, work.done("detected")
    rows: dict[str, list[Predictions]] = {"baseline": [], "identity": []}
    left_out = []
    for each in trained:
        own = detected.of([sample.id for sample in each.fold.test.labels()])
        if not own.found.any():
            left_out.append(f"no hand was found in the pictures of {each.fold.name or 'test'}")
            continue
        for name, network in (("baseline", "confidence"), ("identity", "identity")):

            def of_fold(
                _: Path, each: Trained = each, own: DetectedHands = own, network: str = network
            ) -> Predictions:
                file = each.file(network, "hand")
                return _predicted(file, own, model)

            parts = (*needs, each.parts[network])
            path = work.keep(each.fold.below("", name), parts, of_fold)
            rows[name].append(Predictions.load(path))
    if not rows["baseline"]:
        raise ValueError(
            "no hand was found in any test picture; see whether the data's boxes hold hands"
        )
    light, baseline = replace(detected, features=None), joined(rows["baseline"])
    networks = tuple(each.parts["confidence"] for each in trained)
    work.keep("points", (*needs, *networks), lambda _: _points(backbone, baseline))
    return Seen(
        baseline=baseline,
        identity=joined(rows["identity"]),
        sight=HandSight(model=model, detected=light),
        needs=_all_done(work),
        left_out=tuple(left_out),
    )


def _predicted(file: Path, detected: DetectedHands, model: FittableHand) -> Predictions:
    """A network's predictions; an identity-aware one's with the mean shape."""
    net = load_regressor(file)
    betas = None
    if net.config.identity == "given":
        betas = dict.fromkeys(detected.subject, model.prior.mean.numpy())
    return predict(net, detected, betas, model=model, method=file.stem)


def _points(backbone: HandBackbone, predictions: Predictions) -> Predictions:
    """What the hand net marks, as predictions of points alone."""
    names = ("dataset", "points", "model")
    about = {name: predictions.header[name] for name in names if name in predictions.header}
    return replace(
        predictions, header={**about, "method": backbone.label},
        rotations=None, betas=None, betas_cov=None, wrist_cam=None, confidence=None,
    )  # fmt: skip
