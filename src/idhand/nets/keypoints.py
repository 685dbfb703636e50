"""Where a hand's keypoints are in its crop, how sure that is, what is seen, and the hand's size.

A spatial decoder on the maps of a frozen hand net. Every output that is a number comes with its
deviation, trained by likelihood: points that are hidden are not drawn together, they are unsure.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from idhand.nets.backbones import HandBackbone, HandBackboneName
from idhand.nets.layers import Mlp, Standardise

NUM_KEYPOINTS = 21
MAP_SIDES = (7, 14, 28, 56)
"""Cells per side of the hand net's maps that the decoder reads, coarse to fine."""
NUM_PARTS = 19
"""Values of `Sample.parts` but that of a hand without parts."""
KNUCKLE = 9
"""The middle finger's: its depth is the hand's."""
MIN_STD = 1e-3
"""Of a keypoint, in sides of the crop: 0.2 px."""
MIN_DIRECTION_STD = 0.01
MIN_LOG_STD = 5e-3
"""Of the logarithm of the hand's size."""
POINT_OUTPUTS = 10


@dataclass(frozen=True, kw_only=True)
class KeypointConfig:
    """What the network is made of.

    Raises:
        ValueError: If there is no such backbone, or a width is none.
    """

    backbone: HandBackboneName = "hand_studio"
    """The frozen hand net whose maps are read."""
    widths: tuple[int, int, int] = (64, 48, 24)
    """Channels of the decoder's maps of 14, 28 and 56 cells a side."""
    image_width: int = 192
    """Of the vector that stands for the whole crop."""
    point_width: int = 16
    """Of the learned vector that tells a keypoint from the others."""
    hidden: tuple[int, ...] = (160, 96)
    """Of the layers that make a keypoint's numbers."""
    size_hidden: tuple[int, ...] = (128, 64)
    """Of those that make the hand's size."""

    def __post_init__(self):
        if self.backbone not in get_args(HandBackboneName):
            known = ", ".join(get_args(HandBackboneName))
            raise ValueError(f"backbone must be one of {known}; got '{self.backbone}'")
        widths = (*self.widths, self.image_width, self.point_width, *self.hidden, *self.size_hidden)
        if len(self.widths) != len(MAP_SIDES) - 1 or min(widths) < 1:
            raise ValueError(f"there are three widths of maps, and all are 1 or more; got {self}")

    def build(self) -> "KeypointNet":
        """The network with fresh weights, from torch's random state."""
        return KeypointNet(self)


@dataclass(frozen=True, kw_only=True)
class KeypointEstimate:
    """Of a batch of crops of right hands; lengths in the picture in sides of the crop, 0..1."""

    points: Float[Tensor, "batch 21 2"]
    """From the crop's top-left corner; may lie outside."""
    root_cov: Float[Tensor, "batch 21 2 2"]
    """Lower triangular, times its transpose the scale of the points' distribution: a covariance
    with tails, see `student_nll`."""
    directions: Float[Tensor, "batch 20 3"]
    """From each keypoint's parent to it in the view, of about unit length."""
    directions_std: Float[Tensor, "batch 20"]
    """Per axis."""
    visible: Float[Tensor, "batch 21"]
    """Logit of the probability that the keypoint is visible, see `Sample.visible`."""
    log_size: Float[Tensor, " batch"]
    """Logarithm of the hand's length at the middle knuckle's depth, were it flat."""
    log_size_std: Float[Tensor, " batch"]
    heat: Float[Tensor, "batch 21 56 56"]
    """Logits of where each keypoint is."""
    parts: Float[Tensor, "batch 19 56 56"]
    """Logits of `Sample.parts`."""


