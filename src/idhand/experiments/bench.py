"""One run's networks and pictures, and what the rows of the table are made of."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from idhand.evaluation import Report, evaluate
from idhand.experiments.curve import Point, Variant, calibration_curve
from idhand.experiments.nets import ExperimentNetworks
from idhand.experiments.presets import ReproduceConfig, Row, RowNetwork, ShapeName, rows
from idhand.experiments.shapes import (
    PersonShape,
    Split,
    fused_shapes,
    landmark_shapes,
    rulers_m,
    with_lengths,
)
from idhand.fusion import FusionConfig, with_hand_length
from idhand.hand import FittableHand, ShapePrior
from idhand.methods.detections import DetectedHands
from idhand.methods.predicting import landmark_fit, predict
from idhand.methods.refining import refine
from idhand.methods.rows import NetworkPoints, wrists
from idhand.predictions import Predictions
from idhand.records import Sample

Progress = Callable[..., Iterable[Any]]
"""Wraps something to go through, with `desc=`, e.g. `tqdm`."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run's networks and pictures."""

    nets: ExperimentNetworks
    model: FittableHand
    config: ReproduceConfig
    detected: DetectedHands
    split: Split
    progress: Progress | None

    @property
    def prior(self) -> ShapePrior:
        """Of the population."""
        return self.model.prior

    def wrapped(self, items: Iterable[Any], what: str) -> Iterable[Any]:
        """The items, with progress shown."""
        return items if self.progress is None else self.progress(items, desc=what)

    def fusion(self, net: str) -> FusionConfig:
        """Our fusion of a network's shapes, with its calibrated covariances."""
        return FusionConfig(covariance_calibration=self.nets.covariance_calibrations.get(net))

    def lengths_m(self, truth: dict[str, PersonShape]) -> dict[str, float]:
        """Everybody's hand by ruler."""
        sigma_m, seed = self.config.ruler_sigma_m, self.config.seed
        return rulers_m(truth, self.model, sigma_m=sigma_m, seed=seed)

    def shapes(self, truth: dict[str, PersonShape]) -> dict[ShapeName, dict[str, PersonShape]]:
        """Everybody's shape from each source that gives one per person."""
        calibration, sigma_m = self.split.calibration, self.config.ruler_sigma_m
        own = predict(self.nets.identity_film, self.detected, model=self.model)
        calibrated = fused_shapes(own, calibration, self.prior, self.fusion("identity_film"))

        def with_bar(items: Any) -> Any:
            return self.wrapped(items, "calibrating by landmarks")

        return {
            "true": truth,
            "calibrated": calibrated,
            "calibrated_length": with_lengths(
                calibrated, self.lengths_m(truth), self.model, sigma_m=sigma_m
            ),
            "calibrated_landmarks": landmark_shapes(
                self.detected, calibration, self.model, progress=with_bar
            ),
            "mean": {who: PersonShape(betas=self.prior.mean.numpy()) for who in calibration},
        }

    def reports(
        self,
        samples: Sequence[Sample],
        truth: dict[str, PersonShape],
        shapes: dict[ShapeName, dict[str, PersonShape]],
    ) -> tuple[dict[Row, Report], dict[Row, Report], dict[Row, float], dict[RowNetwork, float]]:
        """All rows, on people of known shape and on everybody; times; what the identity changes."""
        everybody = self.detected.select(self.split.evaluated)
        known = [i for i, who in enumerate(everybody.subject) if who in truth]
        wanted = set(everybody.sample_id)
        truths = [sample for sample in samples if sample.id in wanted]
        makers = {
            "known": Maker(bench=self, detected=everybody.select(known), shapes=shapes),
            "all": Maker(bench=self, detected=everybody, shapes=shapes),
        }
        reports: dict[Row, Report] = {}
        reports_all: dict[Row, Report] = {}
        all_known = len(known) == len(everybody)
        for row in self.wrapped(rows(), "rows"):
            if not row.needs_truth and not all_known:
                report = evaluate(makers["all"].row(row), truths, self.model)
                reports_all[row] = report
                if known:
                    reports[row] = report.select(known)
            elif known:
                reports[row] = evaluate(makers["known"].row(row), truths, self.model)
        seconds = makers["all"].seconds | makers["known"].seconds
        change = makers["known"].pose_change_deg() if known else {}
        return reports, reports_all, seconds, change

    def curve(self, truth: dict[str, PersonShape]) -> list[Point]:
        """Shape error against the number of pictures."""
        if not truth:
            return []
        film = predict(self.nets.identity_film, self.detected, model=self.model)
        sure = predict(self.nets.confidence, self.detected, model=self.model)
        ours = self.fusion("identity_film")
        variants = [
            Variant(name="plain mean", predictions=film, fusion=FusionConfig(mode="mean")),
            Variant(name="ours", predictions=film, fusion=ours),
            Variant(name="ours, length known", predictions=film, fusion=ours, with_length=True),
            Variant(
                name="baseline: plain mean", predictions=sure, fusion=FusionConfig(mode="mean")
            ),
            Variant(
                name="baseline: top half by confidence",
                predictions=sure,
                fusion=FusionConfig(mode="top_k"),
            ),
            Variant(
                name="baseline: weighted by confidence",
                predictions=sure,
                fusion=FusionConfig(mode="softmax"),
            ),
        ]
        if "confidence" in self.nets.covariance_calibrations:
            own = self.fusion("confidence")
            variants.append(Variant(name="baseline: ours", predictions=sure, fusion=own))
        return calibration_curve(
            variants,
            truth,
            self.lengths_m(truth),
            self.prior,
            self.model,
            sizes=self.config.sizes,
            draws=self.config.draws,
            ruler_sigma_m=self.config.ruler_sigma_m,
            seed=self.config.seed,
            progress=lambda items: self.wrapped(items, "calibration curve"),
        )


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes rows' predictions of the same pictures; what rows share is made once."""

    bench: Bench
    detected: DetectedHands
    shapes: dict[ShapeName, dict[str, PersonShape]]
    seconds: dict[Row, float] = field(default_factory=dict)
    _kept: dict[tuple[RowNetwork, ShapeName], Predictions] = field(default_factory=dict)

    def row(self, row: Row) -> Predictions:
        """A row's predictions; notes how long its solver took per hand."""
        start = self.unrefined(row.net, row.shape)
        if row.solver == "none":
            return start
        shape = "free" if row.frees_shape else "given"
        config = replace(self.bench.config.refining, solver=row.solver, shape=shape)
        began = time.perf_counter()
        refined = refine(start, self.detected, self.bench.model, config)
        self.seconds[row] = (time.perf_counter() - began) / max(1, int(self.detected.found.sum()))
        return refined

    def unrefined(self, net: RowNetwork, shape: ShapeName) -> Predictions:
        """What a network predicts with these shapes."""
        if (net, shape) not in self._kept:
            self._kept[net, shape] = self._predicted(net, shape)
        return self._kept[net, shape]

    def _predicted(self, net: RowNetwork, shape: ShapeName) -> Predictions:
        model = self.bench.model
        if shape == "own_length":
            return self._with_lengths(self.unrefined(net, "own"))
        betas = None
        if shape != "own":
            betas = {who: person.betas for who, person in self.shapes[shape].items()}
        if net == "landmarks":
            return landmark_fit(self.detected, betas, model=model)
        return predict(getattr(self.bench.nets, net), self.detected, betas, model=model)

    def _with_lengths(self, own: Predictions) -> Predictions:
        """Each picture's own shape, once the hand's length is known: the pose stays."""
        assert own.betas is not None
        assert own.betas_cov is not None
        assert own.rotations is not None
        hits, model = np.flatnonzero(own.found), self.bench.model
        lengths_m = self.bench.lengths_m(self.shapes["true"])
        betas, covariance = with_hand_length(
            torch.from_numpy(own.betas[hits]),
            torch.from_numpy(own.betas_cov[hits]),
            model,
            torch.tensor([lengths_m[own.subject[row]] for row in hits], dtype=torch.float64),
            sigma_m=self.bench.config.ruler_sigma_m,
        )
        fields = {name: getattr(own, name).copy() for name in ("betas", "betas_cov", "wrist_cam")}
        fields["betas"][hits], fields["betas_cov"][hits] = betas.numpy(), covariance.numpy()
        there = self.detected.select(hits)
        fields["wrist_cam"][hits] = wrists(
            there,
            own.rotations[hits],
            betas.numpy(),
            model,
            NetworkPoints.of(own.select(hits), model),
        )
        header = {**own.header, "method": f"{own.method}, length known"}
        return replace(own, header=header, **fields)

    def pose_change_deg(self) -> dict[RowNetwork, float]:
        """What knowing the true shape instead of the mean one changes in the networks' poses."""
        change: dict[RowNetwork, float] = {}
        for net in ("identity", "identity_film"):
            true, mean = (self.unrefined(net, shape).rotations for shape in ("true", "mean"))
            assert true is not None
            assert mean is not None
            found = self.detected.found
            chord = np.linalg.norm(true[found] - mean[found], axis=(2, 3)) / np.sqrt(8)
            change[net] = float(np.degrees(2 * np.arcsin(chord.clip(0, 1))).mean())
        return change
