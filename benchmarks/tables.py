"""Markdown tables."""

from collections.abc import Iterable, Sequence

Cell = str | float | int | None


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], digits: int = 1) -> str:
    """A Markdown table; floats with so many digits, None as a dash, numbers to the right."""
    body = [[cell_text(cell, digits) for cell in row] for row in rows]
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell_text(cell: Cell, digits: int) -> str:
    """What stands in one cell."""
    match cell:
        case None:
            return "–"
        case float():
            return "–" if cell != cell else f"{cell:.{digits}f}"
        case _:
            return str(cell)


def section(title: str, text: str, *tables: str) -> str:
    """A heading, what the numbers mean, and the tables."""
    return "\n".join((f"### {title}\n", f"{text}\n", *tables))
