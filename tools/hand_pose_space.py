"""Degrees of freedom of the open hand: axes, limits and synergies, for `build_hand.py`."""

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")

# Radians relative to the rest pose (fingers straight, slightly spread): mean and deviation over
# everyday poses, then limits. Ranges follow clinical goniometry (American Academy of Orthopaedic
# Surgeons, "Joint Motion: Method of Measuring and Recording", 1965), widened by about 10 degrees
# because the model's joints sit in generic places; the spread is wide on purpose.
FINGER_DOFS = {
    "mcp_flexion": (0.45, 0.60, -0.70, 1.75),
    "mcp_abduction": (0.0, 0.16, -0.50, 0.50),
    "mcp_twist": (0.0, 0.10, -0.30, 0.30),
    "pip_flexion": (0.65, 0.65, -0.20, 2.05),
    "dip_flexion": (0.35, 0.42, -0.35, 1.55),
}
THUMB_DOFS = {
    "cmc_flexion": (0.10, 0.38, -0.90, 1.20),
    "cmc_abduction": (0.05, 0.34, -0.90, 1.00),
    "cmc_twist": (0.0, 0.20, -0.60, 0.60),
    "mcp_flexion": (0.20, 0.36, -0.60, 1.30),
    "mcp_abduction": (0.0, 0.12, -0.40, 0.40),
    "ip_flexion": (0.35, 0.52, -0.80, 1.60),
}
NEIGHBOUR_CORRELATION = {"mcp_flexion": 0.60, "pip_flexion": 0.55, "dip_flexion": 0.40}
"""Between fingers side by side; falls off as a power with the distance."""
DIP_FROM_PIP = 0.75
"""Correlation of the two: the distal joint follows the proximal one (Rijpkema & Girard 1991)."""
SPREAD = (0.9, 0.2, -0.5, -0.9)
"""How the four fingers share the motion of spreading."""
SPREAD_SHARE = 0.6
THUMB_CORRELATION = (("mcp_flexion", "ip_flexion", 0.4), ("cmc_flexion", "mcp_flexion", -0.2))


def dof_names() -> tuple[str, ...]:
    """All degrees of freedom, thumb first, each finger from base to tip."""
    thumb = [f"thumb_{d}" for d in THUMB_DOFS]
    return (*thumb, *(f"{f}_{d}" for f in FINGERS[1:] for d in FINGER_DOFS))


def dof_table() -> np.ndarray:
    """Mean, deviation, lower and upper limit of each: (dofs, 4)."""
    return np.array([*THUMB_DOFS.values(), *(v for _ in FINGERS[1:] for v in FINGER_DOFS.values())])


def dof_joints() -> np.ndarray:
    """Index of the joint (0..15) that each angle turns."""
    part = {"cmc": 0, "mcp": 1, "ip": 2}
    joints = [1 + part[d.split("_")[0]] for d in THUMB_DOFS]
    part = {"mcp": 0, "pip": 1, "dip": 2}
    for f in range(1, 5):
        joints += [1 + 3 * f + part[d.split("_")[0]] for d in FINGER_DOFS]
    return np.array(joints)


def correlation() -> np.ndarray:
    """Synergies between the angles, positive definite."""
    names = dof_names()
    at = {n: k for k, n in enumerate(names)}
    C = np.eye(len(names))

    def put(a: str, b: str, value: float) -> None:
        C[at[a], at[b]] = C[at[b], at[a]] = value

    for i, first in enumerate(FINGERS[1:]):
        for j, second in enumerate(FINGERS[1:]):
            if i == j:
                continue
            for dof, rho in NEIGHBOUR_CORRELATION.items():
                put(f"{first}_{dof}", f"{second}_{dof}", rho ** abs(i - j))
            spread = SPREAD_SHARE * SPREAD[i] * SPREAD[j]
            put(f"{first}_mcp_abduction", f"{second}_mcp_abduction", spread)
            rho = NEIGHBOUR_CORRELATION["pip_flexion"] ** abs(i - j)
            put(f"{first}_pip_flexion", f"{second}_dip_flexion", DIP_FROM_PIP * rho)
        put(f"{first}_pip_flexion", f"{first}_dip_flexion", DIP_FROM_PIP)
        put(f"{first}_mcp_flexion", f"{first}_pip_flexion", 0.25)
    for a, b, rho in THUMB_CORRELATION:
        put(f"thumb_{a}", f"thumb_{b}", rho)
    values, vectors = np.linalg.eigh(C)
    C = (vectors * values.clip(0.02)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(C))
    return C * scale[:, None] * scale


def joint_axes(directions: np.ndarray, palmar: np.ndarray) -> np.ndarray:
    """Flexion, abduction and twist axes of the 15 finger joints: (15, 3 axes, 3).

    Args:
        directions: Unit direction of the bone that starts at each joint, (15, 3).
        palmar: Unit vector each joint flexes towards, (15, 3).
    """
    flexion = np.cross(directions, palmar)
    flexion /= np.linalg.norm(flexion, axis=1, keepdims=True)
    return np.stack((flexion, np.cross(directions, flexion), directions), 1)


def pose_space(directions: np.ndarray, palmar: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of `idhand.hand.PoseSpace`, prefixed by `pose_`."""
    names, table, joints = dof_names(), dof_table(), dof_joints()
    axes = joint_axes(directions, palmar)
    kind = {"flexion": 0, "abduction": 1, "twist": 2}
    axis = np.stack(
        [axes[j - 1, kind[n.rsplit("_", 1)[1]]] for n, j in zip(names, joints, strict=True)]
    )
    covariance = correlation() * table[:, 1:2] * table[:, 1]
    return {
        "pose_names": np.array(names),
        "pose_joint": joints,
        "pose_axis": axis,
        "pose_mean": table[:, 0],
        "pose_covariance": covariance,
        "pose_lower": table[:, 2],
        "pose_upper": table[:, 3],
    }
