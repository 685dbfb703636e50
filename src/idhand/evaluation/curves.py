"""Curves of results as PNG, drawn by matplotlib, which is loaded only then."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.evaluation.bootstrap import Interval
from idhand.files import replacing

SIZE_INCHES, DPI = (6.4, 4.0), 150
DOTTED_POINTS = 30
"""A curve with no more points than this shows each."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Distinguishable with any colour vision. Source: Okabe and Ito, 2008."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line, with a band around it if the intervals are known."""

    name: str
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"] | None = None
    high: Float[np.ndarray, " points"] | None = None

    @staticmethod
    def of_intervals(name: str, x: Sequence[float | int], intervals: Sequence[Interval]) -> "Curve":
        """A curve of estimates with their intervals."""
        numbers = np.array([[i.estimate, i.low, i.high] for i in intervals], dtype=np.float64)
        y, low, high = numbers.T
        return Curve(name=name, x=np.array(x, dtype=np.float64), y=y, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves in one picture."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    """For numbers of images and the like; ticks are then at the curves' own values."""
    y_limits: tuple[float, float] | None = None

    def save(self, path: str | Path) -> None:
        """Write a PNG; one of that name is replaced in one step.

        Raises:
            ValueError: If matplotlib is not installed.
        """
        figure = self._figure()
        data = io.BytesIO()
        figure.savefig(data, dpi=DPI, format="png", metadata={"Software": None})
        with replacing(path) as temporary:
            temporary.write_bytes(data.getbuffer())

    def _figure(self):
        """The drawing, without matplotlib's global state."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("matplotlib"):
                raise
            raise ValueError(
                "curves need matplotlib; install it: pip install 'idhand[train]'"
            ) from error
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for at, curve in enumerate(self.curves):
            colour = COLOURS[at % len(COLOURS)]
            marker = "o" if len(curve.x) <= DOTTED_POINTS else ""
            axes.plot(curve.x, curve.y, color=colour, marker=marker, ms=4, label=curve.name)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, lw=0)
        axes.set(title=self.title, xlabel=self.x_label, ylabel=self.y_label)
        if self.log_x:
            axes.set_xscale("log")
            ticks = np.unique(np.concatenate([curve.x for curve in self.curves]))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        if self.y_limits is not None:
            axes.set_ylim(*self.y_limits)
        axes.grid(alpha=0.3)
        axes.legend()
        return figure
