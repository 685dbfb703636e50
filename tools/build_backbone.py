"""Take the hand net out of a network of `idhand train backbone`, as the package ships it.

    python tools/build_backbone.py --trained FILE [--out FILE]

The last step of `make backbone`. The graph is that of hand_landmark_full, the weights are float16.
"""

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from idhand.files import replacing
from idhand.nets.backbones import HAND_NETS, HandBackbone
from idhand.nets.files import load_regressor

DATA = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data"


def main() -> None:
    """Read, take, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=DATA / "hand_studio.safetensors")
    args = parser.parse_args()
    backbone = load_regressor(args.trained).backbone
    if not isinstance(backbone, HandBackbone) or not backbone.is_trained:
        raise SystemExit(f"{args.trained} holds no hand net of its own; train the preset backbone")
    weights = {
        name: weight.detach().to(torch.float16).contiguous()
        for name, weight in backbone.graph.weights.items()
    }
    with safe_open(DATA / f"{HAND_NETS[backbone.name]}.safetensors", framework="pt") as source:
        graph = source.metadata()["graph"]
    with replacing(args.out) as temporary:
        save_file(weights, temporary, metadata={"graph": graph})
        temporary.chmod(0o644)
    print(f"{args.out.stat().st_size:,} bytes in {args.out}")


if __name__ == "__main__":
    main()
