"""The people in a data set, and their true shapes."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from idhand.records import Sample

BETAS_TOLERANCE = 1e-4
"""Betas of one person that differ by less are the same: files round to 1e-7, float32 to 1e-6."""


def rows_by_subject(subjects: Sequence[str | None], *, purpose: str) -> dict[str, list[int]]:
    """Each person's rows, people in the order in which they first appear.

    Args:
        subjects: Of each row; None or an empty text where the person is not known.
        purpose: What needs the people, as the beginning of a sentence: "calibration".

    Raises:
        ValueError: If the person of some row is not known.
    """
    unknown = sum(not subject for subject in subjects)
    if unknown:
        raise ValueError(
            f"{purpose} combines the pictures of each person, but {unknown:,} of {len(subjects):,} "
            "pictures do not say whose hand they show (their subject is unknown); use data that "
            "names its subjects"
        )
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        rows.setdefault(subject or "", []).append(row)
    return rows


def true_betas(labels: Iterable[Sample], model: str) -> dict[str, Float[np.ndarray, " betas"]]:
    """Shape of each person whose shape is known in a hand model, people as they first appear.

    Args:
        labels: E.g. `data.labels()`; samples of other models are ignored.
        model: Name of the hand model.

    Raises:
        ValueError: If a shape has no subject, or a person's betas differ between pictures: then
            they are fits to single pictures, not the person's shape.
    """
    people: dict[str, list[Float[np.ndarray, " betas"]]] = {}
    for sample in labels:
        if sample.model != model or sample.betas is None:
            continue
        if not sample.subject:
            raise ValueError(
                f"sample {sample.id} of '{sample.dataset}' has betas but does not say whose they "
                "are (its subject is unknown); true shapes need data that names its subjects"
            )
        people.setdefault(sample.subject, []).append(sample.betas.astype(np.float64))
    return {subject: _one_shape(subject, shapes) for subject, shapes in people.items()}


def _one_shape(
    subject: str, shapes: Sequence[Float[np.ndarray, " betas"]]
) -> Float[np.ndarray, " betas"]:
    """The shape that all pictures of a person agree on.

    Raises:
        ValueError: If they do not.
    """
    every = np.stack(shapes)
    apart = float((every.max(0) - every.min(0)).max())
    if not apart <= BETAS_TOLERANCE:
        raise ValueError(
            f"the betas of subject '{subject}' are {apart:.3g} apart in {len(shapes):,} pictures, "
            "so no single shape is the person's; use data with one shape for each person, or "
            "estimate the shapes (calibration) instead of asking for the true ones"
        )
    return every[0]
