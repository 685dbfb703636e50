"""The 2D network: crop → 21 heatmaps in three stages → keypoints with confidences.

Source: the 2D part of CMR (Chen et al., "Camera-Space Hand Mesh Recovery via Semantic Aggregation
and Adaptive 2D-1D Registration", CVPR 2021) as Kong et al. (ECCV 2022) use it;
docs/method.md, section 7. Heatmaps have 112 cells over a crop of 224 px.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from idhand.nets.resnet import he_initialised, residual_layers

NUM_KEYPOINTS = 21
TIPS = (4, 8, 12, 16, 20)
TIP_PAIRS = tuple(combinations(TIPS, 2))
SIGMA_PX = 3.5
KERNEL_RADIUS_PX = 6
"""The target's Gaussian is cut to 13×13 px of the crop."""
STAGE_WEIGHT = 10.0
STEM_CHANNELS = 64

Decoding = Literal["argmax", "taylor"]
HeatmapBackbone = Literal["resnet18", "resnet34"]


class ConvBlock(nn.Module):
    """Convolution, batch norm and maybe ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, relu: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        self._relu = relu

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h w"]:
        """Features of the same size."""
        y = self.norm(self.conv(x))
        return torch.relu(y) if self._relu else y


class HeatmapStage(nn.Module):
    """A residual encoder over a half-size map and a decoder with skips back to it."""

    def __init__(self, backbone: HeatmapBackbone = "resnet18", extra: int = 0):
        super().__init__()
        self.reduce: nn.Sequential | None = None
        if extra:
            inputs = STEM_CHANNELS + extra
            self.reduce = nn.Sequential(
                ConvBlock(inputs, inputs),
                ConvBlock(inputs, 128),
                ConvBlock(128, STEM_CHANNELS, 1, relu=False),
            )
        self.layer1, self.layer2, self.layer3, self.layer4 = residual_layers(backbone)
        self.up = nn.ModuleList(
            (ConvBlock(768, 256), ConvBlock(384, 128), ConvBlock(192, 64), ConvBlock(64, 64))
        )
        self.head = nn.Conv2d(64, NUM_KEYPOINTS, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch 21 h w"]:
        """Logits of the heatmaps."""
        if self.reduce is not None:
            x = self.reduce(x)
        skips = [F.max_pool2d(x, 3, 2, 1)]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            skips.append(layer(skips[-1]))
        y = skips.pop()
        for block, skip in zip(self.up, (*reversed(skips[1:]), None), strict=True):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
            y = block(y if skip is None else torch.cat((y, skip), 1))
        return self.head(y)


@dataclass(frozen=True, kw_only=True)
class HeatmapConfig:
    """What the 2D network is made of."""

    backbone: HeatmapBackbone = "resnet18"
    """Whose layers each stage's encoder has."""

    def __post_init__(self):
        if self.backbone not in get_args(HeatmapBackbone):
            known = " or ".join(get_args(HeatmapBackbone))
            raise ValueError(f"the 2D network's backbone must be {known}, got '{self.backbone}'")


class HeatmapNet(nn.Module):
    """Three stages over one stem; each later one also sees the heatmaps before it."""

    def __init__(self, config: HeatmapConfig | None = None):
        super().__init__()
        self.config = config or HeatmapConfig()
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        extras = (0, NUM_KEYPOINTS, NUM_KEYPOINTS + len(TIP_PAIRS))
        self.stages = nn.ModuleList(HeatmapStage(self.config.backbone, extra) for extra in extras)
        he_initialised(self)

    def forward(
        self, images01: Float[Tensor, "batch 3 height width"]
    ) -> list[Float[Tensor, "batch 21 h w"]]:
        """Logits after each stage, at half the images' size; sides are multiples of 32.

        Images are RGB, 0..1, and normalised to −1..1 here.
        """
        stem = torch.relu(self.bn1(self.conv1((images01 - 0.5) / 0.5)))
        first, second, third = self.stages
        logits = [first(stem)]
        logits.append(second(torch.cat((stem, logits[-1].sigmoid()), 1)))
        heat = logits[-1].sigmoid()
        logits.append(third(torch.cat((stem, heat, tip_relations(heat)), 1)))
        return logits


def tip_relations(heatmaps: Float[Tensor, "batch 21 h w"]) -> Float[Tensor, "batch 10 h w"]:
    """Sums of the heatmaps of each pair of fingertips."""
    first, second = zip(*TIP_PAIRS, strict=True)
    return heatmaps[:, list(first)] + heatmaps[:, list(second)]


def heatmap_loss(
    logits: list[Float[Tensor, "batch 21 h w"]], targets: Float[Tensor, "batch 21 h w"]
) -> Float[Tensor, ""]:
    """Ten times the binary cross-entropy, summed over the stages."""
    losses = [F.binary_cross_entropy_with_logits(stage, targets) for stage in logits]
    return STAGE_WEIGHT * torch.stack(losses).sum()


