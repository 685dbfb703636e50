"""Totals over all photos and videos: counts, the scatter of sizes, what was assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from idhand.hand import FittableHand
from idhand.identity import Z95, Identity
from idhand.records import HandResult


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The hand's length as estimated from each photo alone, and the known hand's."""

    dots: tuple[float, ...]
    """% of the scale, one per hand."""
    low_mm: float
    high_mm: float
    """Of the dots."""
    scale_mm: tuple[str, str]
    own: float | None
    own_left: float
    own_width: float
    truth: float | None

    @property
    def span(self) -> str:
        """The smallest and the largest as text, `187–191`, or one number where they round to it."""
        low, high = f"{self.low_mm:.0f}", f"{self.high_mm:.0f}"
        return low if low == high else f"{low}–{high}"

    @property
    def sentence(self) -> str:
        """The same after "its length": `runs from 187 to 191 mm`, or `is 189 mm in each`."""
        low, high = f"{self.low_mm:.0f}", f"{self.high_mm:.0f}"
        return f"is {low} mm in each" if low == high else f"runs from {low} to {high} mm"


@dataclass(kw_only=True)
class Tally:
    """Counts over the photos and videos of a report, whether they are shown or not."""

    num_photos: int = 0
    num_videos: int = 0
    num_hands: int = 0
    """In photos."""
    num_frames: int = 0
    seconds: float = 0.0
    """Of all videos."""
    _num_cameras: int = 0
    """Photos with hands, and videos."""
    _num_K_known: int = 0
    _betas: list[Float[np.ndarray, " betas"]] = field(default_factory=list)
    """Anonymous shapes, one per hand in a photo."""
    _depths_std_m: list[tuple[float, float]] = field(default_factory=list)
    """Anonymous, and with the known hand."""

    def photo(self, hands: Sequence[HandResult], anonymous: Sequence[HandResult]) -> None:
        """Count a photo with its usable hands, as reported and as fitted without identity."""
        self.num_photos += 1
        self.num_hands += len(hands)
        self._num_cameras += bool(hands)
        self._num_K_known += any(not hand.K_is_guess for hand in hands)
        self._betas += [hand.betas for hand in anonymous or hands]
        if len(anonymous) == len(hands):
            pairs = zip(anonymous, hands, strict=True)
            self._depths_std_m += [(float(a.depth_std_m), float(b.depth_std_m)) for a, b in pairs]

    def video(self, num_frames: int, seconds: float, K_known: bool) -> None:
        """Count a video."""
        self.num_videos += 1
        self.num_frames += num_frames
        self.seconds += seconds
        self._num_cameras += 1
        self._num_K_known += K_known

    def scatter(
        self, model: FittableHand, person: Identity | None, truth_mm: Mapping[str, float] | None
    ) -> Scatter | None:
        """The hand's length photo by photo; None where there are fewer than two hands."""
        if len(self._betas) < 2:
            return None
        index = model.measures.names.index("hand_length")
        lengths = model.measures.lengths(torch.from_numpy(np.stack(self._betas)))[:, index] * 1e3
        own = None if person is None else person.measurements.get("hand_length")
        truth = (truth_mm or {}).get("hand_length")
        marks = [] if own is None else [own.low_mm, own.high_mm]
        values = [*lengths.tolist(), *marks, *([] if truth is None else [truth])]
        low, high = min(values) - 3, max(values) + 3

        def at(mm: float) -> float:
            return round(100 * (mm - low) / (high - low), 2)

        return Scatter(
            dots=tuple(at(mm) for mm in lengths.tolist()),
            low_mm=float(lengths.min()),
            high_mm=float(lengths.max()),
            scale_mm=(f"{low:.0f} mm", f"{high:.0f} mm"),
            own=None if own is None else at(own.value_mm),
            own_left=0.0 if own is None else at(own.low_mm),
            own_width=0.0 if own is None else round(at(own.high_mm) - at(own.low_mm), 2),
            truth=None if truth is None else at(truth),
        )

    @property
    def cameras_known(self) -> bool:
        """Whether no camera had to be guessed."""
        return self._num_K_known == self._num_cameras

    def distance_interval_mm(self) -> tuple[float, float] | None:
        """Median 95 % half interval of the distance, anonymous and with the known hand."""
        if not self._depths_std_m:
            return None
        before, after = 1e3 * Z95 * np.median(np.array(self._depths_std_m), axis=0)
        return float(before), float(after)

    def known(self, person: Identity | None) -> list[str]:
        """Sentences on what is known and what is assumed."""
        known, all_ = self._num_K_known, self._num_cameras
        if not (all_ or person):
            return []
        metric = self.cameras_known
        sentences = [_camera(known, all_)] if all_ else []
        if person is None:
            sentences.append(
                "The person is not known: every hand is assumed to have a size that is common "
                "among adults, and distance is proportional to that size."
            )
        elif person.hand_length_mm is None:
            sentences.append(
                "The size of the hand is taken from what is common among adults, because one "
                "camera cannot see how large a hand is; a ruler's reading would make it metric."
            )
        else:
            sentences.append(
                "The size of the hand comes from a ruler's reading of "
                f"{person.hand_length_mm:.1f} ± {person.hand_length_sigma_mm or 0:.1f} mm "
                f"(standard deviation){', so distance is metric' if metric else ''}."
            )
        but = "" if metric else " They do not include the error of an assumed camera."
        sentences.append(
            f"Intervals (±) contain the truth in 95 of 100 cases if the model is right.{but}"
        )
        return sentences


def _camera(known: int, all_: int) -> str:
    if known == all_:
        return "The camera is known (from the file, --k or --fov), not guessed."
    where = f"known for {known} of {all_} inputs only; elsewhere" if known else "not known:"
    return (
        f"The camera is {where} a field of view of 60° is assumed, and distances are "
        "proportional to the focal length that follows from it."
    )
