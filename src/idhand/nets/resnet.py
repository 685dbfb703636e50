"""Residual networks with torchvision's parameter names, so that its files load unchanged.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; version 1.5, which
strides in the 3×3 convolution of a bottleneck.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # raised by torch.load; nothing is unpickled
from typing import Literal, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from idhand.files import existing_file

ResNetName = Literal["resnet18", "resnet34", "resnet50"]
RESNETS: tuple[ResNetName, ...] = get_args(ResNetName)
DEPTHS: Mapping[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
NUM_CLASSES = 1000


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        """Features after the block."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch out h2 w2"]:
        """Features after the block."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def residual_layers(
    name: ResNetName, inputs: int = 64
) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential, nn.Sequential]:
    """The four layers between the stem and the pooling."""
    block = Bottleneck if name == "resnet50" else BasicBlock
    layers: list[nn.Sequential] = []
    for k, depth in enumerate(DEPTHS[name]):
        width, stride = 64 << k, 1 if k == 0 else 2
        outputs = width * block.expansion
        shortcut = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        first = block(inputs, width, stride, shortcut)
        rest = (block(outputs, width, 1, None) for _ in range(depth - 1))
        layers.append(nn.Sequential(first, *rest))
        inputs = outputs
    a, b, c, d = layers
    return a, b, c, d


def he_initialised(module: nn.Module) -> None:
    """Convolutions for ReLU networks, as torchvision starts them."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """Image → 1000 class scores, which are the features that the paper's heads read."""

    num_features = NUM_CLASSES

    def __init__(self, name: ResNetName):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = residual_layers(name)
        last = self.layer4[-1]
        assert isinstance(last, BasicBlock | Bottleneck)
        self.fc = nn.Linear(512 * last.expansion, NUM_CLASSES)
        he_initialised(self)

    def forward(
        self, images01: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Scores of RGB images 0..1, which are normalised to −1..1 here, as in the paper."""
        x = torch.relu(self.bn1(self.conv1((images01 - 0.5) / 0.5)))
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


def load_imagenet(net: nn.Module, path: Path, *, without: Sequence[str] = ()) -> None:
    """Fill a residual network from a user's ImageNet file (`.pth` or `.safetensors`).

    Args:
        net: A module with torchvision's names, of the file's depth.
        path: E.g. `resnet50-19c8e357.pth`, downloaded from torchvision.
        without: First parts of names that the network lacks and the file may have.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no tensors, or those of another network.
    """
    state = {
        name: value
        for name, value in _tensors(existing_file(path)).items()
        if not name.startswith(tuple(without))
    }
    wanted = {k: v.shape for k, v in net.state_dict().items() if "num_batches" not in k}
    found = {k: v.shape for k, v in state.items() if "num_batches" not in k}
    if wanted != found:
        odd = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise ValueError(
            f"{path} is not of this residual network: {len(odd)} of its tensors differ in name or "
            f"shape, the first is {odd[0]}; name the torchvision file of the same depth"
        )
    net.load_state_dict(state, strict=False)  # files before torch 0.4 lack num_batches_tracked


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(
            f"{path} cannot be read as network weights; it is damaged, half-written or holds more "
            "than tensors: download it again"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ValueError(f"{path} is not a table of named tensors; name a state dict's file")
    return state
