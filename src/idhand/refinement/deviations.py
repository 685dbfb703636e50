"""Stated deviations → true ones: what a posterior leaves out, learned from people of known pose.

A posterior takes errors for independent and as large as they are configured.
`DeviationCalibration` says by how much they are larger, by what is known when a hand is fitted: how
well the fit agrees with what was seen, and how much of the hand is visible. Its numbers are fitted
by `deviation_fitting`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.files import FileKind, read_json, replacing
from idhand.records import Detection
from idhand.refinement.uncertainty import Uncertainty

KIND = FileKind(
    format="idhand deviation calibration",
    version=1,
    name="file of calibrated deviations",
    remedy="fit it again",
)
LARGEST = 1e3
"""Numbers beyond this are damage."""
LEAST_HIDDEN = 0.003
"""Less of a hand is never taken for hidden: nets are not surer."""
CueName = Literal["misfit", "hidden", "hidden_point"]
"""`Stated.misfit_m`; 1 − `Stated.visible`, on average over the hand and of the keypoint itself."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the posterior states of a batch of hands, with what else is known of them then."""

    uncertainty: Uncertainty
    depth_m: Float[Tensor, " batch"]
    """Of the wrist."""
    size: Float[Tensor, " batch"]
    """Length of the hand over the mean hand's."""
    visible: Float[Tensor, "batch 21"]
    """Probability that each keypoint is visible, see `visibility_of`."""
    misfit_m: Float[Tensor, " batch"]
    """Root mean square distance of the fitted points to the seen ones, at the hand's distance and
    on a hand of mean size, see `misfit_m`."""

    def cue(self, name: CueName) -> Float[Tensor, "batch points"]:
        """What is known of hands, larger for worse ones; of all 21 keypoints or of the hand."""
        match name:
            case "misfit":
                return self.misfit_m[:, None]
            case "hidden":
                return (1 - self.visible.mean(-1, keepdim=True)).clamp_min(LEAST_HIDDEN)
            case "hidden_point":
                return (1 - self.visible).clamp_min(LEAST_HIDDEN)


@runtime_checkable
class Recalibration(Protocol):
    """Makes deviations of what is stated."""

    def deviations(
        self, stated: Stated
    ) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, " batch"]]:
        """Of the keypoints about the wrist, and of the wrist's depth, metres."""
        ...


@dataclass(frozen=True)
class AsStated:
    """Takes the deviations as the posterior states them."""

    def deviations(
        self, stated: Stated
    ) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, " batch"]]:
        """See `Recalibration`."""
        return stated.uncertainty.keypoints_std_m, stated.uncertainty.depth_std_m


AS_STATED = AsStated()


