"""Fit how much larger errors are than a network's pipeline states, and ship the numbers.

    python tools/build_deviations.py ROWS [ROWS ...] --for-network NETWORK.safetensors [--out FILE]

ROWS are folders of `benchmarks/depth.py`, of people on whom nothing was trained (the studio's split
`val`). Fitted are hands with their true shape; every third person is kept out of a first fit, to
see what intervals of strangers hold, and is in the second, which is written beside the network.
Takes seconds.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from depth_rows import WRIST, Rows, joined, read_folder
from depth_tables import about_wrist_m, depth_error_m

from idhand.refinement.deviation_fitting import covered, fitted_calibration
from idhand.refinement.deviations import (
    AS_STATED,
    DeviationCalibration,
    Recalibration,
    deviations_file,
)

KEPT_OUT = 3


def main() -> None:
    """Fit twice, print what is covered, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--for-network", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="by default beside the network")
    args = parser.parse_args()
    torch.set_num_threads(1)
    read = [read_folder(folder) for folder in args.rows]
    rows = joined(part for part, _ in read)
    rows = rows.select(rows.known.done)
    people = np.unique(rows.subject)
    out = np.isin(rows.subject, people[::KEPT_OUT])
    strangers = rows.select(out)
    first = fit(rows.select(~out))
    found = {
        "as stated": shares(strangers, AS_STATED),
        "calibrated, people kept out": shares(strangers, first),
        "calibrated, all": shares(rows, calibration := fit(rows)),
    }
    for name, numbers in found.items():
        print(name, numbers)
    notes = {
        "people": len(people),
        "pictures": len(rows),
        "data": [about["data"] for _, about in read],
        "network": hashlib.sha256(args.for_network.read_bytes()).hexdigest(),
        "within 1, 1.96 and 3 deviations": found,
    }
    path = args.out or deviations_file(args.for_network)
    DeviationCalibration(**{**vars(calibration), "notes": notes}).save(path)
    print(f"{path}: {len(rows):,} hands of {len(people)} people")


def fit(rows: Rows) -> DeviationCalibration:
    """The calibration of these hands."""
    return fitted_calibration(
        rows.known.stated(),
        torch.from_numpy(depth_error_m(rows, rows.known, WRIST)),
        torch.from_numpy(about_wrist_m(rows, rows.known)),
    )


def shares(rows: Rows, recalibration: Recalibration) -> dict[str, Any]:
    """What intervals hold: depth and keypoints, of known and estimated shape."""
    found: dict[str, Any] = {}
    for name, fits in (("true shape", rows.known), ("estimated shape", rows.unknown)):
        keypoints, depth = fits.deviations(recalibration)
        z = depth_error_m(rows, fits, WRIST) / depth
        each = (about_wrist_m(rows, fits)[:, 1:] / keypoints[:, 1:]).ravel()
        for kind, values in (("depth", z), ("keypoints", each)):
            numbers = covered(values[np.isfinite(values)])
            found[f"{kind}, {name}"] = [round(share, 3) for share in numbers]
    return found


if __name__ == "__main__":
    main()
