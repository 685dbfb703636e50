"""Curves over a video's time as SVG paths, drawn so that a page can stretch them to any width."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from idhand.hand import HandModel
from idhand.view.motion import HandMotion
from idhand.view.overlay import FINGER_COLOURS

WIDTH, HEIGHT = 1000.0, 100.0
"""Of the drawing's own units; the page stretches them."""
MAX_POINTS = 1500
"""A curve is thinned to this many points by leaving out frames evenly."""
GAP_FRAMES = 2.5
"""A curve breaks where frames are farther apart than this many usual steps."""
Z95 = 1.96
FINGERS = ("thumb", "index", "middle", "ring", "little")
GREY, BLUE = "#8a8f98", "#0072b2"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, or the edge of a band."""

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
    """Height in % from the top, and what it says."""
    summary: str
    """What a person who cannot see it should know."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Numbers over time."""

    label: str
    colour: str
    time_s: Float[np.ndarray, " frames"]
    values: Float[np.ndarray, " frames"]
    dashed: bool = False
    half_band: Float[np.ndarray, " frames"] | None = None


def charts_of(
    model: HandModel, motion: HandMotion, before: HandMotion | None, duration_s: float
) -> list[Chart]:
    """Joint angles, distance, hand length and residual of one hand of a video.

    Args:
        model: The model of the motion's betas.
        motion: The hand as reported.
        before: The same hand with a shape guessed in each frame, if the person was known.
        duration_s: Of the whole video, for a common time axis.
    """
    charts = []
    if model.pose_space is not None:
        import torch

        angles = model.pose_space.angles(torch.from_numpy(motion.rotations[:, 1:])).numpy()
        degrees = np.degrees(angles)
        names = model.pose_space.names
        for title, joints in (
            ("Bend of the knuckles", ("mcp",) * 5),
            ("Bend of the middle joints (thumb: its last)", ("ip", *("pip",) * 4)),
        ):
            curves = [
                _Curve(
                    label=finger,
                    colour=_hex(FINGER_COLOURS[k]),
                    time_s=motion.time_s,
                    values=degrees[:, names.index(f"{finger}_{joint}_flexion")],
                )
                for k, (finger, joint) in enumerate(zip(FINGERS, joints, strict=True))
            ]
            charts.append(_chart(title, "°", curves, duration_s))
    charts.append(_chart("Distance of the wrist", " m", _distance(motion, before), duration_s))
    if model.measures is not None:
        curves = _lengths(model, motion, before)
        charts.append(_chart("Length of the hand", " mm", curves, duration_s))
    residual = _Curve(
        label="residual", colour=BLUE, time_s=motion.time_s, values=motion.residual_px
    )
    charts.append(_chart("Distance of fitted to seen landmarks", " px", [residual], duration_s))
    return charts


def _distance(motion: HandMotion, before: HandMotion | None) -> list[_Curve]:
    curves = []
    if before is not None:
        curves.append(
            _Curve(
                label="each frame alone",
                colour=GREY,
                time_s=before.time_s,
                values=before.wrist_cam[:, 2],
                dashed=True,
            )
        )
    own = _Curve(
        label="with the known hand" if before is not None else "each frame alone",
        colour=BLUE,
        time_s=motion.time_s,
        values=motion.wrist_cam[:, 2],
        half_band=Z95 * motion.depth_std_m,
    )
    return [*curves, own]


def _lengths(model: HandModel, motion: HandMotion, before: HandMotion | None) -> list[_Curve]:
    import torch

    assert model.measures is not None
    at = model.measures.names.index("hand_length")

    def lengths_mm(of: HandMotion) -> Float[np.ndarray, " frames"]:
        assert model.measures is not None
        return model.measures.lengths(torch.from_numpy(of.betas))[:, at].numpy() * 1e3

    if before is None:
        pairs = [("each frame alone", BLUE, motion, False)]
    else:
        pairs = [
            ("each frame alone", GREY, before, True),
            ("with the known hand", BLUE, motion, False),
        ]
    return [
        _Curve(label=label, colour=colour, time_s=of.time_s, values=lengths_mm(of), dashed=dashed)
        for label, colour, of, dashed in pairs
    ]


def _chart(title: str, unit: str, curves: Sequence[_Curve], duration_s: float) -> Chart:
    """Scale the curves to one box; bands are clipped to twice the curves' own range."""
    values = np.concatenate([c.values for c in curves])
    low, high = float(values.min()), float(values.max())
    room = max(0.08 * (high - low), 1e-3 * max(abs(high), 1e-3))
    for c in curves:
        if c.half_band is not None:
            reach = float(np.median(c.half_band))
            room = max(room, min(reach, 0.6 * (high - low) + 0.1 * abs(high)))
    low, high = low - room, high + room

    def y(v: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
        return ((high - v) / (high - low) * HEIGHT).clip(0, HEIGHT)

    lines, band = [], ""
    for c in curves:
        keep = slice(None, None, max(1, -(-len(c.values) // MAX_POINTS)))
        time_s, v = c.time_s[keep], c.values[keep]
        x = time_s / max(duration_s, 1e-9) * WIDTH
        path = _path(x, y(v))
        lines.append(Line(label=c.label, colour=c.colour, path=path, dashed=c.dashed))
        if c.half_band is not None:
            half = c.half_band[keep]
            band = _area(x, y(v + half), y(v - half))
    marks, decimals = _ticks(low, high)
    ticks = tuple(
        (round(100 * (high - v) / (high - low), 1), f"{v:.{decimals}f}{unit}") for v in marks
    )
    parts = (
        f"{c.label} {c.values.min():.{decimals}f} to {c.values.max():.{decimals}f}{unit}"
        for c in curves
    )
    return Chart(title=title, lines=tuple(lines), band=band, ticks=ticks, summary="; ".join(parts))


def _ticks(low: float, high: float) -> tuple[list[float], int]:
    """Two to five round numbers between the ends, and the decimals that they need."""
    power = int(np.floor(np.log10(high - low)))
    steps = [base * 10.0**p for p in (power - 1, power) for base in (1, 2, 5)]
    step = next(s for s in steps if (high - low) / s <= 5)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    exponent = int(np.floor(np.log10(step) + 1e-9))
    return [k * step for k in range(first, last + 1)], max(0, -exponent)


def _pieces(x: Float[np.ndarray, " frames"]) -> list[slice]:
    """Runs of frames without a gap."""
    if len(x) < 2:
        return [slice(0, len(x))]
    steps = np.diff(x)
    breaks = np.flatnonzero(steps > GAP_FRAMES * np.median(steps)) + 1
    edges = [0, *breaks.tolist(), len(x)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _path(x: Float[np.ndarray, " frames"], y: Float[np.ndarray, " frames"]) -> str:
    runs = (
        " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[r], y[r], strict=True)) for r in _pieces(x)
    )
    return " ".join(f"M{run}" for run in runs)


def _area(
    x: Float[np.ndarray, " frames"],
    top: Float[np.ndarray, " frames"],
    bottom: Float[np.ndarray, " frames"],
) -> str:
    areas = []
    for r in _pieces(x):
        there = [f"{a:.1f},{b:.1f}" for a, b in zip(x[r], top[r], strict=True)]
        back = [f"{a:.1f},{b:.1f}" for a, b in zip(x[r][::-1], bottom[r][::-1], strict=True)]
        areas.append(f"M{' '.join(there + back)}Z")
    return " ".join(areas)


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