def target_heatmaps(
    points_px: Float[Tensor, "batch 21 2"],
    side_px: int = 224,
    *,
    centers: Literal["exact", "truncated"] = "exact",
) -> Float[Tensor, "batch 21 h h"]:
    """Gaussians of peak one about the keypoints, at half the crop's size; zero for those outside.

    Args:
        points_px: In the crop.
        side_px: Of the crop.
        centers: `exact`, or `truncated` to whole pixels of the crop as in the authors' code.
    """
    pixels = torch.arange(side_px, dtype=points_px.dtype, device=points_px.device)
    whole = points_px.trunc() if centers == "truncated" else points_px.round()
    inside = ((points_px >= 0) & (points_px.trunc() < side_px)).all(-1)
    center = whole if centers == "truncated" else points_px
    offset = pixels - center[..., None]
    near = (pixels - whole[..., None]).abs() <= KERNEL_RADIUS_PX
    rows = torch.exp(-(offset**2) / (2 * SIGMA_PX**2)) * near
    # Halving a picture bilinearly is the mean of 2×2 pixels, and a Gaussian is a product.
    x, y = rows.unflatten(-1, (-1, 2)).mean(-1).unbind(-2)
    return y[..., :, None] * x[..., None, :] * inside[..., None, None]


class Keypoints2D(NamedTuple):
    """Keypoints of a batch of crops."""

    points_px: Float[Tensor, "batch 21 2"]
    """In the crop; the centre of its top-left pixel is (0, 0)."""
    confidence: Float[Tensor, "batch 21"]
    """Height of the peak, 0..1."""


def keypoints_from_heatmaps(
    heatmaps: Float[Tensor, "batch 21 h w"], decoding: Decoding = "taylor"
) -> Keypoints2D:
    """Peaks of heatmaps (after the sigmoid), in px of the crop twice their size.

    `argmax` is the middle of the highest cell. `taylor` goes from there to the top of the parabola
    through the logarithm of the smoothed map. Source: Zhang et al., "Distribution-Aware Coordinate
    Representation for Human Pose Estimation" (DARK), CVPR 2020.
    """
    height, width = heatmaps.shape[-2:]
    peak, index = heatmaps.flatten(2).max(-1)
    cells = torch.stack((index % width, index // width), -1).to(heatmaps.dtype)
    if decoding == "taylor":
        cells = cells + _taylor_offset(heatmaps, index % width, index // width)
        limit = cells.new_tensor([width - 1, height - 1])
        cells = torch.minimum(cells.clamp_min(0), limit)
    return Keypoints2D(points_px=2 * cells + 0.5, confidence=peak)


def _taylor_offset(maps: Tensor, x: Tensor, y: Tensor) -> Float[Tensor, "batch 21 2"]:
    """From the highest cell to the peak, in cells, at most one; zero where there is no peak."""
    log = _smoothed(maps).clamp_min(1e-6).log()
    padded = F.pad(log, (1, 1, 1, 1), mode="replicate").flatten(2)
    width = maps.shape[-1] + 2
    steps = [dy * width + dx for dy in (0, 1, 2) for dx in (0, 1, 2)]
    at = (y * width + x)[..., None] + torch.tensor(steps, device=maps.device)
    n = torch.gather(padded, 2, at)
    slope = torch.stack((n[..., 5] - n[..., 3], n[..., 7] - n[..., 1]), -1) / 2
    xx = n[..., 5] - 2 * n[..., 4] + n[..., 3]
    yy = n[..., 7] - 2 * n[..., 4] + n[..., 1]
    xy = (n[..., 8] - n[..., 6] - n[..., 2] + n[..., 0]) / 4
    determinant = xx * yy - xy * xy
    is_peak: Bool[Tensor, "batch 21"] = (determinant > 1e-9) & (xx < 0)
    safe = torch.where(is_peak, determinant, torch.ones_like(determinant))
    sx, sy = slope.unbind(-1)
    move = torch.stack((xy * sy - yy * sx, xy * sx - xx * sy), -1) / safe[..., None]
    return torch.where(is_peak[..., None], move.clamp(-1, 1), torch.zeros_like(move))


def _smoothed(maps: Tensor) -> Tensor:
    """Gaussian blur of about the target's own width, so that noise does not move the peak."""
    sigma = SIGMA_PX / 2
    cells = torch.arange(-3, 4, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-(cells**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, 1, -1)
    y = F.conv2d(maps, kernel, padding=(0, 3), groups=maps.shape[1])
    return F.conv2d(y, kernel.mT, padding=(3, 0), groups=maps.shape[1])
