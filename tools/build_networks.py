"""Gather trained networks into the folder that the package ships, with how far to believe them.

    python tools/build_networks.py --runs DIR --validation DIR [--out DIR]

The last step of `make weights`. DIR of --runs holds one folder per `idhand train`: identity,
identity_film and confidence (the baseline with its confidence branch, shipped as the baseline).
--validation: the studio's people of the split `val`.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from tqdm import tqdm

from idhand.data import Shards
from idhand.experiments.nets import ExperimentNetworks
from idhand.experiments.reproduce import with_fitted_covariances
from idhand.fusion import covariance_file_name

SHIPPED = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data" / "networks"
RUNS = {"baseline": "confidence", "identity": "identity", "identity_film": "identity_film"}
"""Shipped network → the training that it comes from."""
CALIBRATED = {"identity_film": "identity_film", "confidence": "baseline"}
"""Network whose covariances are calibrated → shipped network that has that branch."""
MOST_BYTES = 8_000_000


def main() -> None:
    """Copy, fit, check the size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, run in RUNS.items():
        shutil.copyfile(args.runs / run / f"{run}.safetensors", args.out / f"{name}.safetensors")
    for name in CALIBRATED.values():  # of other networks
        (args.out / covariance_file_name(name)).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        nets = ExperimentNetworks.load(args.out)
        with_fitted_covariances(nets, Shards(args.validation), Path(folder), progress=tqdm)
        for fitted, name in CALIBRATED.items():
            made = Path(folder) / covariance_file_name(fitted)
            shutil.copyfile(made, args.out / covariance_file_name(name))
    size = sum(path.stat().st_size for path in args.out.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{size:,} bytes are more than the {MOST_BYTES:,} that may be shipped")
    print(f"{len(RUNS)} networks, {size:,} bytes, in {args.out}")


if __name__ == "__main__":
    main()
