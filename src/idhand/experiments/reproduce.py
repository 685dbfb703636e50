"""The paper's whole experiment on one data set: every row of the table and the calibration curve.

Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
ECCV 2022. Unlike there, no picture is both calibrated from and evaluated, unless asked for.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from idhand.assets import hand
from idhand.data import Shards
from idhand.detection import HandDetector
from idhand.evaluation import Report, labels
from idhand.experiments.bench import Bench, Progress
from idhand.experiments.curve import Point
from idhand.experiments.looks import Looks, look
from idhand.experiments.nets import COVARIANCE_FILES, Nets
from idhand.experiments.predicting import predict
from idhand.experiments.presets import NetName, ReproduceConfig, Row, ShapeName
from idhand.experiments.shapes import (
    PersonShape,
    Split,
    network_covariance_calibration,
    rows_by_subject,
    split_pictures,
    true_shapes,
)
from idhand.fusion import CovarianceCalibration
from idhand.nets.backbones import HandBackbone
from idhand.nets.regressor import Regressor
from idhand.records import Sample


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that was found; tables and statements follow from it."""

    about: dict[str, Any]
    """Data set, numbers of people and pictures, protocol, seed."""
    reports: dict[Row, Report]
    """On the evaluated pictures of people whose shape is known."""
    reports_all: dict[Row, Report]
    """On everybody's, of rows that need no true shape; empty if everybody's shape is known."""
    seconds: dict[Row, float]
    """Of the solver, per hand."""
    pose_change_deg: dict[NetName, float]
    """Mean angle by which a joint's rotation changes between the mean shape and the true one."""
    truth: dict[str, PersonShape]
    shapes: dict[ShapeName, dict[str, PersonShape]]
    curve: list[Point]
    left_out: dict[str, str]
    """People who could not take part → why."""


def reproduce(
    data: Shards,
    out: Path,
    nets: Nets,
    config: ReproduceConfig | None = None,
    *,
    progress: Progress | None = None,
) -> Results:
    """Run the experiment.

    Args:
        data: People whom none of the networks was trained on.
        out: Folder for `looks.npz`, which a second run on the same pictures starts from.
        nets: Trained networks.
        config: How much of the data, how many draws.
        progress: Told of everything that takes longer.

    Raises:
        ValueError: If the data has nobody to evaluate, or covariances are not calibrated.
    """
    config, model = config or ReproduceConfig(), hand(nets.hand_model)
    missing = "identity_film" not in nets.covariance_calibrations
    if missing:
        raise ValueError(
            "it is not known how far the shapes of identity_film can be believed: there is no "
            f"{COVARIANCE_FILES['identity_film']} beside the networks; give --validation, a set of "
            "other people, to find out"
        )
    chosen, samples = chosen_pictures(data, config)
    looks = looked_at(data, chosen, out / "looks.npz", nets.baseline, progress)
    split = split_pictures(looks, seed=config.seed, overlap=config.overlap)
    if not split.evaluated:
        why = "; ".join(list(split.left_out.values())[:3])
        raise ValueError(f"nobody can be evaluated ({why}); use a set with more pictures")
    bench = Bench(nets=nets, model=model, config=config, looks=looks, split=split, told=progress)
    truth = {
        subject: shape
        for subject, shape in true_shapes(samples, model).items()
        if subject in split.calibration
    }
    shapes = bench.shapes(truth)
    reports, reports_all, seconds, change = bench.reports(samples, truth, shapes)
    return Results(
        about=_about(data, looks, split, truth, config, model.name),
        reports=reports,
        reports_all=reports_all,
        seconds=seconds,
        pose_change_deg=change,
        truth=truth,
        shapes=shapes,
        curve=bench.curve(truth),
        left_out=split.left_out,
    )


