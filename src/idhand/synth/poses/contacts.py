"""Bent chains of tapered capsules: where they are, how deep in one another, and how to part them.

Kernels for `idhand.synth.poses.capsules`. Joints, capsules and angles are numbered as there; metres
and radians, the wrist's frame. Needs numba (`pip install 'idhand[synth]'`).
"""

import numpy as np

from idhand.synth.compiled import compiled

NUM_JOINTS = 16
NUM_FINGER_CAPSULES, BALL = 15, 19
"""Capsule k < 15 moves with joint k + 1; 19, the ball of the thumb, half with joint 1; what is left
of it and the others with the wrist."""

RELAXATION = 0.6
"""Share of a correction that is made at once: several often push the same finger."""
MAX_STEP_RAD = 0.15
"""Largest correction of an angle by one contact at once; the chain is linear no farther."""
NUM_ROUNDS = 24
"""After which whatever is not parted stays so."""
CLOSE_ENOUGH_M = 2e-4


@compiled
def chain(angles, dof_joint, dof_axis, rest_joints):
    """Orientation (16, 3, 3) and place (16, 3) of every joint for angles (dofs,)."""
    turns = np.zeros((NUM_JOINTS, 3))
    for d in range(len(angles)):
        for a in range(3):
            turns[dof_joint[d], a] += angles[d] * dof_axis[d, a]
    R, t = np.zeros((NUM_JOINTS, 3, 3)), np.zeros((NUM_JOINTS, 3))
    R[0, 0, 0] = R[0, 1, 1] = R[0, 2, 2] = 1.0
    t[0] = rest_joints[0]
    turn = np.empty((3, 3))
    for j in range(1, NUM_JOINTS):
        parent = 0 if j % 3 == 1 else j - 1
        x, y, z = turns[j, 0], turns[j, 1], turns[j, 2]
        angle = np.sqrt(x * x + y * y + z * z) + 1e-12
        x, y, z = x / angle, y / angle, z / angle
        c, s = np.cos(angle), np.sin(angle)
        k = 1 - c
        turn[0, 0], turn[0, 1], turn[0, 2] = c + k * x * x, k * x * y - s * z, k * x * z + s * y
        turn[1, 0], turn[1, 1], turn[1, 2] = k * x * y + s * z, c + k * y * y, k * y * z - s * x
        turn[2, 0], turn[2, 1], turn[2, 2] = k * x * z - s * y, k * y * z + s * x, c + k * z * z
        for a in range(3):
            t[j, a] = t[parent, a]
            for b in range(3):
                t[j, a] += R[parent, a, b] * (rest_joints[j, b] - rest_joints[parent, b])
                for i in range(3):
                    R[j, a, b] += R[parent, a, i] * turn[i, b]
    return R, t


@compiled
def carried(R, t, rest_joints, ends):
    """Ends (capsules, 2, 3) of capsules at rest → moved with the joints' `chain`."""
    out = np.empty_like(ends)
    for k in range(len(ends)):
        j = k + 1 if k < NUM_FINGER_CAPSULES else 1 if k == BALL else 0
        share = 0.5 if k == BALL else 1.0
        for e in range(2):
            for a in range(3):
                moved = t[j, a]
                for b in range(3):
                    moved += R[j, a, b] * (ends[k, e, b] - rest_joints[j, b])
                out[k, e, a] = share * moved + (1 - share) * ends[k, e, a]
    return out


@compiled
def contact(ends, radii_m, i, j):
    """Depth of capsules i and j in one another, and the shares along both where they are nearest.

    Closest points of two segments as in Ericson, "Real-Time Collision Detection", 2005, 5.1.9; the
    radii there are those of the axes' points, exact up to the square of the taper.
    """
    a = b = c = e = f = 0.0
    for x in range(3):
        u, v = ends[i, 1, x] - ends[i, 0, x], ends[j, 1, x] - ends[j, 0, x]
        w = ends[i, 0, x] - ends[j, 0, x]
        a += u * u
        b += u * v
        c += u * w
        e += v * v
        f += v * w
    wide = a * e - b * b
    s = min(max((b * f - c * e) / wide, 0.0), 1.0) if wide > 1e-12 * a * e else 0.0
    t = (b * s + f) / e
    if t < 0.0:
        t, s = 0.0, min(max(-c / a, 0.0), 1.0)
    elif t > 1.0:
        t, s = 1.0, min(max((b - c) / a, 0.0), 1.0)
    square = 0.0
    for x in range(3):
        p = ends[i, 0, x] + s * (ends[i, 1, x] - ends[i, 0, x])
        square += (p - ends[j, 0, x] - t * (ends[j, 1, x] - ends[j, 0, x])) ** 2
    first_m = radii_m[i, 0] + s * (radii_m[i, 1] - radii_m[i, 0])
    second_m = radii_m[j, 0] + t * (radii_m[j, 1] - radii_m[j, 0])
    return first_m + second_m - np.sqrt(square), s, t


