"""Compare the OpenXR export with WebXR's generic hand, whose rig has WebXR's own joints.

    python tools/check_openxr.py --cache DIR

The joints of that rig follow WebXR's convention, which is OpenXR's without the palm. Prints the
barycentric coordinates of its metacarpal bases (`METACARPAL_WEIGHTS` of the export are these,
rounded) and how far, in degrees, our joints of a flat hand are turned from the rig's. The npm
package (94 MB) is fetched into the cache, as for `build_hand.py`.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np
import torch
from hand_rig import fetch_glb, read_glb, rest_frame
from scipy.spatial.transform import Rotation

from idhand.assets import open_hand
from idhand.view import HandMotion, openxr_joints
from idhand.view.export import OPENXR_JOINT_NAMES
from idhand.view.export.openxr import METACARPAL_WEIGHTS

CORNERS, BASES = (0, 1, 6, 21), (5, 10, 15, 20)
"""In the rig's 25 joints: wrist, thumb CMC, index and little MCP; the four metacarpal bases."""
GLTF_FROM_REST = np.diag([1.0, -1.0, -1.0])


def metacarpal_weights(joints: np.ndarray) -> np.ndarray:
    """Coordinates of the metacarpal bases in the tetrahedron of the corners; rows sum to one."""
    corners = np.concatenate((joints[list(CORNERS)], np.ones((4, 1))), 1)
    bases = np.concatenate((joints[list(BASES)], np.ones((4, 1))), 1)
    return np.linalg.solve(corners.T, bases.T).T


def rig_turns(content: bytes) -> np.ndarray:
    """Orientations of the rig's 25 joints at rest, in glTF's axes of an upright palm."""
    length = struct.unpack("<I", content[12:16])[0]
    gltf, binary = json.loads(content[20 : 20 + length]), content[20 + length + 8 :]
    accessor = gltf["accessors"][gltf["skins"][0]["inverseBindMatrices"]]
    start = gltf["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    start += accessor.get("byteOffset", 0)
    inverse = np.frombuffer(binary, "<f4", 16 * accessor["count"], start).reshape(-1, 4, 4)
    bind = np.linalg.inv(inverse.transpose(0, 2, 1).astype(float))
    turns = bind[:, :3, :3] / np.linalg.norm(bind[:, :3, :3], axis=1, keepdims=True)
    return GLTF_FROM_REST @ rest_frame(bind[:, :3, 3]) @ turns


def our_turns() -> np.ndarray:
    """The export's 26 joints of the average right hand, flat."""
    model, one = open_hand(), np.zeros(1)
    flat = torch.eye(3, dtype=torch.float64).expand(16, 3, 3)
    posed = model.with_shape(torch.zeros(16, dtype=torch.float64)).posed(
        flat, torch.zeros(3, dtype=torch.float64)
    )
    motion = HandMotion(
        model=model.name,
        name="flat",
        is_right=True,
        frame=np.zeros(1, np.int64),
        time_s=one,
        betas=np.zeros((1, 16)),
        rotations=flat[None].numpy(),
        wrist_cam=np.zeros((1, 3)),
        keypoints_cam=posed.keypoints[None].numpy(),
        score=one + 1,
        residual_px=one,
        depth_std_m=one,
    )
    return Rotation.from_quat(openxr_joints(motion, model).orientations_xyzw[0]).as_matrix()


def main() -> None:
    """Fetch, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder for the npm package")
    content = fetch_glb(parser.parse_args().cache)
    weights = metacarpal_weights(read_glb(content).joints)
    print("metacarpal bases as weights of wrist, thumb CMC, index MCP, little MCP:")
    print(np.array2string(weights, precision=4, suppress_small=True))
    print(f"largest difference from the export's: {np.abs(weights - METACARPAL_WEIGHTS).max():.5f}")
    ours, theirs = our_turns()[1:], rig_turns(content)  # the rig has no palm
    degrees = Rotation.from_matrix(ours.swapaxes(1, 2) @ theirs).magnitude() * 180 / np.pi
    print(f"\norientation against the rig's: mean {degrees.mean():.1f}°, most {degrees.max():.1f}°")
    for name, angle in zip(OPENXR_JOINT_NAMES[1:], degrees, strict=True):
        print(f"  {name:22s} {angle:5.1f}°")


if __name__ == "__main__":
    main()
