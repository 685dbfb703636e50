"""Tables of results as Markdown, CSV and LaTeX."""

import csv
import io
import math
import re
from dataclasses import dataclass

from idhand.evaluation.bootstrap import Interval

Cell = Interval | float | int | str | None
"""None and NaN are not known and stay empty in CSV, a dash elsewhere."""

DASH = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "²": r"\textsuperscript{2}",
    "±": r"\textpm{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """What stands in a column."""

    name: str
    unit: str = ""
    decimals: int = 2
    """Of numbers that are not integers."""

    @property
    def heading(self) -> str:
        """Name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """As many cells each as there are columns."""

    def __post_init__(self):
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        assert not wrong, f"{len(self.columns)} columns, but a row of {len(wrong[0])} cells"

    def markdown(self) -> str:
        """The table in Markdown, readable as plain text; intervals as `1.23 [1.11, 1.35]`."""
        cells = [[column.heading.replace("|", r"\|") for column in self.columns]]
        cells += [[text.replace("|", r"\|") for text in row] for row in self._texts()]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        rule = [
            "-" * width if not at else "-" * (width - 1) + ":" for at, width in enumerate(widths)
        ]
        lines = [
            "| " + " | ".join(_padded(row, widths)) + " |" for row in (cells[0], rule, *cells[1:])
        ]
        return "\n".join([f"**{self.title}**", "", *lines, ""])

    def csv(self) -> str:
        """All digits; an interval takes three columns."""
        spread = [
            any(isinstance(row[at], Interval) for row in self.rows)
            for at in range(len(self.columns))
        ]
        headings: list[str] = []
        for column, has_interval in zip(self.columns, spread, strict=True):
            ends = (" low", " high") if has_interval else ()
            headings += [column.heading, *(column.heading + end for end in ends)]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(headings)
        for row in self.rows:
            values: list[str] = []
            for cell, has_interval in zip(row, spread, strict=True):
                values += _raw(cell) if has_interval else _raw(cell)[:1]
            writer.writerow(values)
        return stream.getvalue()

    def latex(self) -> str:
        """A plain tabular that needs no package, with the title above it as a comment."""
        title = " ".join(self.title.split())
        lines = [f"% {title}", rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}", r"\hline"]
        lines.append(_latex_row([column.heading for column in self.columns]))
        lines.append(r"\hline")
        lines += [_latex_row(row) for row in self._texts()]
        return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])

    def _texts(self) -> list[list[str]]:
        return [
            [_shown(cell, column.decimals) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]


def _shown(cell: Cell, decimals: int) -> str:
    """A cell for people."""
    match cell:
        case None:
            return DASH
        case Interval(estimate=estimate) if not cell.is_bounded:
            return _shown(estimate, decimals)
        case Interval(estimate=estimate, low=low, high=high):
            return f"{_shown(estimate, decimals)} [{low:.{decimals}f}, {high:.{decimals}f}]"
        case float():
            return DASH if math.isnan(cell) else f"{cell:.{decimals}f}"
        case _:
            return str(cell)


def _raw(cell: Cell) -> list[str]:
    """A cell for programs: value, low, high; what is not known is empty."""
    numbers: tuple[Cell, ...] = (cell, None, None)
    if isinstance(cell, Interval):
        numbers = (cell.estimate, cell.low, cell.high)
    unknown = [n is None or (isinstance(n, float) and math.isnan(n)) for n in numbers]
    return ["" if none else str(n) for n, none in zip(numbers, unknown, strict=True)]


def _padded(row: list[str], widths: list[int]) -> list[str]:
    first, *others = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]


def _latex_row(texts: list[str]) -> str:
    return " & ".join(_escaped(text) for text in texts) + r" \\"


def _escaped(text: str) -> str:
    """Text in which LaTeX reads no commands."""
    pattern = "|".join(re.escape(sign) for sign in _LATEX)
    return re.sub(pattern, lambda match: _LATEX[match[0]], text)
