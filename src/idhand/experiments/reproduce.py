"""The paper's whole experiment on one data set: every row of the table and the calibration curve.

Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
ECCV 2022. Unlike there, no picture is both calibrated from and evaluated, unless asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idhand.assets import hand
from idhand.data import DataSet, Shards, Subset, models
from idhand.evaluation import Report
from idhand.experiments.bench import Bench, Progress
from idhand.experiments.curve import Point
from idhand.experiments.nets import WITH_COVARIANCES, ExperimentNetworks
from idhand.experiments.presets import ReproduceConfig, Row, RowNetwork, ShapeName
from idhand.experiments.shapes import (
    PersonShape,
    Split,
    network_covariance_calibration,
    pictures_of_known,
    rows_by_subject,
    split_pictures,
    too_few_people,
    true_shapes,
)
from idhand.fusion import FEWEST_PEOPLE, CovarianceCalibration, covariance_file_name
from idhand.methods.detections import DetectedHands, DetectionCache
from idhand.methods.predicting import predict
from idhand.nets.backbones import HandBackbone
from idhand.nets.regressor import Regressor
from idhand.records import Sample

DETECTIONS_FILE, VALIDATION_FILE = "detections.npz", "detections_validation.npz"
"""In a run's folder: what was detected in the evaluated and in the validation pictures."""


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
    pose_change_deg: dict[RowNetwork, float]
    """Mean angle by which a joint's rotation changes between the mean shape and the true one."""
    truth: dict[str, PersonShape]
    shapes: dict[ShapeName, dict[str, PersonShape]]
    curve: list[Point]
    left_out: dict[str, str]
    """People who could not take part → why."""


def reproduce(
    data: DataSet,
    out: Path,
    nets: ExperimentNetworks,
    config: ReproduceConfig | None = None,
    *,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Results:
    """Run the experiment.

    Args:
        data: People whom none of the networks was trained on.
        out: Folder for `detections.npz`, which a second run on the same pictures starts from.
        nets: Trained networks.
        config: How much of the data, how many draws.
        progress: Shows everything that takes longer.
        note: Hears a sentence if `detections.npz` is of other pictures and therefore replaced.

    Raises:
        ValueError: If the data has nobody to evaluate, is labelled with another hand model than the
            networks' or has pictures of unknown people, or covariances are not calibrated.
    """
    config, model = config or ReproduceConfig(), hand(nets.hand_model)
    if "identity_film" not in nets.covariance_calibrations:
        raise ValueError(
            "it is not known how far the covariances of identity_film can be trusted: there is no "
            f"{covariance_file_name('identity_film')} beside the networks; give --validation, a "
            "set of other people, to find out"
        )
    chosen, samples = chosen_pictures(data, config)
    check_labelled_model(samples, model.name)
    detected = own_detections(out / DETECTIONS_FILE, progress, note).of(
        chosen, backbone_of(nets.baseline)
    )
    split = split_pictures(detected, seed=config.seed, overlap=config.overlap)
    if not split.evaluated:
        why = "; ".join(list(split.left_out.values())[:3])
        raise ValueError(f"nobody can be evaluated ({why}); use a set with more pictures")
    bench = Bench(
        nets=nets, model=model, config=config, detected=detected, split=split, progress=progress
    )
    truth = {
        subject: shape
        for subject, shape in true_shapes(samples, model).items()
        if subject in split.calibration
    }
    shapes = bench.shapes(truth)
    reports, reports_all, seconds, change = bench.reports(samples, truth, shapes)
    return Results(
        about=_about(data, detected, split, truth, config, model.name),
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
    nets: ExperimentNetworks,
    validation: DataSet,
    out: Path,
    *,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> ExperimentNetworks:
    """The networks with calibrated covariances, fitted on other people and kept in files.

    Args:
        nets: Trained networks.
        validation: People who were neither trained on nor are tested.
        out: Folder for NAME.covariance.json of each network and the detected hands.
        progress: Shows what takes longer.
        note: Also hears that too few of the people have a known shape, so that covariances are
            taken as they are stated.

    Raises:
        ValueError: If the data is labelled with another hand model than the networks'.
    """
    model = hand(nets.hand_model)
    chosen, samples = chosen_pictures(validation, ReproduceConfig())
    check_labelled_model(samples, model.name)
    detected = own_detections(out / VALIDATION_FILE, progress, note).of(
        chosen, backbone_of(nets.baseline)
    )
    truth = true_shapes(samples, model)
    calibrations: dict[str, CovarianceCalibration] = {}
    for name in WITH_COVARIANCES:
        own = predict(getattr(nets, name), detected, model=model, method=name)
        if (people := len(pictures_of_known(own, truth))) < FEWEST_PEOPLE:
            calibrations[name] = CovarianceCalibration.as_stated(model)
            if note is not None:
                note(f"{name}: {too_few_people(people)}")
            continue
        calibrations[name] = network_covariance_calibration(own, truth, model.prior, model)
        calibrations[name].save(out / covariance_file_name(name))
    return replace(nets, covariance_calibrations=calibrations)


def own_detections(
    path: Path, progress: Progress | None, note: Callable[[str], None] | None
) -> DetectionCache:
    """The run's own file of detected hands, which is replaced if the pictures are others."""
    return DetectionCache(path=path, is_own=True, progress=progress, note=note)


def backbone_of(net: Regressor) -> HandBackbone:
    """The hand net that all networks of the experiment stand on."""
    assert isinstance(net.backbone, HandBackbone)
    return net.backbone


def check_labelled_model(samples: Sequence[Sample], model: str) -> None:
    """Refuse data whose hands are labelled with other hand models than this one alone.

    Raises:
        ValueError: If so.
    """
    labelled = {name for name in models(samples) if name}
    if labelled and model not in labelled:
        names = " and ".join(f"'{name}'" for name in sorted(labelled))
        raise ValueError(
            f"the networks are of the hand model '{model}', and the data is labelled with {names}; "
            "betas of one model mean nothing to another: name networks that were trained on data "
            "of that model (--nets)"
        )


def chosen_pictures(data: DataSet, config: ReproduceConfig) -> tuple[DataSet, list[Sample]]:
    """The pictures to use and their labels, without pixels.

    Raises:
        ValueError: If the person in some picture is unknown.
    """
    every = list(data.labels())
    by_person = rows_by_subject(sample.subject for sample in every)
    kept = list(by_person.values())[: config.people]
    indices = sorted(row for own in kept for row in own[: config.pictures])
    chosen = data if len(indices) == len(every) else Subset(data, indices)
    return chosen, [every[index] for index in indices]


def _about(
    data: DataSet,
    detected: DetectedHands,
    split: Split,
    truth: dict[str, PersonShape],
    config: ReproduceConfig,
    model: str,
) -> dict[str, Any]:
    usable = [len(own) for own in split.calibration.values()]
    return {
        "dataset": detected.header["dataset"],
        "data": data.folder.name if isinstance(data, Shards) else str(data),
        "model": model,
        "num_people": len(split.calibration),
        "num_people_with_shape": len(truth),
        "num_pictures": len(detected),
        "num_evaluated": len(split.evaluated),
        "num_found": int(detected.found.sum()),
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
