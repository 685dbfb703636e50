"""Speed of the parts, beside their targets: a Markdown table.

    python benchmarks/speed.py [--only NAME] [--json FILE] [--threads N] [--repeats N]

Ratios are taken within one run. The hand layer is compared with `smplx` only where that package
is installed: it is not free software and no part of the project.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from speed_hand import hand_layer
from speed_nets import networks
from speed_pipeline import pipeline, start_up
from speed_refinement import refinement
from tables import table
from timing import Row

PARTS: dict[str, Callable[[int], list[Row]]] = {
    "refinement": refinement,
    "hand": hand_layer,
    "networks": networks,
    "pipeline": pipeline,
    "start": start_up,
}
REPEATS = {"refinement": 5, "hand": 30, "networks": 50, "pipeline": 30, "start": 5}


def main() -> None:
    """Time what was asked for, print the table."""
    parser = argparse.ArgumentParser(description="Speed of the parts, beside their targets.")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (repeatable)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--repeats", type=int, help="of each timing; the median counts")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = [
        row for name in args.only or PARTS for row in PARTS[name](args.repeats or REPEATS[name])
    ]
    print(report(rows))
    if args.json:
        numbers = [asdict(row) | {"met": row.met} for row in rows]
        args.json.write_text(json.dumps({"machine": machine(), "rows": numbers}, indent=1))


def machine() -> str:
    """What the numbers were taken on."""
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def report(rows: list[Row]) -> str:
    """The table."""
    body = []
    for row in rows:
        digits = 0 if row.value >= 1000 else 1 if row.value >= 100 else 2
        sign = "≤" if row.at_most else "≥"
        target = "" if row.target is None else f"{sign} {row.target:g}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        value = "–" if row.value != row.value else f"{row.value:.{digits}f}"
        body.append((row.name, f"{value} {row.unit}", target, met, row.note))
    return f"{machine()}\n\n" + table(("", "value", "target", "met", "note"), body)


if __name__ == "__main__":
    main()
