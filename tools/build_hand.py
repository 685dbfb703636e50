"""Build the open hand: WebXR's generic hand (MIT) with an identity space made from ANSUR II.

    python tools/build_hand.py --cache DIR --ansur ansur_hand.json

Reads `profiles/generic-hand/right.glb` from npm @webxr-input-profiles/assets 1.0.20 (fetched into
the cache once) and writes `src/idhand/assets/data/open_hand.npz` and the licence beside it.
"""

import argparse
import hashlib
import json
import struct
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

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

MEASURE_NAMES = ("hand_length", "palm_length", "hand_breadth", "hand_circumference")
"""In the order of the first four ANSUR measures."""

# Spread of people's proportions, as standard deviations of log scale at equal overall size. Bones
# come to 4-6 % each, the range between published radiographic studies (e.g. Buchholz et al. 1992,
# "Anthropometric data for describing the kinematics of the human hand", Ergonomics 35).
SD_SIZE = 0.06
SD_PALM = {"palm_length": 0.03, "palm_breadth": 0.035, "palm_thickness": 0.06}
SD_FINGERS_COMMON = 0.03
SD_FINGER = {"thumb": 0.04, "index": 0.02, "middle": 0.02, "ring": 0.02, "little": 0.035}
SD_SEGMENT_COMMON = (0.015, 0.025, 0.03)
SD_BONE = 0.02
SD_GIRTH_COMMON = 0.05
SD_GIRTH_FINGER = 0.02
SD_METACARPAL = 0.015
SD_FOREARM_GIRTH = 0.03
NUM_BETAS = 16


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


# ---------------------------------------------------------------- identity fields


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


FEATURES = (
    "size",
    *SD_PALM,
    *(f"{f}_bone{k}" for f in FINGERS for k in range(3)),
    *(f"{f}_girth" for f in FINGERS),
    *(f"{f}_metacarpal" for f in FINGERS[1:]),
    "forearm_girth",
)


def scale_generators(joints: np.ndarray) -> np.ndarray:
    """How each of the 25 segments is stretched by each feature: (features, 25, 3, 3)."""
    G = np.zeros((len(FEATURES), 25, 3, 3))
    axis = {name: np.diag(np.eye(3)[k]) for name, k in (("x", 0), ("y", 1), ("z", 2))}
    index = {name: k for k, name in enumerate(FEATURES)}
    directions = bone_directions(joints)
    palm = [0, 5, 10, 15, 20]
    G[index["size"]] = np.eye(3)
    for j in palm:
        G[index["palm_length"], j] = axis["y"]
        G[index["palm_breadth"], j] = axis["x"]
        G[index["palm_thickness"], j] = axis["z"]
    for f, finger in enumerate(FINGERS):
        chain = [j for j in range(25) if RIG_FINGER[j] == f]
        phalanges = chain if f == 0 else chain[1:]
        if f > 0:
            G[index[f"{finger}_metacarpal"], chain[0]] = axis["y"]
        for k, j in enumerate(phalanges):
            along = np.outer(directions[j], directions[j])
            G[index[f"{finger}_bone{min(k, 2)}"], j] = along
            G[index[f"{finger}_girth"], j] = np.eye(3) - along
    G[index["forearm_girth"], 0] = axis["x"] + axis["z"]
    return G


