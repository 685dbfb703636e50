"""Curves over a video's time as SVG paths, drawn so that a page can stretch them to any width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import roma
import torch
from jaxtyping import Float, Int

from idhand.anatomy import flexion_axes
from idhand.drawing.overlay import FINGER_COLOURS
from idhand.hand import JOINT_NAMES, FittableHand
from idhand.identity import Z95
from idhand.view.motion import HandMotion

WIDTH, HEIGHT = 1000.0, 100.0
"""Of the drawing's own units; the page stretches them."""
GAP_FRAMES = 2.5
"""A curve breaks where its frames are farther apart than this many usual steps."""
FINGERS = ("thumb", "index", "middle", "ring", "little")
GREY, BLUE = "#8a8f98", "#0072b2"

_Values = Float[np.ndarray, " frames"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve."""

    label: str
    colour: str
    path: str
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves with one scale."""

    title: str
    lines: tuple[Line, ...]
    band: str
    """Path of an area, empty if there is none."""
    ticks: tuple[tuple[float, str], ...]
    """Height in % from the top, and its text."""
    summary: str
    """What a person who cannot see it should know."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Numbers over time."""

    label: str
    colour: str
    of: HandMotion
    """Whose frames and times these are."""
    values: _Values
    dashed: bool = False
    half_band: _Values | None = None


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """How curves become paths: time to the right, values upwards."""

    duration_s: float
    max_points: int
    low: float = 0.0
    high: float = 1.0

    def x(self, time_s: _Values) -> _Values:
        return time_s / max(self.duration_s, 1e-9) * WIDTH

    def y(self, values: _Values) -> _Values:
        return ((self.high - values) / (self.high - self.low) * HEIGHT).clip(0, HEIGHT)

    def thinned(self, count: int) -> slice:
        return slice(None, None, max(1, -(-count // self.max_points)))


def charts_of(
    model: FittableHand,
    motion: HandMotion,
    before: HandMotion | None,
    duration_s: float,
    max_points: int,
) -> list[Chart]:
    """Joint angles, distance, hand length and residual of one hand of a video.

    Args:
        model: The model of the motion's betas.
        motion: The hand as reported.
        before: The same hand with a shape guessed in each frame, if the person was known.
        duration_s: Of the whole video, for a common time axis.
        max_points: A curve is thinned to this many points by leaving out frames evenly.
    """

    def both(values_of: Callable[[HandMotion], _Values], half_band: _Values | None = None):
        """The curve of what is reported and, behind it, of each frame alone."""
        alone = "each frame alone"
        known = alone if before is None else "with the known hand"
        own = _Curve(
            label=known, colour=BLUE, of=motion, values=values_of(motion), half_band=half_band
        )
        if before is None:
            return [own]
        values = values_of(before)
        return [_Curve(label=alone, colour=GREY, of=before, values=values, dashed=True), own]

    distance = both(lambda of: of.wrist_cam[:, 2], Z95 * motion.depth_std_m)
    residual = _Curve(label="residual", colour=BLUE, of=motion, values=motion.residual_px)
    charts = [*_bends(model, motion), ("Distance of the wrist", " m", distance)]
    charts.append(("Length of the hand", " mm", both(lambda of: _lengths_mm(model, of))))
    charts.append(("Distance of fitted to seen landmarks", " px", [residual]))
    axes = _Axes(duration_s=duration_s, max_points=max_points)
    return [_chart(title, unit, curves, axes) for title, unit, curves in charts]


def _bends(model: FittableHand, motion: HandMotion) -> list[tuple[str, str, list[_Curve]]]:
    """How far the fingers' joints are bent."""
    shape = torch.from_numpy(motion.mean_betas).to(model.template.dtype)
    axes = flexion_axes(model.with_shape(shape), model.pose_space).numpy()
    vectors = roma.rotmat_to_rotvec(torch.from_numpy(motion.rotations[:, 1:])).numpy()
    degrees = np.degrees((vectors * axes).sum(-1))

    def curve(k: int, joint: str) -> _Curve:
        values = degrees[:, JOINT_NAMES.index(f"{FINGERS[k]}_{joint}") - 1]
        colour = "#{:02x}{:02x}{:02x}".format(*FINGER_COLOURS[k])
        return _Curve(label=FINGERS[k], colour=colour, of=motion, values=values)

    return [
        ("Bend of the knuckles", "°", [curve(k, "mcp") for k in range(5)]),
        (
            "Bend of the middle joints (thumb: its last)",
            "°",
            [curve(k, joint) for k, joint in enumerate(("ip", *("pip",) * 4))],
        ),
    ]


def _lengths_mm(model: FittableHand, motion: HandMotion) -> _Values:
    lengths = model.measures.lengths(torch.from_numpy(motion.betas))
    return lengths[:, model.measures.names.index("hand_length")].numpy() * 1e3


def _chart(title: str, unit: str, curves: Sequence[_Curve], time_axis: _Axes) -> Chart:
    """Scale the curves to one box. A band may reach out of it, so that curves stay readable."""
    low, high = _range(curves)
    axes = _Axes(
        duration_s=time_axis.duration_s, max_points=time_axis.max_points, low=low, high=high
    )
    marks, decimals = _ticks(low, high)
    ranges = (
        f"{c.label} {c.values.min():.{decimals}f} to {c.values.max():.{decimals}f}{unit}"
        for c in curves
    )
    return Chart(
        title=title,
        lines=tuple(
            Line(label=c.label, colour=c.colour, path=_path(c, axes), dashed=c.dashed)
            for c in curves
        ),
        band=" ".join(_area(c, c.half_band, axes) for c in curves if c.half_band is not None),
        ticks=tuple(
            (round(100 * (high - v) / (high - low), 1), f"{v:.{decimals}f}{unit}") for v in marks
        ),
        summary="; ".join(ranges),
    )


def _range(curves: Sequence[_Curve]) -> tuple[float, float]:
    """All values with some room, and as much of the bands as leaves the curves readable."""
    values = np.concatenate([c.values for c in curves])
    low, high = float(values.min()), float(values.max())
    room = max(0.08 * (high - low), 1e-3 * max(abs(high), 1e-3))
    for c in curves:
        if c.half_band is not None:
            reach = float(np.median(c.half_band))
            room = max(room, min(reach, 0.6 * (high - low) + 0.1 * abs(high)))
    return low - room, high + room


def _ticks(low: float, high: float) -> tuple[list[float], int]:
    """Two to five round numbers between the ends, and the decimals that they need."""
    power = int(np.floor(np.log10(high - low)))
    steps = [base * 10.0**p for p in (power - 1, power) for base in (1, 2, 5)]
    step = next(s for s in steps if (high - low) / s <= 5)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    exponent = int(np.floor(np.log10(step) + 1e-9))
    return [k * step for k in range(first, last + 1)], max(0, -exponent)


def _pieces(frame: Int[np.ndarray, " frames"]) -> list[slice]:
    """Runs of frames without a gap."""
    steps = np.diff(frame)
    breaks = np.flatnonzero(steps > GAP_FRAMES * np.median(steps)) + 1 if len(steps) else []
    return [slice(a, b) for a, b in pairwise([0, *breaks, len(frame)])]


def _points(x: _Values, y: _Values) -> list[str]:
    return [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]


def _path(curve: _Curve, axes: _Axes) -> str:
    """The curve, broken at gaps; a lone point is drawn as a dot (round line ends)."""
    keep = axes.thinned(len(curve.values))
    x, y = axes.x(curve.of.time_s[keep]), axes.y(curve.values[keep])
    runs = [_points(x[r], y[r]) for r in _pieces(curve.of.frame[keep])]
    return " ".join("M" + " ".join(run if len(run) > 1 else [*run, "h0.1"]) for run in runs)


def _area(curve: _Curve, half_band: _Values, axes: _Axes) -> str:
    """The band around the curve, broken at gaps."""
    keep = axes.thinned(len(curve.values))
    x, values, half = axes.x(curve.of.time_s[keep]), curve.values[keep], half_band[keep]
    top, bottom = axes.y(values + half), axes.y(values - half)
    runs = [
        _points(x[r], top[r]) + _points(x[r], bottom[r])[::-1]
        for r in _pieces(curve.of.frame[keep])
    ]
    return " ".join(f"M{' '.join(run)}Z" for run in runs)