@dataclass(frozen=True, kw_only=True)
class Cue:
    """How deviations grow with something that is known: as `(value / usual) ** power`."""

    power: float
    usual: float
    least: float
    """Smaller values count as this one, larger ones than `most` as that: none were fitted there."""
    most: float

    def __post_init__(self):
        _check_numbers(self, ("power", "usual", "least", "most"))
        if not 0 < self.least <= self.usual <= self.most:
            raise ValueError(
                f"least, usual and most must be positive and in this order, got {self.least}, "
                f"{self.usual} and {self.most}"
            )

    def growth(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """1 for the usual value; never falling."""
        return (value.clamp(self.least, self.most) / self.usual) ** self.power


@dataclass(frozen=True, kw_only=True)
class Widening:
    """True variance of stated variance: `(factor × growth of each cue)² × stated + floor²`."""

    factor: float
    floor: float
    cues: Mapping[CueName, Cue]

    def __post_init__(self):
        _check_numbers(self, ("factor", "floor"))

    def variance(
        self, variance: Float[Tensor, "batch points"], stated: Stated
    ) -> Float[Tensor, "batch points"]:
        """The true variance.

        Args:
            variance: As stated, in the square of the floor's unit.
            stated: What is known of the hands.
        """
        factor = torch.full_like(variance, self.factor)
        for name, cue in self.cues.items():
            factor = factor * cue.growth(stated.cue(name).to(variance))
        return factor.square() * variance + self.floor**2


def _check_numbers(owner: object, names: tuple[str, ...]) -> None:
    """Raises ValueError if one of them is no number from 0 to `LARGEST`."""
    for name in names:
        value = getattr(owner, name)
        if not 0 <= value <= LARGEST:  # NaN is not
            raise ValueError(f"{name} must be a number from 0 to {LARGEST:g}, got {value}")


@dataclass(frozen=True, kw_only=True)
class DeviationCalibration:
    """How large errors are that a posterior states to have some variance; a `Recalibration`.

    Of the variance that the picture leaves open: what the shape adds is the population's or the
    calibration's, which are true by themselves.
    """

    depth: Widening
    """Of the depth over the depth."""
    keypoints: Widening
    """Of keypoints about the wrist, metres on the mean hand."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted on, in JSON's types."""

    def deviations(
        self, stated: Stated
    ) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, " batch"]]:
        """See `Recalibration`; the wrist does not move against itself."""
        of = stated.uncertainty
        depth = self.depth.variance(relative_depth(stated)[:, None], stated)[:, 0]
        each = self.keypoints.variance(on_mean_hand(stated), stated)
        each = torch.cat((torch.zeros_like(each[:, :1]), each[:, 1:]), 1)
        return (
            (each * stated.size[:, None].square() + of.keypoints_shape).sqrt(),
            (depth * stated.depth_m.square() + of.depth_shape).sqrt(),
        )

    def save(self, path: Path) -> None:
        """Write it as JSON; a file of that name is replaced in one step."""
        document = {
            **KIND.header,
            "depth": asdict(self.depth),
            "keypoints": asdict(self.keypoints),
            "notes": dict(self.notes),
        }
        with replacing(path) as temporary:
            text = json.dumps(document, indent=1, allow_nan=False) + "\n"
            temporary.write_text(text, encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "DeviationCalibration":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is something else or damaged.
        """
        document = KIND.check(read_json(path, KIND.remedy), path)
        try:
            return DeviationCalibration(
                depth=_widening(document["depth"]),
                keypoints=_widening(document["keypoints"]),
                notes=dict(document["notes"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); fit it again") from None


def _widening(document: Mapping[str, Any]) -> Widening:
    """From JSON."""
    for name in document["cues"]:
        if name not in get_args(CueName):
            raise ValueError(f"there is no cue '{name}'; known are {', '.join(get_args(CueName))}")
    cues = {
        name: Cue(**{key: float(number) for key, number in cue.items()})
        for name, cue in document["cues"].items()
    }
    return Widening(factor=float(document["factor"]), floor=float(document["floor"]), cues=cues)


def relative_depth(stated: Stated) -> Float[Tensor, " batch"]:
    """Stated variance of the depth over the depth, of known shape."""
    return stated.uncertainty.depth_pose / stated.depth_m.square()


def on_mean_hand(stated: Stated) -> Float[Tensor, "batch 21"]:
    """Stated variances of keypoints about the wrist, of known shape, on a hand of mean size."""
    return stated.uncertainty.keypoints_pose / stated.size[:, None].square()


def misfit_m(
    residual_px: Float[Tensor, " batch"],
    K: Float[Tensor, "batch 3 3"],
    depth_m: Float[Tensor, " batch"],
    size: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """A residual in the picture as a length on a hand of mean size."""
    focal_px = (K[:, 0, 0] + K[:, 1, 1]) / 2
    return residual_px * depth_m / (focal_px * size)


def deviations_file(network: Path) -> Path:
    """Where the calibration of the deviations lies that a network's pipeline states."""
    return network.with_name(f"{network.stem}.deviations.json")


def visibility_of(detection: Detection) -> Float[np.ndarray, " 21"]:
    """How likely each keypoint is visible: by the keypoint network, else by the landmark net.

    For the landmark net that is, within the picture, how sure it is of a hand; beyond the border
    nothing is visible. Its confidence in single landmarks says less: on the studio's validation
    people the mean confidence has a correlation of 0.31 with the number of visible keypoints, the
    score one of 0.44.
    """
    if detection.keypoints is not None:
        return detection.keypoints.visible
    visible = np.full(21, np.clip(detection.score, 0.0, 1.0))
    return visible if detection.outside is None else np.where(detection.outside, 0.0, visible)
