"""Where each person's shape comes from, and how far each source is from the truth."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand import data
from idhand.calibration import Anchor, CalibrationConfig, calibrate_shape
from idhand.evaluation.metrics import MM_PER_M, bone_errors_mm
from idhand.evaluation.shapes import measure_errors_mm
from idhand.fusion import (
    FEWEST_PEOPLE,
    CovarianceCalibration,
    FusionConfig,
    fit_covariance_calibration,
    fuse,
    with_hand_length,
)
from idhand.hand import HAND_LENGTH, FittableHand, ShapePrior
from idhand.methods.detections import DetectedHands, observations_of
from idhand.predictions import Predictions
from idhand.records import Sample

BATCH = 256
"""PersonShapes whose meshes are in memory at a time."""
DRAWS = 1
"""With a seed: what random numbers are for, apart from the split of a person's pictures."""


@dataclass(frozen=True, kw_only=True)
class PersonShape:
    """One person's shape from one source."""

    betas: Float[np.ndarray, " betas"]
    covariance: Float[np.ndarray, "betas betas"] | None = None
    """None of a source that states none."""
    weights: Float[np.ndarray, " photos"] | None = None
    """Of the pictures that it was fused from."""


PersonShapes = Mapping[str, PersonShape]
"""By `subject`."""
Rows = Mapping[str, Sequence[int]]
"""Subject → rows of a set's pictures."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which pictures of each person serve for what, as rows."""

    calibration: dict[str, list[int]]
    """With a hand found in each; of people who have any."""
    evaluated: list[int]
    """Of the same people, hands that were missed included."""
    left_out: dict[str, str]
    """People without pictures for either use → why, a sentence without its end."""


