"""Linear blend skinning and its derivative, fast on a CPU. Pure functions, without a hand model."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SKINNING_CHUNK = 32
"""Hands skinned at a time: their blended transforms stay in the processor's cache."""


def as_planes(points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch planes"]:
    """All x, then all y, then all z."""
    return points.mT.flatten(-2)


def _blended(
    transforms: Float[Tensor, "batch 12 joints"],
    planes: Float[Tensor, "batch 3 verts"],
    skinning: Float[Tensor, "verts joints"],
) -> Float[Tensor, "batch 3 verts"]:
    """Linear blend skinning in plain operations: the oracle of `_Skinning`."""
    A = (transforms @ skinning.mT).unflatten(-2, (3, 4))
    return (A[:, :, :3] * planes[:, None]).sum(2) + A[:, :, 3]


def skinned(
    transforms: Float[Tensor, "batch 12 joints"],
    planes: Float[Tensor, "batch 3 verts"],
    skinning: Float[Tensor, "verts joints"],
) -> Float[Tensor, "batch 3 verts"]:
    """Skinned points as planes of x, y and z.

    Args:
        transforms: Rows of each joint's 3×4 transform, camera from rest.
        planes: Points at rest.
        skinning: Weights; rows sum to one.
    """
    return _Skinning.apply(transforms, planes, skinning)  # pyright: ignore[reportReturnType]


class _Skinning(torch.autograd.Function):
    """`_blended` and its derivative, a few hands at a time.

    The blended transforms are four times as large as the mesh; made for the whole batch they go
    through the main memory again and again. Here they stay in the cache and are made anew for the
    gradient: about three times as fast.
    """

    @staticmethod
    def forward(ctx: Any, transforms: Tensor, planes: Tensor, skinning: Tensor) -> Tensor:
        ctx.save_for_backward(transforms, planes, skinning)
        out = torch.empty_like(planes, memory_format=torch.contiguous_format)
        weights, buffer = skinning.mT.contiguous(), _buffer(transforms, skinning)
        for i in range(0, len(out), SKINNING_CHUNK):
            some = slice(i, i + SKINNING_CHUNK)
            A = _blend(transforms[some], weights, buffer)
            x, y, z = planes[some, None].unbind(2)
            torch.addcmul(A[:, :, 3], A[:, :, 0], x, out=out[some])
            out[some].addcmul_(A[:, :, 1], y).addcmul_(A[:, :, 2], z)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        transforms, planes, skinning = ctx.saved_tensors
        if torch.is_grad_enabled() or ctx.needs_input_grad[2]:  # of higher order, or of the weights
            inputs = tuple(
                x for x, w in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True) if w
            )
            with torch.enable_grad():
                out = _blended(transforms, planes, skinning)
            found = iter(
                torch.autograd.grad(out, inputs, gradients, create_graph=torch.is_grad_enabled())
            )
            return tuple(next(found) if wanted else None for wanted in ctx.needs_input_grad)
        slope = gradients[0].contiguous()
        to_planes = torch.empty_like(planes, memory_format=torch.contiguous_format)
        to_transforms = torch.empty_like(transforms, memory_format=torch.contiguous_format)
        weights, buffer = skinning.mT.contiguous(), _buffer(transforms, skinning)
        for i in range(0, len(slope), SKINNING_CHUNK):
            some = slice(i, i + SKINNING_CHUNK)
            g = slope[some]
            A = _blend(transforms[some], weights, buffer)
            if ctx.needs_input_grad[1]:
                x, y, z = g[:, :, None].unbind(1)
                torch.mul(A[:, 0, :3], x, out=to_planes[some])
                to_planes[some].addcmul_(A[:, 1, :3], y).addcmul_(A[:, 2, :3], z)
            torch.mul(g[:, :, None], planes[some, None], out=A[:, :, :3])
            A[:, :, 3] = g
            rows = to_transforms[some].flatten(0, 1)
            torch.mm(A.flatten(0, 2), skinning, out=rows)
        return to_transforms, to_planes if ctx.needs_input_grad[1] else None, None


def _buffer(transforms: Tensor, skinning: Tensor) -> Float[Tensor, "rows verts"]:
    """Room for the blended transforms of one chunk."""
    return transforms.new_empty(min(len(transforms), SKINNING_CHUNK) * 12, len(skinning))


def _blend(transforms: Tensor, weights: Tensor, buffer: Tensor) -> Float[Tensor, "chunk 3 4 verts"]:
    """Each vertex's transform, written into the buffer."""
    rows = buffer[: 12 * len(transforms)]
    return torch.mm(transforms.flatten(0, 1), weights, out=rows).view(-1, 3, 4, weights.shape[1])