@compiled
def depths(ends, radii_m, pairs):
    """How deep each of pairs (pairs, 2) is in one another; negative is apart."""
    depths_m = np.empty(len(pairs))
    for n in range(len(pairs)):
        depths_m[n] = contact(ends, radii_m, pairs[n, 0], pairs[n, 1])[0]
    return depths_m


@compiled
def deepest(path, dof_joint, dof_axis, rest_joints, ends, radii_m, pairs):
    """Largest of the depths, from 0, in any pose of a path (poses, dofs)."""
    most_m = 0.0
    for angles in path:
        R, t = chain(angles, dof_joint, dof_axis, rest_joints)
        most_m = max(most_m, depths(carried(R, t, rest_joints, ends), radii_m, pairs).max())
    return most_m


@compiled
def _add_slope(slope, sign, point, capsule, normal, R, t, dof_joint, dof_axis):
    """Add to slope (dofs,) how a capsule's point moves along a normal with each angle."""
    if capsule == BALL:
        capsule, sign = 0, 0.5 * sign
    if capsule >= NUM_FINGER_CAPSULES:
        return
    axis, arm = np.empty(3), np.empty(3)
    for d in range(len(slope)):
        j = dof_joint[d]
        if (j - 1) // 3 != capsule // 3 or j > capsule + 1:
            continue
        parent = 0 if j % 3 == 1 else j - 1
        for a in range(3):
            arm[a] = point[a] - t[j, a]
            axis[a] = 0.0
            for b in range(3):
                axis[a] += R[parent, a, b] * dof_axis[d, b]
        slope[d] += sign * (
            normal[0] * (axis[1] * arm[2] - axis[2] * arm[1])
            + normal[1] * (axis[2] * arm[0] - axis[0] * arm[2])
            + normal[2] * (axis[0] * arm[1] - axis[1] * arm[0])
        )


@compiled
def _part(angles, excess_m, i, j, s, t_, ends, R, t, dof_joint, dof_axis, compliance):
    """Turn the joints of two capsules, the yielding ones most, to lessen their depth by excess."""
    first, second, normal = np.empty(3), np.empty(3), np.empty(3)
    square = 1e-18
    for a in range(3):
        first[a] = ends[i, 0, a] + s * (ends[i, 1, a] - ends[i, 0, a])
        second[a] = ends[j, 0, a] + t_ * (ends[j, 1, a] - ends[j, 0, a])
        square += (first[a] - second[a]) ** 2
    for a in range(3):
        normal[a] = (first[a] - second[a]) / np.sqrt(square)
    slope = np.zeros(len(angles))
    _add_slope(slope, 1.0, first, i, normal, R, t, dof_joint, dof_axis)
    _add_slope(slope, -1.0, second, j, normal, R, t, dof_joint, dof_axis)
    yielding = 1e-12
    for d in range(len(angles)):
        yielding += slope[d] * slope[d] * compliance[d]
    for d in range(len(angles)):
        step = RELAXATION * excess_m * compliance[d] * slope[d] / yielding
        angles[d] += min(max(step, -MAX_STEP_RAD), MAX_STEP_RAD)


@compiled
def settle(
    angles, dof_joint, dof_axis, rest_joints, ends, radii_m, pairs, touches, targets_m,
    compliance, lower, upper,
):  # fmt: skip
    """Part what is too deep and close what should touch, contact by contact, changing little.

    Position-based dynamics (Müller et al. 2007) in joint angles: a contact's correction goes along
    its gradient, each angle (dofs,) in proportion to its compliance, within lower and upper. The
    targets are the depth that pairs may have, and the depth that touches shall have.
    """
    angles = angles.copy()
    for _ in range(NUM_ROUNDS):
        for d in range(len(angles)):
            angles[d] = min(max(angles[d], lower[d]), upper[d])
        R, t = chain(angles, dof_joint, dof_axis, rest_joints)
        placed = carried(R, t, rest_joints, ends)
        error_m = 0.0
        for n in range(len(pairs) + len(touches)):
            is_touch = n >= len(pairs)
            i, j = touches[n - len(pairs)] if is_touch else pairs[n]
            depth_m, s, t_ = contact(placed, radii_m, i, j)
            excess_m = depth_m - targets_m[1 if is_touch else 0]
            if excess_m > 0.0 or is_touch:
                error_m = max(error_m, abs(excess_m))
                _part(
                    angles, excess_m, i, j, s, t_, placed, R, t, dof_joint, dof_axis, compliance
                )  # fmt: skip
        if error_m < CLOSE_ENOUGH_M:
            break
    for d in range(len(angles)):
        angles[d] = min(max(angles[d], lower[d]), upper[d])
    return angles
