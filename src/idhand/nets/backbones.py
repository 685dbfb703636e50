"""Image → feature vector: residual networks to train, or the shipped hand net as it is."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idhand.assets.nets import GraphNet, load_net
from idhand.nets.resnet import ResNet

BackboneName = Literal["resnet18", "resnet34", "resnet50", "hand_full", "hand_lite"]
BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)

CROP_SIDE_PX = 224
WORLD_SCALE = 10.0
"""World points in tenths of a metre: about −1..1, like the other features."""


class HandBackbone(nn.Module):
    """The shipped hand net, never trained: what it sees and what it says of it, as one vector.

    Features, in order: the pooled vector (1152 of the full net, 672 of the lite one); the landmarks
    x, y, z in parts of the crop's side, x and y from its centre; the world points times ten; the
    logit of the hand's presence.

    The net's weights are part of the package: they are neither parameters nor in the state dict.
    """

    def __init__(self, name: Literal["hand_full", "hand_lite"]):
        super().__init__()
        net = load_net("hand_landmark_full" if name == "hand_full" else "hand_landmark_lite")
        # In a tuple, so that it is no submodule: not saved, not trained.
        self._net = (net.eval().requires_grad_(False),)
        self._pooled = _pooled_name(net)
        self.num_features = (1152 if name == "hand_full" else 672) + 63 + 63 + 1

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HandBackbone":
        """Move or cast the hidden net with the module."""
        self._net[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def forward(
        self, images01: Float[Tensor, "batch 3 224 224"]
    ) -> Float[Tensor, "batch features"]:
        """Features of RGB crops 0..1, without gradients and in full precision."""
        with torch.autocast(images01.device.type, enabled=False):
            out = self._net[0](images01, features=[self._pooled])
        landmarks = out["landmarks"].unflatten(1, (21, 3)) / CROP_SIDE_PX
        landmarks = landmarks - landmarks.new_tensor([0.5, 0.5, 0.0])
        presence = torch.logit(out["presence"], eps=1e-6)
        parts = (out[self._pooled], landmarks.flatten(1), WORLD_SCALE * out["world"], presence)
        return torch.cat(parts, 1)


def _pooled_name(net: GraphNet) -> str:
    """The graph's one global mean."""
    names = [node["output"] for node in net.nodes if node["op"] == "mean"]
    assert len(names) == 1
    return names[0]


def build_backbone(name: BackboneName) -> "ResNet | HandBackbone":
    """The backbone of that name; residual networks start from random weights."""
    match name:
        case "hand_full" | "hand_lite":
            return HandBackbone(name)
        case "resnet18" | "resnet34" | "resnet50":
            return ResNet(name)
