"""Build the open hand: WebXR's generic hand (MIT) with an identity space made from ANSUR II.

    python tools/build_hand.py --cache DIR --ansur ansur_hand.json

Reads `profiles/generic-hand/right.glb` from npm @webxr-input-profiles/assets 1.0.20 (fetched into
the cache once) and writes `src/idhand/assets/data/open_hand.npz` and the licence beside it.
"""

import argparse
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from hand_measures import MEASURE_NAMES, MeasurePoints, fingertips, measure_points
from hand_pose_space import pose_space
from hand_rig import (
    DATA,
    FINGERS,
    KEPT,
    RIG_FINGER,
    RIG_PARENTS,
    TO_KEPT,
    Rig,
    bone_directions,
    fetch_glb,
    read_glb,
)
from scipy.optimize import nnls

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
