"""One row of the tables: each picture's errors, in a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from idhand.evaluation import Interval, evaluate, mean_interval, paper, standard
from idhand.experiments.numbers import FEWEST_PEOPLE
from idhand.files import FileKind, read_headed_arrays, replacing
from idhand.hand import FittableHand
from idhand.predictions import Predictions
from idhand.records import Sample

KIND = FileKind(
    format="idhand scores",
    version=1,
    name="file of scores",
    remedy="remove the folder that it is in and run the same again",
)
PAPERS = ("mpjpe_root", "mpvpe_model", "mpvpe_root")
"""Metrics that the paper's code prints, with joints regressed from the vertices."""
OTHERS = (
    "mpjpe_root", "mpjpe_procrustes", "mpvpe_procrustes", "mpjpe_camera", "depth", "auc_procrustes",
    "rest_verts", "pixels",
)  # fmt: skip
"""Ours beside them, with kinematic joints, as data sets label them."""
PAPER_PREFIX = "paper_"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Errors of one row, picture by picture."""

    method: str
    sample_id: tuple[str, ...]
    subject: tuple[str, ...]
    found: Bool[np.ndarray, " pictures"]
    values: Mapping[str, Float[np.ndarray, " pictures"]]
    """Name of a metric, the paper's with `PAPER_PREFIX` → NaN where it is not defined."""

    def select(self, wanted: Sequence[str]) -> "Scores":
        """Of these pictures, in this order, those that are here."""
        places = {name: row for row, name in enumerate(self.sample_id)}
        rows = np.array([places[name] for name in wanted if name in places], dtype=np.int64)
        return Scores(
            method=self.method,
            sample_id=tuple(self.sample_id[row] for row in rows),
            subject=tuple(self.subject[row] for row in rows),
            found=self.found[rows],
            values={name: values[rows] for name, values in self.values.items()},
        )

    def mean(self, name: str) -> float:
        """Over the pictures in which the metric is defined; NaN if there are none."""
        values = self.values.get(name, np.array([]))
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else float("nan")

    def interval(self, name: str) -> Interval:
        """The mean, with an interval over people if they are enough for one."""
        if name not in self.values:
            return Interval(estimate=np.nan, low=np.nan, high=np.nan)
        return over_people(self.values[name], self.subject)

    def per_person(self, name: str) -> dict[str, float]:
        """Each person's mean; people who have none are left out."""
        people: dict[str, list[float]] = {}
        for who, value in zip(self.subject, self.values.get(name, ()), strict=False):
            if not np.isnan(value):
                people.setdefault(who, []).append(float(value))
        return {who: float(np.mean(own)) for who, own in people.items()}

    def save(self, path: Path) -> None:
        """Write the file; the same scores, the same bytes."""
        header = json.dumps({**KIND.header, "method": self.method}).encode()
        arrays = {f"value_{name}": values for name, values in self.values.items()}
        texts = {"sample_id": self.sample_id, "subject": self.subject}
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream, allow_pickle=False, header=np.frombuffer(header, np.uint8),
                found=self.found, **arrays,
                **{name: np.array(text, dtype=str) for name, text in texts.items()},
            )  # fmt: skip

    @staticmethod
    def load(path: Path) -> "Scores":
        """Read a file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is something else or damaged.
        """
        about, arrays = read_headed_arrays(path, KIND)
        return Scores(
            method=about["method"],
            sample_id=tuple(arrays["sample_id"].tolist()),
            subject=tuple(arrays["subject"].tolist()),
            found=arrays["found"],
            values={
                name.removeprefix("value_"): values
                for name, values in arrays.items()
                if name.startswith("value_")
            },
        )


def scored(predictions: Predictions, labels: Sequence[Sample], model: FittableHand) -> Scores:
    """The errors of predictions by both protocols.

    Args:
        predictions: Of some of the labelled pictures.
        labels: The truth, without pixels.
        model: The hand model of both.
    """
    wanted = set(predictions.sample_id)
    truths = [sample for sample in labels if sample.id in wanted]
    standards, papers = (replace(each, has_f_scores=False) for each in (standard(), paper()))
    ours = evaluate(predictions, truths, model, standards)
    theirs = evaluate(predictions, truths, model, papers)
    values = {name: ours.values[name] for name in OTHERS if name in ours.values}
    values |= {PAPER_PREFIX + n: theirs.values[n] for n in PAPERS if n in theirs.values}
    return Scores(
        method=predictions.method,
        sample_id=ours.sample_id,
        subject=ours.subject,
        found=ours.found,
        values=values,
    )


def over_people(values: Float[np.ndarray, " pictures"], subjects: Sequence[str]) -> Interval:
    """The mean of all pictures; of few people without an interval, which would mean nothing."""
    interval = mean_interval(values, subjects, np.random.default_rng(0))
    if len(set(subjects)) >= FEWEST_PEOPLE:
        return interval
    return Interval(estimate=interval.estimate, low=np.nan, high=np.nan)


def gap(ours: Scores, theirs: Scores, name: str) -> Interval:
    """Mean of ours minus theirs, paired by picture, where both have the metric."""
    known = set(theirs.sample_id)
    common = [each for each in ours.sample_id if each in known]
    a, b = ours.select(common), theirs.select(common)
    if name not in a.values or name not in b.values:
        return Interval(estimate=np.nan, low=np.nan, high=np.nan)
    return over_people(a.values[name] - b.values[name], a.subject)
