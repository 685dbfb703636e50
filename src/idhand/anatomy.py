"""Directions in the hand from its geometry at rest, whatever the rest frame of its model.

They need no names of angles, so they mean the same for every hand model.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import Hand, PoseSpace

_WRIST, _THUMB_IP = 0, 3
_INDEX_MCP, _MIDDLE_MCP, _LITTLE_MCP = 4, 7, 13


def palm_axes(hand: Hand) -> Float[Tensor, "*batch 3 3"]:
    """Rotation from the model's rest frame to the palm's: its rows are the palm's axes.

    Of a right hand, x points across the knuckles to the thumb's side, y from the knuckle of the
    middle finger to the wrist, z out of the back of the hand: so turned, the hand shows its palm
    to a camera at −z with the fingers up. Of a left hand, x points away from the thumb's side.
    """
    joints = hand.rest_joints
    y = _unit(joints[..., _WRIST, :] - joints[..., _MIDDLE_MCP, :])
    across = joints[..., _INDEX_MCP, :] - joints[..., _LITTLE_MCP, :]
    across = across if hand.model.is_right else -across
    x = _unit(across - (across * y).sum(-1, keepdim=True) * y)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -2)


def flexion_axes(hand: Hand, space: PoseSpace) -> Float[Tensor, "*batch 15 3"]:
    """Unit axes that the finger joints of a right hand flex about, in the model's rest frame.

    A finger bends towards the palm: about the axis across its bone and the palm's normal. The thumb
    bends towards its pad, whose direction is that of its last joint: a hinge, whose axis is the one
    that it turns about the most in the pose space.

    Args:
        hand: At rest, a right one.
        space: Of the hand's model.
    """
    tips = hand.rest_verts[..., list(hand.model.tip_verts), :]
    fingers = torch.cat(
        (hand.rest_joints[..., 1:, :].unflatten(-2, (5, 3)), tips[..., None, :]), -2
    )
    bones = _unit(fingers.diff(dim=-2))
    x, _, z = palm_axes(hand).unbind(-2)
    hinge = _main_axis(space, _THUMB_IP).to(bones).expand_as(bones[..., 0, 2, :])
    pad = _unit(torch.linalg.cross(hinge, bones[..., 0, 2, :]))
    facing = (pad * (x + z)).sum(-1, keepdim=True)  # the pad faces the fingers and the palm's side
    pad = torch.where(facing > 0, -pad, pad)
    towards = torch.cat((pad[..., None, :], (-z)[..., None, :].expand_as(bones[..., 1:, 0, :])), -2)
    axes = torch.linalg.cross(bones, towards[..., None, :].expand_as(bones))
    return _unit(axes).flatten(-3, -2)


def _main_axis(space: PoseSpace, joint: int) -> Float[Tensor, " 3"]:
    """The axis that a joint's rotation varies about the most, of either sign."""
    own = space.joint == joint
    axis, covariance = space.axis[own], space.covariance[own][:, own]
    return torch.linalg.eigh(axis.mT @ covariance @ axis)[1][:, -1]


def _unit(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return torch.nn.functional.normalize(vectors, dim=-1)
