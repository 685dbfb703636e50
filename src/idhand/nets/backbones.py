"""Image → feature vector: residual networks, or the shipped hand net, as it is or to train on."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idhand.assets.nets import GraphNet, NetName, load_net, net_sha256
from idhand.nets.resnet import RESNETS, ResNet, ResNetName

HandBackboneName = Literal["hand_full", "hand_lite", "hand_studio"]
BackboneName = ResNetName | HandBackboneName
HAND_NETS: dict[HandBackboneName, NetName] = {
    "hand_full": "hand_landmark_full",
    "hand_lite": "hand_landmark_lite",
    "hand_studio": "hand_studio",
}
"""Backbone → shipped net. `hand_studio` is the full one, trained on by `idhand train backbone`."""
BACKBONES: tuple[BackboneName, ...] = (*RESNETS, *HAND_NETS)

CROP_SIDE_PX = 224
WORLD_SCALE = 10.0
"""World points in tenths of a metre: about −1..1, like the other features."""


class HandBackbone(nn.Module):
    """The shipped hand net: its image features and its outputs, as one vector.

    Features, in order: the pooled vector (1152 of the full net, 672 of the lite one); the landmarks
    x, y, z in parts of the crop's side, x and y from its centre; the world points times ten; the
    logit of the hand's presence.

    Args:
        name: Which one.
        is_trained: Its weights are this module's own, to be trained. If not, they are part of the
            package: neither parameters nor in the state dict.
    """

    def __init__(self, name: HandBackboneName, *, is_trained: bool = False):
        super().__init__()
        net = load_net(HAND_NETS[name])
        self.name: HandBackboneName = name
        self.is_trained = is_trained
        self._pooled = _pooled_name(net)
        # In a tuple a frozen net is not a submodule, so it is neither saved nor trained.
        self._frozen: tuple[GraphNet, ...] = ()
        if is_trained:
            net.requires_grad_(True).without_gradient("handedness")  # it is not a feature
            self.net = net
        else:
            self._frozen = (net.eval().requires_grad_(False),)
        self.num_pooled = len(net.weights[_reader_of(net, self._pooled)["weight"]][0])
        self.num_features = self.num_pooled + 63 + 63 + 1

    @property
    def graph(self) -> GraphNet:
        """The net itself."""
        return self._frozen[0] if self._frozen else self.net

    @property
    def predicts_keypoints(self) -> bool:
        """Its landmarks are the 21 keypoints; those of the original nets are other points."""
        return self.is_trained or self.name == "hand_studio"

    @property
    def label(self) -> str:
        """Name and weights: features of nets with the same label are the same."""
        if not self.is_trained:
            return f"{self.name}-{net_sha256(HAND_NETS[self.name])[:12]}"
        digest = hashlib.sha256()
        for weight in self.graph.weights.values():
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:12]}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HandBackbone":
        """Move or cast the hidden net with the module."""
        for net in self._frozen:
            net._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(
        self, images01: Float[Tensor, "batch 3 224 224"]
    ) -> Float[Tensor, "batch features"]:
        """Features of RGB crops 0..1; of a frozen net without gradients and in full precision."""
        if self.is_trained:
            return self._features(images01)
        with torch.no_grad(), torch.autocast(images01.device.type, enabled=False):
            return self._features(images01)

    def _features(self, images01: Tensor) -> Tensor:
        return self._vector(self.graph(images01, features=[self._pooled]))

    def _vector(self, out: Mapping[str, Tensor]) -> Tensor:
        landmarks = out["landmarks"].unflatten(1, (21, 3)) / CROP_SIDE_PX
        landmarks = landmarks - landmarks.new_tensor([0.5, 0.5, 0.0])
        presence = torch.logit(out["presence"], eps=1e-6)
        parts = (out[self._pooled], landmarks.flatten(1), WORLD_SCALE * out["world"], presence)
        return torch.cat(parts, 1)

    def with_maps(
        self, images01: Float[Tensor, "batch 3 224 224"], sides: Sequence[int]
    ) -> tuple[Float[Tensor, "batch features"], list[Tensor]]:
        """Features of RGB crops, and a frozen net's last maps of so many cells a side."""
        assert not self.is_trained
        names = [self._last_maps[side] for side in sides]
        with torch.no_grad(), torch.autocast(images01.device.type, enabled=False):
            out = self.graph(images01, features=[self._pooled, *names])
        return self._vector(out), [out[name] for name in names]

    def map_channels(self, sides: Sequence[int]) -> list[int]:
        """Channels of these maps."""
        _, maps = self.with_maps(torch.zeros(1, 3, *self.graph.input_size), sides)
        return [x.shape[1] for x in maps]

    @cached_property
    def _last_maps(self) -> dict[int, str]:
        """The last sum with a shortcut of each resolution, by cells per side."""
        net = self.graph
        sums = [node["output"] for node in net.nodes if node["op"] == "add"]
        with torch.no_grad():
            maps = net(torch.zeros(1, 3, *net.input_size), features=sums)
        return {maps[name].shape[-1]: name for name in sums}

    def landmarks_px(
        self, features: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch 21 2"]:
        """The net's own landmarks in the crop, see `predicts_keypoints`."""
        xyz = features[:, self.num_pooled : self.num_pooled + 63].unflatten(1, (21, 3))
        return (xyz[..., :2] + 0.5) * CROP_SIDE_PX


def _pooled_name(net: GraphNet) -> str:
    """The graph's one global mean."""
    names = [node["output"] for node in net.nodes if node["op"] == "mean"]
    assert len(names) == 1
    return names[0]


def _reader_of(net: GraphNet, value: str) -> dict[str, Any]:
    """A node that the value goes into."""
    return next(node for node in net.nodes if value in node["inputs"])


def build_backbone(name: BackboneName, *, tune: bool = False) -> "ResNet | HandBackbone":
    """The backbone of that name.

    Args:
        name: Residual networks start from random weights and are always trained.
        tune: Also train a hand net.
    """
    match name:
        case "hand_full" | "hand_lite" | "hand_studio":
            return HandBackbone(name, is_trained=tune)
        case "resnet18" | "resnet34" | "resnet50":
            return ResNet(name)
