"""The shipped convolutional nets: palm detector and hand landmarks, run and fine-tuned by torch.

Source: MediaPipe Hands (Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking", 2020),
converted by tools/build_nets.py. Licence: Apache-2.0, data/MEDIAPIPE_LICENSE.txt.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors import safe_open
from torch import Tensor, nn

NetName = Literal["palm_detection_full", "hand_landmark_full", "hand_landmark_lite", "hand_studio"]

FLAT_NODES = ("reshape", "concat", "mean", "linear", "sigmoid")


class GraphNet(nn.Module):
    """A small fixed graph of convolutions, read from a file; differentiable, float32.

    Activations and weights are kept in channels-last memory order, which is about 1.7 times as fast
    as the default order on a CPU at batch size 1.
    """

    def __init__(self, graph: Mapping[str, Any], weights: Mapping[str, Tensor]):
        super().__init__()
        self.input_size: tuple[int, int] = (graph["input_size"][0], graph["input_size"][1])
        self.output_names: dict[str, str] = dict(graph["outputs"])
        self._input: str = graph["input"]
        self.nodes: list[dict[str, Any]] = list(graph["nodes"])
        self._last_use = {name: i for i, n in enumerate(self.nodes) for name in n["inputs"]}
        self.weights = nn.ParameterDict(
            {
                name: w.contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w
                for name, w in weights.items()
            }
        )

    @property
    def feature_names(self) -> list[str]:
        """Names of the intermediate feature maps, in the order of the graph."""
        return [node["output"] for node in self.nodes if node["op"] not in FLAT_NODES]

    def without_gradient(self, output: str) -> None:
        """Freeze the weights of the layer that makes an unused output."""
        last = self.output_names[output]
        while (node := next(n for n in self.nodes if n["output"] == last))["op"] != "linear":
            (last,) = node["inputs"]
        for name in ("weight", "bias"):
            self.weights[node[name]].requires_grad_(False)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], features: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Run the graph.

        Args:
            image: RGB, 0..1, of the size `input_size` (height, width).
            features: Names of intermediate maps to return beside the outputs.

        Returns:
            By name, the outputs (`output_names`), each with the batch first, and the features.

        Raises:
            ValueError: If the image has another size, or a feature's name is unknown.
        """
        if tuple(image.shape[2:]) != self.input_size:
            raise ValueError(f"this net takes images of {self.input_size}, got {image.shape[2:]}")
        unknown = set(features) - {node["output"] for node in self.nodes}
        if unknown:
            raise ValueError(f"no feature map is called {sorted(unknown)}; see feature_names")
        keep = {*self.output_names.values(), *features}
        values = {self._input: image.contiguous(memory_format=torch.channels_last)}
        for i, node in enumerate(self.nodes):
            values[node["output"]] = self._run(node, [values[name] for name in node["inputs"]])
            for name in set(node["inputs"]) - keep:
                if self._last_use[name] == i:
                    del values[name]
        outputs = {name: values[key] for name, key in self.output_names.items()}
        return outputs | {name: values[name] for name in features}

    def _run(self, node: Mapping[str, Any], inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match node["op"]:
            case "conv":
                return self._conv(node, x)
            case "prelu":
                return F.prelu(x, self.weights[node["weight"]])
            case "add":
                return x + inputs[1]
            case "max_pool":
                return F.max_pool2d(x, node["kernel"], node["stride"])
            case "pad_channels":
                return F.pad(x, (0, 0, 0, 0, 0, node["count"]))
            case "resize":
                return F.interpolate(x, size=node["size"], mode="bilinear", align_corners=False)
            case "concat":
                return torch.cat(inputs, 1)
            case "reshape":
                return x.permute(0, 2, 3, 1).reshape(-1, *node["shape"])
            case "mean":
                return _full(x).mean((2, 3))
            case "linear":
                weight, bias = self.weights[node["weight"]], self.weights[node["bias"]]
                with torch.autocast(x.device.type, enabled=False):
                    return _activated(F.linear(x, weight, bias), node["activation"])
            case "sigmoid":
                return torch.sigmoid(x)
            case op:
                raise ValueError(f"the net's file has an operator this version lacks: {op}")

    def _conv(self, node: Mapping[str, Any], x: Tensor) -> Tensor:
        left, right, top, bottom = node["padding"]
        if (left, top) != (right, bottom):
            x = F.pad(x, (left, right, top, bottom))
            left = top = 0
        weight, bias = self.weights[node["weight"]], self.weights[node["bias"]]
        y = F.conv2d(x, weight, bias, node["stride"], (top, left), groups=node["groups"])
        return _activated(y, node["activation"])


def _activated(x: Tensor, activation: str | None) -> Tensor:
    """In place: the fresh output of a layer, which its gradient does not need."""
    match activation:
        case "relu6":
            return F.relu6(x, inplace=True)
        case "relu":
            return F.relu(x, inplace=True)
        case _:
            return x


def _full(x: Tensor) -> Tensor:
    """Mixed precision ends at the last convolution: pixels of the crop need more than 8 bits."""
    return x.float() if x.dtype == torch.bfloat16 else x


def shipped_networks() -> Path:
    """Folder of the networks that the package brings: NAME.safetensors of `idhand.nets.files`."""
    return Path(str(files("idhand.assets") / "data" / "networks"))


def load_net(name: NetName) -> GraphNet:
    """Load one of the shipped nets, on the CPU.

    `palm_detection_full` takes 192×192 and returns `boxes` (batch, 2016, 18): box centre offset and
    size, then seven key points' offsets, all x, y in px of 192 relative to the anchor; and `scores`
    (batch, 2016, 1), logits.

    `hand_landmark_full` and `hand_landmark_lite` take 224×224 and return `landmarks` (batch, 63):
    x, y, z in px of 224, z relative to the wrist, positive farther; `presence` and `handedness`
    (batch, 1), probabilities of a hand and of a real right hand in an image that is not mirrored;
    `world` (batch, 63), metres.

    `hand_studio` is `hand_landmark_full` trained on by `make backbone`; only its features are used.
    """
    resource = files("idhand.assets") / "data" / f"{name}.safetensors"
    with as_file(resource) as path, safe_open(path, framework="pt") as file:
        graph = json.loads(file.metadata()["graph"])
        weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    return GraphNet(graph, weights)


@cache
def net_sha256(name: NetName) -> str:
    """Hash of a shipped net's file."""
    resource = files("idhand.assets") / "data" / f"{name}.safetensors"
    return hashlib.sha256(resource.read_bytes()).hexdigest()


def run_net(
    net: GraphNet, images: Sequence[UInt8[np.ndarray, "height width 3"]]
) -> dict[str, np.ndarray]:
    """Run a net on RGB images of its input size, without gradients; float64 outputs by name."""
    device = next(net.parameters()).device
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
        return {name: value.double().cpu().numpy() for name, value in net(batch).items()}
