"""WebXR's generic hand as it comes, in our rest frame; for `build_hand.py`."""

import hashlib
import json
import struct
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGE = "@webxr-input-profiles/assets@1.0.20"
GLB = "package/dist/profiles/generic-hand/right.glb"
GLB_SHA256 = "291790c14f7f88a7f9bd35330c47392ed8e8d395ae6728f4bb7089f1bc1f2b96"
DATA = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data"
FINGERS = ("thumb", "index", "middle", "ring", "little")
RIG_PARENTS = (
    -1,
    0,
    1,
    2,
    3,
    *(p for f in range(4) for p in (0, *(5 + 5 * f + k for k in range(4)))),
)
"""Parents of WebXR's 25 joints: wrist, 4 of the thumb, 5 of each finger (tip last)."""
KEPT = (0, 1, 2, 3, 6, 7, 8, 11, 12, 13, 16, 17, 18, 21, 22, 23)
"""Our 16 joints among them; the four metacarpals move with the wrist."""
TO_KEPT = (
    0,
    1,
    2,
    3,
    3,
    *(j for f in range(4) for j in (0, 4 + 3 * f, 5 + 3 * f, 6 + 3 * f, 6 + 3 * f)),
)
"""The joint of ours that moves each of the 25."""
RIG_FINGER = (-1, 0, 0, 0, 0, *(1 + f for f in range(4) for _ in range(5)))
TIP_RIG_JOINTS = (4, 9, 14, 19, 24)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The source mesh in our rest frame."""

    verts: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    faces_uv: np.ndarray
    weights: np.ndarray
    """Over WebXR's 25 joints."""
    joints: np.ndarray


def fetch_glb(cache: Path) -> bytes:
    """The GLB out of the npm package, from the cache if it is there."""
    cache.mkdir(parents=True, exist_ok=True)
    tarballs = sorted(cache.glob("webxr-input-profiles-assets-*.tgz"))
    if not tarballs:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=cache, check=True)
        tarballs = sorted(cache.glob("webxr-input-profiles-assets-*.tgz"))
    with tarfile.open(tarballs[-1]) as tar:
        glb, licence = (tar.extractfile(n) for n in (GLB, "package/LICENSE.md"))
        assert glb is not None
        assert licence is not None
        content = glb.read()
        (DATA / "WEBXR_LICENSE.txt").write_bytes(licence.read())
    digest = hashlib.sha256(content).hexdigest()
    if digest != GLB_SHA256:
        raise SystemExit(f"right.glb has sha256 {digest}, expected {GLB_SHA256}")
    return content


def read_glb(content: bytes) -> Rig:
    """Mesh, skin and joints, seams merged, in the rest frame of `idhand.hand`."""
    length = struct.unpack("<I", content[12:16])[0]
    gltf, binary = json.loads(content[20 : 20 + length]), content[20 + length + 8 :]

    def accessor(index: int) -> np.ndarray:
        a = gltf["accessors"][index]
        view = gltf["bufferViews"][a["bufferView"]]
        dtype = {5126: "<f4", 5121: "u1", 5123: "<u2"}[a["componentType"]]
        width = {"VEC2": 2, "VEC3": 3, "VEC4": 4, "SCALAR": 1, "MAT4": 16}[a["type"]]
        start = view.get("byteOffset", 0) + a.get("byteOffset", 0)
        return np.frombuffer(binary, dtype, a["count"] * width, start).reshape(-1, width)

    primitive = gltf["meshes"][0]["primitives"][0]
    names = ("POSITION", "TEXCOORD_0", "JOINTS_0", "WEIGHTS_0")
    position, uv, bones, weight = (accessor(primitive["attributes"][n]) for n in names)
    faces_uv = accessor(primitive["indices"]).reshape(-1, 3).astype(np.int64)
    inverse_bind = accessor(gltf["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4)
    joints = np.linalg.inv(inverse_bind.transpose(0, 2, 1).astype(float))[:, :3, 3]

    weights = np.zeros((len(position), 25))
    for k in range(4):
        np.add.at(weights, (np.arange(len(position)), bones[:, k]), weight[:, k])
    for tip in TIP_RIG_JOINTS:
        weights[:, tip - 1] += weights[:, tip]
        weights[:, tip] = 0
    key = np.round(position.astype(float) * 1e5).astype(int)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    frame = rest_frame(joints)
    origin = joints[0]
    return Rig(
        verts=(position[first].astype(float) - origin) @ frame.T,
        faces=inverse.ravel()[faces_uv],
        uv=uv.astype(np.float32),
        faces_uv=faces_uv,
        weights=weights[first] / weights[first].sum(1, keepdims=True),
        joints=(joints - origin) @ frame.T,
    )


def rest_frame(joints: np.ndarray) -> np.ndarray:
    """Rotation to x = thumb side, −y = distal, −z = palmar, from WebXR's joints."""
    distal = joints[11] - joints[0]
    distal /= np.linalg.norm(distal)
    lateral = joints[6] - joints[21]
    lateral -= lateral @ distal * distal
    lateral /= np.linalg.norm(lateral)
    return np.stack((lateral, -distal, np.cross(lateral, -distal)))


def unit(v: np.ndarray) -> np.ndarray:
    """The vector at length one."""
    return v / np.linalg.norm(v)


def bone_directions(joints: np.ndarray) -> np.ndarray:
    """Direction of the bone that starts at each of the 25 joints."""
    out = np.zeros((25, 3))
    for j in range(25):
        children = [c for c in range(25) if RIG_PARENTS[c] == j]
        if j == 0:
            out[j] = (0, -1, 0)
        else:
            out[j] = unit(joints[children[0]] - joints[j]) if children else out[RIG_PARENTS[j]]
    return out
