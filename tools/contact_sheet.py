"""Look at the hand model: every beta at ±2 deviations, and a fist, pinch, point and spread.

python tools/contact_sheet.py --out sheet.png
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from idhand.assets import open_hand
from idhand.drawing.raster import Mesh, render
from idhand.geometry import intrinsics_from_fov, project, rotation_from_vector

CELL_PX = 200
SKIN = (224, 172, 140)
DISTANCE_M = 0.62
FLEXED = {"mcp": 80, "pip": 95, "dip": 55}
POSES = {
    "fist": {
        **{
            f"{f}_{j}_flexion": FLEXED[j]
            for f in ("index", "middle", "ring", "little")
            for j in FLEXED
        },
        **{"thumb_cmc_flexion": 25, "thumb_mcp_flexion": 40, "thumb_ip_flexion": 50},
    },
    "pinch": {
        **{f"{f}_mcp_flexion": 30 for f in ("middle", "ring", "little")},
        **{f"{f}_pip_flexion": 35 for f in ("middle", "ring", "little")},
        **{"index_mcp_flexion": 50, "index_pip_flexion": 50, "index_dip_flexion": 25},
        **{"thumb_cmc_flexion": 25, "thumb_mcp_flexion": 25, "thumb_ip_flexion": 25},
    },
    "spread": {
        **{"index_mcp_abduction": 14, "ring_mcp_abduction": -9, "little_mcp_abduction": -20},
        **{"thumb_cmc_abduction": 17},
    },
}
POSES["point"] = {k: v for k, v in POSES["fist"].items() if not k.startswith("index")}


def cell(
    betas: torch.Tensor, pose: Mapping[str, float], turn: tuple[float, float, float]
) -> np.ndarray:
    """One rendered hand on white; pose in degrees, turn a rotation vector of the wrist."""
    model = open_hand()
    space = model.pose_space
    assert space is not None
    angles = torch.zeros(space.num_dofs, dtype=torch.float64)
    for name, degrees in pose.items():
        angles[space.names.index(name)] = math.radians(degrees)
    wrist = rotation_from_vector(torch.tensor(turn, dtype=torch.float64))
    rotations = torch.cat((wrist[None], space.rotations(angles)))
    place = torch.tensor([0.0, 0.05 if abs(turn[0]) < 1 else 0.0, DISTANCE_M], dtype=torch.float64)
    verts = model.with_shape(betas).posed(rotations, place).verts
    pixels = project(verts, intrinsics_from_fov(CELL_PX, CELL_PX, 30.0)).numpy()
    mesh = Mesh(verts_px=pixels, verts_cam=verts.numpy(), faces=model.faces.numpy(), colour=SKIN)
    picture = np.full((CELL_PX, CELL_PX, 3), 255.0)
    layer = render([mesh], CELL_PX, CELL_PX)
    assert layer is not None
    height, width = layer.coverage.shape
    window = picture[layer.y : layer.y + height, layer.x : layer.x + width]
    window[:] = window * (1 - layer.coverage[..., None]) + layer.premultiplied
    return picture.clip(0, 255).astype(np.uint8)


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a caption."""
    return cv2.putText(picture, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = []
    for half in (range(8), range(8, 16)):
        for deviation in (-2.0, 2.0):
            betas = [deviation * torch.eye(16, dtype=torch.float64)[k] for k in half]
            texts = [f"beta {k} {deviation:+.0f}" for k in half]
            cells = [labelled(cell(b, {}, (0, 0, 0)), t) for b, t in zip(betas, texts, strict=True)]
            rows.append(np.hstack(cells))
    zero = torch.zeros(16, dtype=torch.float64)
    for turn in ((0.0, 0.0, 0.0), (0.0, 1.3, 0.0)):
        cells = [
            labelled(cell(zero, POSES[p], turn), p) for p in ("fist", "pinch", "point", "spread")
        ]
        backs = [
            cell(zero, POSES[p], (0.0, 2.8, 0.0)) for p in ("fist", "pinch", "point", "spread")
        ]
        rows.append(np.hstack(cells + backs))
    cv2.imwrite(str(args.out), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