def displacement_fields(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """First-order motion of vertices (V, 3, features) and the 25 joints (25, 3, features).

    Each segment stretches about its joint, joints ride on their parent segments, and the skin
    follows by the skinning weights; linear in the features, hence linear in the betas. The
    forearm's girth acts behind the wrist only.
    """
    G = scale_generators(rig.joints)
    num = len(FEATURES)
    dJ = np.zeros((25, 3, num))
    for j in range(1, 25):
        p = RIG_PARENTS[j]
        stretch = np.einsum("fab,b->af", G[:, p], rig.joints[j] - rig.joints[p])
        dJ[j] = dJ[p] + stretch
    forearm = FEATURES.index("forearm_girth")
    dJ[:, :, forearm] = 0
    local = rig.verts[:, None] - rig.joints
    moved = np.einsum("fjab,vjb->vjaf", G, local) + dJ
    dV = np.einsum("vj,vjaf->vaf", rig.weights, moved)
    behind = np.clip(rig.verts[:, 1] / 0.02, 0, 1)
    dV[:, :, forearm] *= behind[:, None]
    return dV, dJ


def feature_covariance() -> np.ndarray:
    """Prior covariance of the log-scale features before anthropometry is imposed."""
    rows = []
    index = {name: k for k, name in enumerate(FEATURES)}

    def factor(sd: float, *names: str) -> None:
        row = np.zeros(len(FEATURES))
        row[[index[n] for n in names]] = sd
        rows.append(row)

    factor(SD_SIZE, "size")
    for name, sd in SD_PALM.items():
        factor(sd, name)
    factor(SD_FINGERS_COMMON, *(f"{f}_bone{k}" for f in FINGERS for k in range(3)))
    for finger, sd in SD_FINGER.items():
        factor(sd, *(f"{finger}_bone{k}" for k in range(3)))
    for k, sd in enumerate(SD_SEGMENT_COMMON):
        factor(sd, *(f"{f}_bone{k}" for f in FINGERS[1:]))
    for finger in FINGERS:
        for k in range(3):
            factor(SD_BONE, f"{finger}_bone{k}")
        factor(SD_GIRTH_FINGER, f"{finger}_girth")
    factor(SD_GIRTH_COMMON, *(f"{f}_girth" for f in FINGERS))
    for finger in FINGERS[1:]:
        factor(SD_METACARPAL, f"{finger}_metacarpal")
    factor(SD_FOREARM_GIRTH, "forearm_girth")
    L = np.array(rows)
    return L.T @ L


# ---------------------------------------------------------------- measures


@dataclass(frozen=True, kw_only=True)
class MeasurePoints:
    """Points of the measures as weights over [vertices, 25 joints], and how they are summed."""

    names: tuple[str, ...]
    weights: np.ndarray
    segments: np.ndarray
    coefficients: np.ndarray

    def lengths(self, verts: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Lengths in metres."""
        p = self.weights @ np.concatenate((verts, joints))
        d = np.linalg.norm(p[self.segments[:, 0]] - p[self.segments[:, 1]], axis=1)
        return self.coefficients @ d


def palm_section(rig: Rig) -> np.ndarray:
    """Convex loop around the knuckles as weights over the vertices, in order around the palm.

    The plane holds the knuckles of index and little finger and the palm's normal, as where ANSUR
    measures hand breadth and circumference (metacarpale II to V).
    """
    a, b = rig.joints[6], rig.joints[21]
    across = unit(np.array([a[0] - b[0], a[1] - b[1], 0]))
    normal = np.array([-across[1], across[0], 0])
    height = (rig.verts - a) @ normal
    palm = rig.weights[:, [0, 5, 10, 15, 20, 6, 11, 16, 21]].sum(1) > 0.5
    edges = np.unique(
        np.sort(np.concatenate([rig.faces[:, [i, j]] for i, j in ((0, 1), (1, 2), (2, 0))]), 1),
        axis=0,
    )
    crossing = (height[edges[:, 0]] * height[edges[:, 1]] < 0) & palm[edges].all(1)
    edges = edges[crossing]
    t = height[edges[:, 0]] / (height[edges[:, 0]] - height[edges[:, 1]])
    W = np.zeros((len(edges), len(rig.verts)))
    W[np.arange(len(edges)), edges[:, 0]] = 1 - t
    W[np.arange(len(edges)), edges[:, 1]] = t
    points = W @ rig.verts
    flat = np.stack((points @ across, points[:, 2]), 1)
    from scipy.spatial import ConvexHull

    return W[ConvexHull(flat).vertices]


CREASE_FRACTION = 0.03
"""Distal wrist crease, as a fraction of the way from the wrist joint to the middle knuckle."""
DIGIT_CREASE_FRACTION = 0.5
"""Crease at the root of the middle finger, as a fraction of its proximal phalanx."""
BONE_NAMES = (
    *("thumb_carpal", "thumb_metacarpal", "thumb_proximal", "thumb_distal"),
    *(f"{f}_{b}" for f in FINGERS[1:] for b in ("metacarpal", "proximal", "middle", "distal")),
)


def measure_points(rig: Rig, tips: list[int]) -> MeasurePoints:
    """All measures of the hand: ANSUR's four, then each finger, then each bone."""
    num_verts = len(rig.verts)
    section = palm_section(rig)
    keypoints = np.zeros((21, num_verts + 25))
    for f in range(5):
        chain = [j for j in range(25) if RIG_FINGER[j] == f and j not in TIP_RIG_JOINTS]
        for k, j in enumerate(chain[-3:]):
            keypoints[1 + 4 * f + k, num_verts + j] = 1
        keypoints[4 + 4 * f, tips[f]] = 1
    keypoints[0, num_verts] = 1
    crease = (1 - CREASE_FRACTION) * keypoints[:1] + CREASE_FRACTION * keypoints[9:10]
    loop = np.pad(section, ((0, 0), (0, 25)))
    x = section @ rig.verts[:, 0]
    first = 22
    right, left = first + int(x.argmax()), first + int(x.argmin())
    weights = np.concatenate((keypoints, crease, loop))
    rows: dict[str, list[tuple[int, int, float]]] = {}
    middle = [(9, 10), (10, 11), (11, 12)]
    rows["hand_length"] = [(21, 9, 1.0), *((a, b, 1.0) for a, b in middle)]
    rows["palm_length"] = [(21, 9, 1.0), (9, 10, DIGIT_CREASE_FRACTION)]
    rows["hand_breadth"] = [(right, left, 1.0)]
    n = len(section)
    rows["hand_circumference"] = [(first + k, first + (k + 1) % n, 1.0) for k in range(n)]
    for f, finger in enumerate(FINGERS):
        base = 1 + 4 * f + (1 if f == 0 else 0)
        rows[f"{finger}_length"] = [(k, k + 1, 1.0) for k in range(base, 4 + 4 * f)]
    for k, name in enumerate(BONE_NAMES):
        end = k + 1
        rows[name] = [(0 if k % 4 == 0 else end - 1, end, 1.0)]
    segments = sorted({(a, b) for row in rows.values() for a, b, _ in row})
    coefficients = np.zeros((len(rows), len(segments)))
    for i, row in enumerate(rows.values()):
        for a, b, c in row:
            coefficients[i, segments.index((a, b))] += c
    return MeasurePoints(
        names=tuple(rows), weights=weights, segments=np.array(segments), coefficients=coefficients
    )


def fingertips(rig: Rig) -> list[int]:
    """The vertex of each fingertip: farthest along the last bone, near its axis."""
    tips = []
    directions = bone_directions(rig.joints)
    for tip in TIP_RIG_JOINTS:
        local = rig.verts - rig.joints[tip]
        along = local @ directions[tip]
        off = np.linalg.norm(local - along[:, None] * directions[tip], axis=1)
        score = along - 0.5 * off - 10.0 * (rig.weights[:, tip - 1] < 0.9)
        tips.append(int(score.argmax()))
    return tips


# ---------------------------------------------------------------- the shape space


def pooled(ansur: dict) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Mean and covariance of ANSUR's first four measures in metres, sexes in equal parts."""
    n = len(MEASURE_NAMES)
    groups = {
        g: (np.array(ansur[g]["mean"][:n]) / 1e3, np.array(ansur[g]["cov"])[:n, :n] / 1e6)
        for g in ("male", "female")
    }
    mean = np.mean([m for m, _ in groups.values()], 0)
    within = np.mean([c for _, c in groups.values()], 0)
    between = np.mean([np.outer(m - mean, m - mean) for m, _ in groups.values()], 0)
    return mean, within + between, groups


def match_mean_hand(rig: Rig, S: np.ndarray, mean: np.ndarray) -> Rig:
    """Stretch the source by the likeliest features until its measures are the population's."""
    dV, dJ = displacement_fields(rig)
    measures = measure_points(rig, fingertips(rig))
    x = np.zeros(len(FEATURES))
    for _ in range(20):
        y = measures.lengths(rig.verts + dV @ x, rig.joints + dJ @ x)[: len(mean)]
        M = measure_jacobian(rig, measures, dV, dJ, x)
        x += S @ M.T @ np.linalg.solve(M @ S @ M.T, mean - y)
    print("features of the mean hand:", dict(zip(FEATURES, x.round(3), strict=True)))
    return Rig(
        verts=rig.verts + dV @ x,
        faces=rig.faces,
        uv=rig.uv,
        faces_uv=rig.faces_uv,
        weights=rig.weights,
        joints=rig.joints + dJ @ x,
    )


def measure_jacobian(rig, measures: MeasurePoints, dV, dJ, x, step=1e-5) -> np.ndarray:
    """Derivative of the four ANSUR measures by the features, by central differences."""
    columns = []
    for k in range(len(x)):
        e = np.zeros(len(x))
        e[k] = step
        up, down = (
            measures.lengths(rig.verts + dV @ v, rig.joints + dJ @ v) for v in (x + e, x - e)
        )
        columns.append((up - down)[: len(MEASURE_NAMES)] / (2 * step))
    return np.stack(columns, 1)


def shape_space(rig: Rig, ansur: dict) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features per beta (features, 16) and the prior's mean and covariance for men and women.

    The first four betas are the principal components of log(ANSUR measures), the first of them
    overall size; each is carried by the likeliest features that cause it. The other twelve are
    the principal components, in millimetres of skin, of what those measures leave free.
    """
    mean, cov, groups = pooled(ansur)
    S = feature_covariance()
    dV, dJ = displacement_fields(rig)
    measures = measure_points(rig, fingertips(rig))
    M = measure_jacobian(rig, measures, dV, dJ, np.zeros(len(FEATURES))) / mean[:, None]
    A = S @ M.T @ np.linalg.inv(M @ S @ M.T)
    log_cov = cov / np.outer(mean, mean)
    values, V = np.linalg.eigh(log_cov)
    values, V = values[::-1], V[:, ::-1]
    V = V * np.sign(V.sum(0))
    print("log-variance of the measures by component:", (values / values.sum()).round(3))
    known = A @ (V * np.sqrt(values))

    free = S - A @ M @ S
    metric = np.einsum("vaf,vag->fg", dV, dV) / len(dV) + np.einsum("jaf,jag->fg", dJ, dJ) / 25
    L = np.linalg.cholesky(metric + 1e-12 * np.eye(len(metric)))
    w, U = np.linalg.eigh(L.T @ free @ L)
    w, U = w[::-1], U[:, ::-1]
    rest = np.linalg.solve(L.T, U[:, : NUM_BETAS - 4] * np.sqrt(w[: NUM_BETAS - 4]))
    rest *= np.sign(rest[np.abs(rest).argmax(0), np.arange(rest.shape[1])])
    print("free variance kept:", (w[: NUM_BETAS - 4].sum() / w.sum()).round(3))
    basis = np.concatenate((known, rest), 1)

    whiten = (V / np.sqrt(values)).T / mean
    priors = {}
    for name, (group_mean, group_cov) in groups.items():
        mu, C = np.zeros(NUM_BETAS), np.eye(NUM_BETAS)
        mu[:4], C[:4, :4] = whiten @ (group_mean - mean), whiten @ group_cov @ whiten.T
        priors[f"prior_{name}_mean"], priors[f"prior_{name}_covariance"] = mu, C
    return basis, priors


def joint_regressor(rig: Rig, basis: np.ndarray) -> np.ndarray:
    """Non-negative weights over nearby vertices that follow each joint through the shape space."""
    dV, dJ = displacement_fields(rig)
    dV, dJ = dV @ basis, dJ @ basis
    rows = np.zeros((16, len(rig.verts)))
    worst = np.zeros(2)
    for k, j in enumerate(KEPT):
        distance = np.linalg.norm(rig.verts - rig.joints[j], axis=1)
        near = np.argsort(distance)[:160]
        system = np.concatenate(
            (rig.verts[near].T, dV[near].reshape(len(near), -1).T, np.ones((1, len(near)))), 0
        )
        target = np.concatenate((rig.joints[j], dJ[j].ravel(), [1.0]))
        scale = np.r_[np.full(3, 1e3), np.full(3 * NUM_BETAS, 1e3), 1e3]
        rows[k, near] = nnls(system * scale[:, None], target * scale)[0]
        rows[k] /= rows[k].sum()
        off = np.abs(rows[k] @ rig.verts - rig.joints[j]).max()
        off_basis = np.abs(np.einsum("v,vak->ak", rows[k], dV) - dJ[j]).max()
        worst = np.maximum(worst, (off, off_basis))
    print("joint regressor: worst error at rest and per beta, mm:", (worst * 1e3).round(3))
    return rows


def palmar_directions(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Bone directions and palmar normals of the 15 finger joints.

    Fingers flex towards the palm; the thumb towards its pad, the normal of its flattened tip.
    """
    directions = bone_directions(rig.joints)[list(KEPT[1:])]
    palmar = np.tile((0.0, 0.0, -1.0), (15, 1))
    tip = rig.verts[rig.weights[:, 3] > 0.9]
    centred = tip - tip.mean(0)
    along = directions[2]
    centred -= np.outer(centred @ along, along)
    normal = np.linalg.svd(centred, full_matrices=False)[2][1]
    towards = 0.5 * rig.joints[11] - rig.joints[3]
    palmar[:3] = normal * np.sign(normal @ towards)
    return directions, palmar


def main() -> None:
    """Build and write the model."""
    from hand_pose_space import pose_space

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="where the npm package is kept")
    parser.add_argument("--ansur", type=Path, required=True, help="ANSUR II statistics, JSON")
    args = parser.parse_args()
    ansur = json.loads(args.ansur.read_text())
    rig = read_glb(fetch_glb(args.cache))
    rig = match_mean_hand(rig, feature_covariance(), pooled(ansur)[0])
    basis, priors = shape_space(rig, ansur)
    dV, dJ = displacement_fields(rig)
    tips = fingertips(rig)
    measures = measure_points(rig, tips)
    skinning = np.zeros((len(rig.verts), 16))
    for j in range(25):
        skinning[:, TO_KEPT[j]] += rig.weights[:, j]
    parents = [-1, *(0 if k % 3 == 1 else k - 1 for k in range(1, 16))]
    regressor = joint_regressor(rig, basis)
    points = np.concatenate((dV, dJ)) @ basis
    arrays = {
        "name": np.array("idhand-open-1"),
        "template": rig.verts,
        "shape_basis": dV @ basis,
        "joint_regressor": regressor,
        "skinning": skinning,
        "parents": np.array(parents),
        "faces": rig.faces,
        "tip_verts": np.array(tips),
        "uv": rig.uv,
        "faces_uv": rig.faces_uv,
        "measure_names": np.array(measures.names),
        "measure_points": measures.weights @ np.concatenate((rig.verts, rig.joints)),
        "measure_basis": np.einsum("pq,qak->pak", measures.weights, points),
        "measure_segments": measures.segments,
        "measure_coefficients": measures.coefficients,
        **pose_space(*palmar_directions(rig)),
        **priors,
    }
    write_npz(DATA / "open_hand.npz", arrays)
    print("written", (DATA / "open_hand.npz").stat().st_size, "bytes;", len(rig.verts), "vertices")


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The same arrays give the same bytes: fixed order, fixed dates, float32."""
    import io
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            kind = {"f": np.float32, "i": np.int32}.get(value.dtype.kind)
            buffer = io.BytesIO()
            np.save(buffer, value.astype(kind) if kind else value, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{key}.npy", (2026, 1, 1, 0, 0, 0)), buffer.getvalue()
            )


if __name__ == "__main__":
    main()