def with_fitted_covariances(
    nets: Nets, validation: Shards, out: Path, *, progress: Progress | None = None
) -> Nets:
    """The networks, with how far they can be believed found out on other people and kept in files.

    Args:
        nets: Trained networks.
        validation: People who were neither trained on nor are tested.
        out: Folder for the files of `COVARIANCE_FILES` and the looks.
        progress: Told of what takes longer.

    Raises:
        ValueError: If too few of the people have a known shape.
    """
    model = hand(nets.hand_model)
    chosen, samples = chosen_pictures(validation, ReproduceConfig())
    looks = looked_at(validation, chosen, out / "looks_validation.npz", nets.baseline, progress)
    truth = true_shapes(samples, model)
    calibrations: dict[str, CovarianceCalibration] = {}
    for name, file in COVARIANCE_FILES.items():
        seen = predict(getattr(nets, name), looks, model=model, method=name)
        calibrations[name] = network_covariance_calibration(seen, truth, model.prior, model)
        calibrations[name].save(out / file)
    return replace(nets, covariance_calibrations=calibrations)


def looked_at(
    data: Shards,
    chosen: Sequence[int],
    path: Path,
    net: Regressor,
    progress: Progress | None,
) -> Looks:
    """Looks at some pictures of a set; from the file if it holds just these, else into it."""
    header = looks_header(data, chosen, net)
    if path.is_file():
        kept = Looks.load(path)
        if all(kept.header.get(name) == value for name, value in header.items()):
            return kept
    assert isinstance(net.backbone, HandBackbone)

    def told(items: Any) -> Any:
        return progress(items, desc="looking") if progress else items

    looks = look(_Chosen(data, chosen), HandDetector(), net.backbone, header=header, progress=told)
    looks.save(path)
    return looks


def looks_header(data: Shards, chosen: Sequence[int], net: Regressor) -> dict[str, str]:
    """What tells looks at these pictures from looks at others."""
    digest = hashlib.sha256()
    for shard in data.manifest.shards:
        digest.update(shard.sha256.encode())
    digest.update(np.asarray(chosen, dtype=np.int64).tobytes())
    assert isinstance(net.backbone, HandBackbone)
    return {"data": digest.hexdigest(), "features": net.backbone.label}


class _Chosen(Sequence[Sample]):
    """Some pictures of a set, decoded when asked for."""

    def __init__(self, data: Shards, chosen: Sequence[int]):
        self._data, self._indices = data, chosen

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "_Chosen": ...
    def __getitem__(self, index: int | slice) -> "Sample | _Chosen":
        if isinstance(index, slice):
            return _Chosen(self._data, self._indices[index])
        return self._data[self._indices[index]]

    def __iter__(self) -> Iterator[Sample]:
        return (self._data[index] for index in self._indices)


def chosen_pictures(data: Shards, config: ReproduceConfig) -> tuple[list[int], list[Sample]]:
    """Indices of the pictures to use and their labels, without pixels."""
    every = list(labels(data))
    by_person = rows_by_subject(sample.subject for sample in every)
    kept = list(by_person.values())[: config.people]
    indices = sorted(row for own in kept for row in own[: config.pictures])
    return indices, [every[index] for index in indices]


def _about(
    data: Shards,
    looks: Looks,
    split: Split,
    truth: dict[str, PersonShape],
    config: ReproduceConfig,
    model: str,
) -> dict[str, Any]:
    usable = [len(own) for own in split.calibration.values()]
    return {
        "dataset": looks.header["dataset"],
        "data": data.folder.name,
        "model": model,
        "num_people": len(split.calibration),
        "num_people_with_shape": len(truth),
        "num_pictures": len(looks),
        "num_evaluated": len(split.evaluated),
        "num_found": int(looks.found.sum()),
        "calibration_pictures": {
            "min": min(usable),
            "mean": float(np.mean(usable)),
            "max": max(usable),
        },
        "overlap": config.overlap,
        "draws": config.draws,
        "ruler_sigma_mm": config.ruler_sigma_m * 1e3,
        "seed": config.seed,
    }
