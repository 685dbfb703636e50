"""What an evaluation found: each picture's numbers, their means, per person, with intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from idhand.evaluation.bootstrap import (
    Interval,
    difference_interval,
    drawn_over,
    mean_interval,
    ratio_interval,
)
from idhand.evaluation.metrics import correct_within
from idhand.evaluation.shapes import Coverage, coverage_of


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is called and printed."""

    label: str
    unit: str
    larger_is_better: bool = False

    @property
    def decimals(self) -> int:
        """That are worth printing."""
        return 3 if self.unit == "" else 2


_ALIGNED = {
    "camera": "abs.",
    "root": "root",
    "scale": "scale",
    "rigid": "rigid",
    "procrustes": "PA",
}

METRICS: Mapping[str, Metric] = {
    **{f"mpjpe_{a}": Metric(label=f"MPJPE {t}", unit="mm") for a, t in _ALIGNED.items()},
    **{f"mpvpe_{a}": Metric(label=f"MPVPE {t}", unit="mm") for a, t in _ALIGNED.items()},
    "mpvpe_model": Metric(label="MPVPE model frame", unit="mm"),
    **{
        f"auc_{a}": Metric(label=f"AUC {t}", unit="", larger_is_better=True)
        for a, t in _ALIGNED.items()
    },
    "f5": Metric(label="F@5 PA", unit="", larger_is_better=True),
    "f15": Metric(label="F@15 PA", unit="", larger_is_better=True),
    "depth": Metric(label="depth", unit="mm"),
    "bones": Metric(label="bone lengths", unit="mm"),
    "hand_length": Metric(label="hand length", unit="mm"),
    "measures": Metric(label="all measures", unit="mm"),
    "rest_verts": Metric(label="rest vertices", unit="mm"),
    "coverage": Metric(label="coverage of 95 % intervals", unit="", larger_is_better=True),
    "pixels": Metric(label="2D error", unit="px"),
    "pck_2d": Metric(label="PCK@0.1 2D", unit="", larger_is_better=True),
    "jitter_root": Metric(label="jitter root", unit="mm/frame²"),
    "jitter_root_truth": Metric(label="true motion root", unit="mm/frame²"),
    "jitter_camera": Metric(label="jitter abs.", unit="mm/frame²"),
    "jitter_camera_truth": Metric(label="true motion abs.", unit="mm/frame²"),
}
"""What an evaluation may hold, in the order of tables. `_camera` is the camera frame as it is,
`_root` wrist on wrist, `_scale` after the best size and position, `_rigid` after the best rotation
and position, `_procrustes` after all three; `mpvpe_model` removes the translation and nothing else.
The coverage is best at 0.95."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One method on one set of pictures. Rows are pictures for which there was a prediction.

    Means are over pictures with equal weight. A missed hand has no distances: they are NaN and left
    out of these means, and `num_missed` is their number. Metrics that score what is right (AUC, F,
    PCK) are 0 for a missed hand.
    """

    protocol: str
    header: dict[str, str]
    """Of the predictions."""
    sample_id: tuple[str, ...]
    subject: tuple[str, ...]
    """The person in each picture; empty where unknown."""
    found: Bool[np.ndarray, " pictures"]
    has_mesh: Bool[np.ndarray, " pictures"]
    """Whether the truth has vertices and a shape of this hand model."""
    values: dict[str, Float[np.ndarray, " pictures"]]
    """Metric → one number per picture, NaN where it is not defined. Names are those of `METRICS`;
    one that is defined in no picture is left out."""
    keypoint_errors_mm: Float[np.ndarray, "pictures 21"]
    """Wrist on wrist: NaN for unknown keypoints, infinite for hands that were missed."""
    measure_names: tuple[str, ...]
    measure_errors_mm: Float[np.ndarray, "pictures measures"]
    """Signed; NaN where the shape or its truth is not known."""
    measure_covered: Bool[np.ndarray, "pictures measures"] | None
    """Whether the stated 95 % interval holds the truth; None of a method that states none."""
    num_unpredicted: int
    """Pictures of the data set that the method was not asked about."""
    num_unknown: int
    """Predictions whose picture is not in the data set."""
    num_wrong_side: int
    """Found hands that were taken for the other side."""

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def num_missed(self) -> int:
        """Pictures in which the method found no hand."""
        return int((~self.found).sum())

    @property
    def num_subjects(self) -> int:
        """People who are known."""
        return len(set(self.subject) - {""})

    @property
    def intervals_over(self) -> str:
        """What the intervals are over: people, or pictures where the people are unknown."""
        return drawn_over(self.subject)

    @property
    def num_without_mesh(self) -> int:
        """Pictures that have no metrics but those of keypoints."""
        return int((~self.has_mesh).sum())

    def mean(self, name: str) -> float:
        """Mean of a metric over the pictures in which it is defined; NaN if there are none."""
        values = self.values.get(name, np.array([]))
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else math.nan

    def per_subject(self, name: str) -> dict[str, float]:
        """Each known person's mean of a metric, people by name."""
        people = {subject: [] for subject in sorted(set(self.subject) - {""})}
        for subject, value in zip(self.subject, self.values[name].tolist(), strict=True):
            if subject and not math.isnan(value):
                people[subject].append(value)
        return {who: sum(own) / len(own) if own else math.nan for who, own in people.items()}

    def interval(self, name: str, seed: int = 0) -> Interval:
        """Mean of a metric with its 95 % interval over people, or see `intervals_over`."""
        return mean_interval(self.values[name], self.subject, np.random.default_rng(seed))

    def pck(self, thresholds_mm: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Fraction of keypoints within each threshold, wrist on wrist."""
        errors, thresholds = map(torch.from_numpy, (self.keypoint_errors_mm, thresholds_mm))
        return correct_within(errors, thresholds).numpy()

    def coverage(self) -> Coverage | None:
        """How often the stated intervals of the measures hold the truth."""
        if self.measure_covered is None:
            return None
        known = ~np.isnan(self.measure_errors_mm)
        return coverage_of(self.measure_covered, known, self.measure_names)

    def select(self, indices: Sequence[int] | Int[np.ndarray, " chosen"]) -> "Report":
        """The same of some of the pictures; the counts of pictures outside stay."""
        chosen = np.asarray(indices, dtype=np.int64)
        covered = self.measure_covered
        return replace(
            self,
            sample_id=tuple(self.sample_id[index] for index in chosen),
            subject=tuple(self.subject[index] for index in chosen),
            found=self.found[chosen],
            has_mesh=self.has_mesh[chosen],
            values={name: values[chosen] for name, values in self.values.items()},
            keypoint_errors_mm=self.keypoint_errors_mm[chosen],
            measure_errors_mm=self.measure_errors_mm[chosen],
            measure_covered=None if covered is None else covered[chosen],
        )

    def summary(self, seed: int = 0) -> dict[str, Any]:
        """Everything but the single pictures, as JSON can hold it; NaN becomes None."""
        held = self.coverage()
        return {
            "protocol": self.protocol,
            "header": self.header,
            "num_pictures": len(self),
            "num_subjects": self.num_subjects,
            "intervals_over": self.intervals_over,
            "num_missed": self.num_missed,
            "num_without_mesh": self.num_without_mesh,
            "num_wrong_side": self.num_wrong_side,
            "num_unpredicted": self.num_unpredicted,
            "num_unknown": self.num_unknown,
            "metrics": {name: self._metric(name, seed) for name in METRICS if name in self.values},
            "measures_mm": self._measures(),
            "coverage": None
            if held is None
            else {
                "pooled": _plain(held.pooled),
                "num_intervals": held.num_intervals,
                "per_measure": {name: _plain(rate) for name, rate in held.per_measure.items()},
            },
        }

    def _metric(self, name: str, seed: int) -> dict[str, Any]:
        interval = self.interval(name, seed)
        return {
            "unit": METRICS[name].unit,
            "mean": _plain(interval.estimate),
            "low": _plain(interval.low),
            "high": _plain(interval.high),
            "num_pictures": int((~np.isnan(self.values[name])).sum()),
            "per_subject": {who: _plain(mean) for who, mean in self.per_subject(name).items()},
        }

    def _measures(self) -> dict[str, Any]:
        """Mean absolute and mean signed error of each measure."""
        errors = self.measure_errors_mm[~np.isnan(self.measure_errors_mm).any(1)]
        if not len(errors):
            return {}
        means = zip(np.abs(errors).mean(0).tolist(), errors.mean(0).tolist(), strict=True)
        return {
            name: {"absolute": absolute, "signed": signed}
            for name, (absolute, signed) in zip(self.measure_names, means, strict=True)
        }


def on_same_pictures(reports: Sequence[Report]) -> tuple[Report, ...]:
    """Reports cut to the pictures that are in all of them, in one order.

    Distances are kept only where every method found the hand, so that no mean gains from pictures
    that were too hard for a method; AUC, F and PCK still count each method's own misses.

    Raises:
        ValueError: If they have no picture in common.
    """
    places = [{name: row for row, name in enumerate(report.sample_id)} for report in reports]
    common = [name for name in reports[0].sample_id if all(name in place for place in places)]
    if not common:
        methods = ", ".join(report.header["method"] for report in reports)
        raise ValueError(f"{methods} have no picture in common; predict on the same data set")
    cut = [
        report.select([place[name] for name in common])
        for report, place in zip(reports, places, strict=True)
    ]
    all_found = np.all([report.found for report in cut], axis=0)
    return tuple(
        replace(
            report,
            values={
                name: values if counts_misses(name) else np.where(all_found, values, np.nan)
                for name, values in report.values.items()
            },
            measure_errors_mm=np.where(all_found[:, None], report.measure_errors_mm, np.nan),
        )
        for report in cut
    )


def counts_misses(name: str) -> bool:
    """Whether a metric counts a missed hand as wrong; distances leave it out."""
    return name.startswith(("auc_", "f5", "f15", "pck_"))


def difference(ours: Report, theirs: Report, name: str, seed: int = 0) -> Interval:
    """Ours minus theirs, paired by picture; both on the same pictures."""
    assert ours.sample_id == theirs.sample_id, "reports of other pictures: use on_same_pictures"
    rng = np.random.default_rng(seed)
    return difference_interval(ours.values[name], theirs.values[name], ours.subject, rng)


def ratio(ours: Report, theirs: Report, name: str, seed: int = 0) -> Interval:
    """Ours divided by theirs, paired by picture; both on the same pictures."""
    assert ours.sample_id == theirs.sample_id, "reports of other pictures: use on_same_pictures"
    rng = np.random.default_rng(seed)
    return ratio_interval(ours.values[name], theirs.values[name], ours.subject, rng)


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None