class KeypointNet(nn.Module):
    """Crop of a right hand → `KeypointEstimate`."""

    grid: Tensor

    def __init__(self, config: KeypointConfig | None = None):
        super().__init__()
        self.config = config or KeypointConfig()
        self.backbone = HandBackbone(self.config.backbone)
        self.channels = tuple(self.backbone.map_channels(MAP_SIDES))
        widths = (self.config.widths[0], *self.config.widths)
        self.entries = nn.ModuleList(
            nn.Conv2d(inputs, width, 1) for inputs, width in zip(self.channels, widths, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.Conv2d(a, b, 1) if a != b else nn.Identity() for a, b in pairwise(widths)
        )
        self.blocks = nn.ModuleList(_Block(width) for width in widths[1:])
        self.heat_coarse = nn.Conv2d(widths[2], NUM_KEYPOINTS, 1)
        self.heat_fine = nn.Conv2d(widths[3], NUM_KEYPOINTS, 1)
        self.parts = nn.Conv2d(widths[3], NUM_PARTS, 1)
        image = self.config.image_width
        self.image = nn.Sequential(
            Standardise(self.backbone.num_features),
            nn.Linear(self.backbone.num_features, image),
            nn.ReLU(),
        )
        self.names = nn.Parameter(0.1 * torch.randn(NUM_KEYPOINTS, self.config.point_width))
        looked_at = sum(widths[1:]) + 5 + image + self.config.point_width
        self.point = Mlp((looked_at, *self.config.hidden, POINT_OUTPUTS))
        self.size = Mlp((image + widths[1] + 9 * NUM_KEYPOINTS, *self.config.size_hidden, 2))
        self._begin()
        side = MAP_SIDES[-1]
        cells = (torch.arange(side) + 0.5) / side
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        # Not persistent: it follows from the maps' sides.
        self.register_buffer("grid", torch.stack((x, y)).flatten(1), persistent=False)
        # As the hand net's maps are; faster on a CPU.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _begin(self) -> None:
        """Untrained, the numbers are plausible: points where the heat is, wide deviations."""
        softplus_inverse = math.log(math.expm1(0.03))
        bias = torch.zeros(POINT_OUTPUTS)
        bias[2] = bias[4] = softplus_inverse
        bias[9] = math.log(math.expm1(0.3))
        self.point.shrink_last(bias)
        self.size.shrink_last(torch.tensor([math.log(0.8), math.log(math.expm1(0.2))]))

    @cached_property
    def label(self) -> str:
        """Hash of the weights: networks with the same label see the same."""
        digest = hashlib.sha256(self.backbone.label.encode())
        for _, weight in sorted(self.state_dict().items()):
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def measure(self, features: Float[Tensor, "samples features"]) -> None:
        """Set the scale of the crop's vector from typical features; once, before training."""
        standardise = self.image[0]
        assert isinstance(standardise, Standardise)
        standardise.measure(features)

    def forward(self, images01: Float[Tensor, "batch 3 224 224"]) -> KeypointEstimate:
        """Estimate from RGB crops of right hands, 0..1."""
        features, maps = self.backbone.with_maps(images01, MAP_SIDES)
        return self.from_maps(features, maps)

    def flat(self, images01: Float[Tensor, "batch 3 224 224"]) -> Float[Tensor, "batch numbers"]:
        """The hand net's features and maps as one vector, to be kept for training."""
        features, maps = self.backbone.with_maps(images01, MAP_SIDES)
        return torch.cat((features, *(x.flatten(1) for x in maps)), 1)

    def from_flat(self, numbers: Float[Tensor, "batch numbers"]) -> KeypointEstimate:
        """Estimate from what `flat` gave."""
        channels = self.channels
        sizes = [self.backbone.num_features]
        sizes += [n * side**2 for n, side in zip(channels, MAP_SIDES, strict=True)]
        features, *flat = numbers.split(sizes, 1)
        maps = [
            x.unflatten(1, (-1, side, side)).contiguous(memory_format=torch.channels_last)
            for x, side in zip(flat, MAP_SIDES, strict=True)
        ]
        return self.from_maps(features, maps)

    def from_maps(
        self, features: Float[Tensor, "batch features"], maps: list[Tensor]
    ) -> KeypointEstimate:
        """Estimate from the hand net's features and maps, coarse to fine."""
        x = self.entries[0](maps[0])
        levels = []
        for entry, up, block, seen in zip(
            self.entries[1:], self.ups, self.blocks, maps[1:], strict=True
        ):
            wider = F.interpolate(up(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = block(entry(seen) + wider)
            levels.append(x)
        coarse, middle, fine = levels
        heat = self.heat_fine(fine) + F.interpolate(
            self.heat_coarse(middle), scale_factor=2, mode="bilinear", align_corners=False
        )
        image = self.image(features)
        return self._estimate(image, coarse, middle, fine, heat)

    def _estimate(
        self, image: Tensor, coarse: Tensor, middle: Tensor, fine: Tensor, heat: Tensor
    ) -> KeypointEstimate:
        share = heat.flatten(2).softmax(-1)
        at = share @ self.grid.T
        square = torch.stack((self.grid[0] ** 2, self.grid[1] ** 2, self.grid[0] * self.grid[1]), 1)
        moments = share @ square
        spread = moments - torch.stack((at[..., 0] ** 2, at[..., 1] ** 2, at.prod(-1)), -1)
        where = share.unflatten(2, fine.shape[-2:])
        looks = [share @ fine.flatten(2).mT]
        for level in (middle, coarse):
            where = 4 * F.avg_pool2d(where, 2)
            looks.append(where.flatten(2) @ level.flatten(2).mT)
        of_all = image[:, None].expand(-1, NUM_KEYPOINTS, -1)
        names = self.names.expand(len(image), -1, -1)
        out = self.point(torch.cat((*looks, at - 0.5, 100 * spread, of_all, names), -1))
        points = at + 0.1 * out[..., :2]
        a, b = F.softplus(out[..., 2]) + MIN_STD, F.softplus(out[..., 4]) + MIN_STD
        root = torch.stack((a, torch.zeros_like(a), 0.1 * out[..., 3], b), -1).unflatten(-1, (2, 2))
        directions_std = F.softplus(out[..., 9]) + MIN_DIRECTION_STD
        deviations = torch.stack((10 * a, 10 * b, out[..., 5], directions_std), -1)
        told = torch.cat((points - 0.5, deviations, out[..., 6:9]), -1)
        size = self.size(torch.cat((image, coarse.mean((2, 3)), told.flatten(1)), 1))
        return KeypointEstimate(
            points=points,
            root_cov=root,
            directions=out[:, 1:, 6:9],
            directions_std=directions_std[:, 1:],
            visible=out[..., 5],
            log_size=size[:, 0],
            log_size_std=F.softplus(size[:, 1]) + MIN_LOG_STD,
            heat=heat,
            parts=self.parts(fine),
        )


class _Block(nn.Module):
    """Two convolutions about a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """Features of the same size."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))
