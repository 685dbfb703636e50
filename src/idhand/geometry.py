"""Rotations, rigid motions, the pinhole camera, Procrustes. Pure functions, without hands or files.

Camera frame: x right, y down, z forward, metres. Pixels as in OpenCV: the centre of the top-left
pixel is (0, 0).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MIN_DEPTH_M = 1e-3
"""Points nearer than this are projected as if they were this far, so that gradients stay finite."""

DEFAULT_FOV_DEG = 60.0
"""Assumed field of view across the longer image side when nothing is known of the camera."""


def skew(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrix of the cross product: `skew(a) @ b == cross(a, b)`."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).unflatten(-1, (3, 3))


def rotation_from_vector(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a rotation vector (axis times angle in radians), smooth at zero.

    Source: Rodrigues; series below 1e-4 rad keep value and gradient exact to rounding.
    """
    angle2 = (v * v).sum(-1)[..., None, None]
    small = angle2 < 1e-8
    safe2 = torch.where(small, torch.ones_like(angle2), angle2)
    angle = safe2.sqrt()
    a = torch.where(small, 1 - angle2 / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - angle2 / 24, (1 - torch.cos(angle)) / safe2)
    S = skew(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + a * S + b * (S @ S)


def left_jacobian(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Maps a change of the rotation vector to a rotation applied from the left.

    `R(v + d) ≈ R(left_jacobian(v) @ d) @ R(v)`. Source: Chirikjian, "Stochastic Models,
    Information Theory, and Lie Groups", vol. 2, 2012, eq. 10.86.
    """
    angle2 = (v * v).sum(-1)[..., None, None]
    small = angle2 < 1e-6
    safe2 = torch.where(small, torch.ones_like(angle2), angle2)
    angle = safe2.sqrt()
    a = torch.where(small, 0.5 - angle2 / 24, (1 - torch.cos(angle)) / safe2)
    b = torch.where(small, 1 / 6 - angle2 / 120, (angle - torch.sin(angle)) / (safe2 * angle))
    S = skew(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + a * S + b * (S @ S)


def sixd_from_rotation(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two rows of a rotation matrix: its continuous form for networks.

    Source: Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", 2019;
    rows, not columns, as in PyTorch3D.
    """
    return R[..., :2, :].flatten(-2)


def rotation_from_6d(sixd: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation whose first two rows come from these six numbers by Gram-Schmidt.

    Rows of a length below 1e-6 give no rotation but finite numbers and gradients.
    """
    first = F.normalize(sixd[..., :3], dim=-1, eps=1e-6)
    along = (first * sixd[..., 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(sixd[..., 3:] - along, dim=-1, eps=1e-6)
    return torch.stack((first, second, torch.linalg.cross(first, second)), -2)


def rotation_towards(xy: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3 3"]:
    """Smallest rotation that takes the optical axis to the ray through a normalised point."""
    axis = torch.stack((-xy[..., 1], xy[..., 0], torch.zeros_like(xy[..., 0])), -1)
    radius = xy.norm(dim=-1, keepdim=True)
    return rotation_from_vector(axis * torch.atan(radius) / radius.clamp_min(1e-9))


def rotation_angle(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of a rotation matrix in radians, 0..π."""
    cosine = (R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.acos(cosine.clamp(-1, 1))


def intrinsics_from_fov(
    width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG
) -> Float[Tensor, "3 3"]:
    """Pinhole intrinsics with square pixels and a centred principal point.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        fov_deg: Field of view across the longer side, degrees, 0 < fov < 180.

    Raises:
        ValueError: If the field of view is not an angle a pinhole camera can have.
    """
    if not 1.0 <= fov_deg <= 179.0:
        raise ValueError(f"field of view must be between 1 and 179 degrees, got {fov_deg}")
    f = max(width, height) / 2 / math.tan(math.radians(fov_deg) / 2)
    K = [[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]]
    return torch.tensor(K, dtype=torch.float64)


def project(
    points_cam: Float[Tensor, "*#batch points 3"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch points 2"]:
    """Project camera-frame points with a pinhole camera: metres in, pixels out."""
    uvw = torch.einsum("...ij,...nj->...ni", K, points_cam)
    return uvw[..., :2] / uvw[..., 2:].clamp_min(MIN_DEPTH_M)


def back_project(
    points_px: Float[Tensor, "*#batch points 2"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch points 2"]:
    """Pixels → normalised image coordinates x/z, y/z."""
    homogeneous = torch.cat((points_px, torch.ones_like(points_px[..., :1])), -1)
    return torch.einsum("...ij,...nj->...ni", torch.linalg.inv(K), homogeneous)[..., :2]


def procrustes(
    source: Float[Tensor, "*#batch points 3"],
    target: Float[Tensor, "*#batch points 3"],
    weights: Float[Tensor, "*#batch points"] | None = None,
    *,
    with_scale: bool = True,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Similarity (scale, R, t) with `scale * R @ source + t` nearest to the target.

    Source: Umeyama, "Least-squares estimation of transformation parameters", PAMI 1991.
    """
    source, target = torch.broadcast_tensors(source, target)
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    w = (weights / weights.sum(-1, keepdim=True))[..., None]
    mean_s, mean_t = (w * source).sum(-2), (w * target).sum(-2)
    s, t = source - mean_s[..., None, :], target - mean_t[..., None, :]
    U, D, Vh = torch.linalg.svd((w * t).mT @ s)
    sign = torch.det(U @ Vh).sign()
    D = torch.cat((D[..., :2], D[..., 2:] * sign[..., None]), -1)
    flip = torch.ones_like(D)
    flip[..., 2] = sign
    R = U @ (flip[..., None] * Vh)
    scale = D.sum(-1) / (w * s * s).sum((-2, -1)) if with_scale else torch.ones_like(sign)
    moved = torch.einsum("...ij,...j->...i", R, mean_s) * scale[..., None]
    return scale, R, mean_t - moved


def aligned(
    source: Float[Tensor, "*#batch points 3"],
    target: Float[Tensor, "*#batch points 3"],
    *,
    with_scale: bool = True,
) -> Float[Tensor, "*batch points 3"]:
    """The source moved onto the target by `procrustes`."""
    scale, R, t = procrustes(source, target, with_scale=with_scale)
    return scale[..., None, None] * (source @ R.mT) + t[..., None, :]