def split_pictures(detected: DetectedHands, *, seed: int, overlap: bool) -> Split:
    """Part each person's pictures at random: one half to calibrate from, the other to evaluate.

    Args:
        detected: Of the whole set.
        seed: Of the split; a person's does not depend on who else is in the set.
        overlap: Evaluate on all pictures, as the paper does.
    """
    calibration: dict[str, list[int]] = {}
    evaluated: list[int] = []
    left_out: dict[str, str] = {}
    for subject, rows in rows_by_subject(detected.subject).items():
        order = np.random.default_rng([seed, *subject.encode()]).permutation(rows).tolist()
        half = max(1, len(order) // 2)
        usable = sorted(row for row in order[:half] if detected.found[row])
        others = rows if overlap else sorted(order[half:])
        if not others:
            left_out[subject] = f"{subject} has only {len(rows)} picture"
        elif not usable:
            left_out[subject] = f"no hand was found in the {half} calibration pictures of {subject}"
        else:
            calibration[subject] = usable
            evaluated += others
    return Split(calibration=calibration, evaluated=sorted(evaluated), left_out=left_out)


def rows_by_subject(subjects: Iterable[str | None]) -> dict[str, list[int]]:
    """Each person's rows, see `idhand.data.rows_by_subject`; unknown people are refused."""
    return data.rows_by_subject([*subjects], purpose="a person's shape")


def random_rows(subject: str, rows: Sequence[int], number: int, seed: int) -> list[int]:
    """Some of a person's rows, drawn at random.

    Larger numbers add to what smaller ones draw, as in the paper's code: each person's rows are
    shuffled once.

    Args:
        subject: Whose; nobody's draw depends on who else is in the set.
        rows: All that can be drawn; their order does not matter.
        number: How many, or all if there are fewer.
        seed: Of the draws.
    """
    rng = np.random.default_rng([seed, DRAWS, *subject.encode()])
    return rng.permutation(sorted(rows)).tolist()[:number]


def true_shapes(samples: Iterable[Sample], model: FittableHand) -> dict[str, PersonShape]:
    """Of people whose shape is known in this hand model, see `idhand.data.true_betas`."""
    people = data.true_betas(samples, model.name)
    return {subject: PersonShape(betas=betas) for subject, betas in people.items()}


def fused_shapes(
    predictions: Predictions, rows: Rows, prior: ShapePrior, config: FusionConfig
) -> dict[str, PersonShape]:
    """Each person's shape, fused from a network's predictions where a hand was found."""
    assert predictions.betas is not None
    covs, confidence = predictions.betas_cov, predictions.confidence
    shapes: dict[str, PersonShape] = {}
    for subject, own in rows.items():
        fused = fuse(
            _tensor(predictions.betas[own]),
            None if covs is None else _tensor(covs[own]),
            None if confidence is None else _tensor(confidence[own]),
            prior,
            config,
        )
        shapes[subject] = PersonShape(
            betas=fused.betas.numpy(),
            covariance=fused.covariance.numpy(),
            weights=fused.weights.numpy(),
        )
    return shapes


def landmark_shapes(
    detected: DetectedHands,
    rows: Rows,
    model: FittableHand,
    *,
    anchors: Mapping[str, Anchor] | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> dict[str, PersonShape]:
    """Each person's shape from the landmarks of these pictures, as `idhand calibrate` does."""
    config = CalibrationConfig()
    shapes: dict[str, PersonShape] = {}
    for subject in progress(rows) if progress else rows:
        seen = observations_of(detected.select(rows[subject]), config.objective)
        anchor = None if anchors is None else anchors.get(subject)
        found = calibrate_shape(model, seen, anchor=anchor, config=config)
        shapes[subject] = PersonShape(
            betas=found.betas.numpy(),
            covariance=found.covariance.numpy(),
            weights=found.weights.numpy(),
        )
    return shapes


def rulers_m(
    truth: PersonShapes, model: FittableHand, *, sigma_m: float, seed: int
) -> dict[str, float]:
    """A ruler's reading of each person's hand length: the truth and an error."""
    at = model.measures.names.index(HAND_LENGTH)
    lengths = {
        subject: float(model.measures.lengths(_tensor(shape.betas))[at])
        for subject, shape in truth.items()
    }
    return {
        subject: length
        + sigma_m * float(np.random.default_rng([seed, *subject.encode()]).standard_normal())
        for subject, length in lengths.items()
    }


def with_lengths(
    shapes: PersonShapes, lengths_m: Mapping[str, float], model: FittableHand, *, sigma_m: float
) -> dict[str, PersonShape]:
    """The shapes of people whose hand length is known, with that length."""
    known = {subject: shape for subject, shape in shapes.items() if subject in lengths_m}
    if not known:
        return {}
    betas, covariance = with_hand_length(
        _tensor(np.stack([shape.betas for shape in known.values()])),
        _tensor(np.stack([_stated(shape) for shape in known.values()])),
        model,
        _tensor(np.array([lengths_m[subject] for subject in known])),
        sigma_m=sigma_m,
    )
    return {
        subject: PersonShape(betas=b, covariance=c)
        for subject, b, c in zip(known, betas.numpy(), covariance.numpy(), strict=True)
    }


def pictures_of_known(seen: Predictions | DetectedHands, truth: PersonShapes) -> Rows:
    """Rows in which a hand was found, of each person whose shape is known."""
    found = {
        subject: [row for row in rows if seen.found[row]]
        for subject, rows in rows_by_subject(seen.subject).items()
        if subject in truth
    }
    return {subject: rows for subject, rows in found.items() if rows}


def too_few_people(number: int) -> str:
    """Why covariances are taken as they are stated."""
    there = {0: "is nobody", 1: "is 1 person"}.get(number, f"are {number} people")
    return (
        f"there {there} of known shape to calibrate the network's covariances on, and "
        f"{FEWEST_PEOPLE} are needed (validation), so the stated ones are used"
    )


def network_covariance_calibration(
    predictions: Predictions,
    truth: PersonShapes,
    prior: ShapePrior,
    model: FittableHand,
    *,
    seed: int = 0,
) -> CovarianceCalibration:
    """The calibration of a network's covariances, from people it was not trained on.

    Raises:
        ValueError: If it states none, or too few people have known shapes.
    """
    betas, covs = predictions.betas, predictions.betas_cov
    if betas is None or covs is None:
        raise ValueError(
            f"'{predictions.method}' states no covariance of its shapes, so there is nothing to "
            "correct; use a network with shape_cov"
        )
    found = pictures_of_known(predictions, truth)
    people = [(_tensor(betas[rows]), _tensor(covs[rows])) for rows in found.values()]
    known = [truth[subject].betas for subject in found]
    goal = _tensor(np.stack(known)) if known else torch.zeros(0, model.num_betas).double()
    return fit_covariance_calibration(people, goal, prior, model, seed=seed)


def shape_errors_mm(
    model: FittableHand, betas: Float[Tensor, "shapes betas"], truth: Float[Tensor, "shapes betas"]
) -> dict[str, Float[np.ndarray, " shapes"]]:
    """How far shapes are off at rest; meshes are linear in the shape, so many take little time.

    `rest_verts` wrist on wrist, `rest_verts_scaled` after the best size and position, `bones` the
    mean error of the 20 bone lengths, `hand_length` with its sign taken away.
    """
    to_keypoints = model.keypoint_regressor
    keypoints = torch.einsum("jv,vad->jad", to_keypoints, _linear(model))
    mesh = _linear(model) - keypoints[0]
    centred = (mesh - mesh.mean(0)).flatten(0, 1)
    gram = centred.T @ centred
    parts: list[dict[str, Float[Tensor, " shapes"]]] = []
    for ours, theirs in zip(
        _with_one(betas).split(BATCH), _with_one(truth).split(BATCH), strict=True
    ):
        scale = ((ours @ gram) * theirs).sum(1) / ((ours @ gram) * ours).sum(1)
        bones = [torch.einsum("jad,nd->nja", keypoints, shape) for shape in (ours, theirs)]
        parts.append(
            {
                "rest_verts": _mean_length_mm(mesh.flatten(0, 1), ours - theirs),
                "rest_verts_scaled": _mean_length_mm(centred, scale[:, None] * ours - theirs),
                "bones": bone_errors_mm(*bones),
            }
        )
    errors = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    at = model.measures.names.index(HAND_LENGTH)
    errors[HAND_LENGTH] = measure_errors_mm(model, betas, truth)[:, at].abs().numpy()
    return errors


def _linear(model: FittableHand) -> Float[Tensor, "verts 3 numbers"]:
    """Vertices at rest from the betas with a one after them."""
    return torch.cat((model.shape_basis, model.template[..., None]), -1)


def _with_one(betas: Float[Tensor, "shapes betas"]) -> Float[Tensor, "shapes numbers"]:
    return torch.cat((betas, torch.ones_like(betas[:, :1])), 1)


def _mean_length_mm(
    basis: Float[Tensor, "coordinates numbers"], numbers: Float[Tensor, "shapes numbers"]
) -> Float[Tensor, " shapes"]:
    """Mean length of the vectors that these numbers make of the basis."""
    vectors = (numbers @ basis.T).unflatten(1, (-1, 3))
    return MM_PER_M * vectors.square().sum(-1).sqrt().mean(1)


def _stated(shape: PersonShape) -> Float[np.ndarray, "betas betas"]:
    assert shape.covariance is not None, "a length can only correct a shape with a covariance"
    return shape.covariance


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
