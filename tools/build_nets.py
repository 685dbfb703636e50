"""Build the shipped detector and landmark nets from the npm package they come from.

Run by hand, needs npm and the PyPI package `tflite` (2.18):

    pip install tflite
    python tools/build_nets.py --cache DIR

The three TFLite graphs become safetensors files with float16 weights (as in the source) and the
graph as JSON in the header, in the form that `idhand.assets.nets` runs. The same input gives the
same bytes.
"""

import argparse
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from safetensors.numpy import save_file

PACKAGE = "@mediapipe/hands@0.4.1675469240"
TARBALL = "mediapipe-hands-0.4.1675469240.tgz"
TARBALL_SHA256 = "bdd5be939c60cbd72a49f4b6141407683cf2a67263598e1a44757d70b3dfcb8a"
PALM_BYTES = slice(11, 2341291)
"""Where the full palm detector lies; the table is in hands_solution_packed_assets_loader.js."""

REPO = Path(__file__).resolve().parents[1]
DATA = REPO / "src" / "idhand" / "assets" / "data"
ORIGIN = (
    "palm_detection_full.safetensors, hand_landmark_full.safetensors and\n"
    "hand_landmark_lite.safetensors are the MediaPipe Hands\n"
    f"nets (Copyright The MediaPipe Authors) from the npm package {PACKAGE},\n"
    "converted by tools/build_nets.py: weights unchanged, container changed.\n"
    "hand_studio.safetensors is hand_landmark_full trained on by `make backbone`: weights "
    "changed.\nTheir licence:\n\n"
)
# Names of the outputs, in the order of the source graph. The world points are metres.
HAND_OUTPUTS = ("landmarks", "presence", "handedness", "world")
OUTPUTS = {
    "palm_detection_full": ("boxes", "scores"),
    "hand_landmark_full": HAND_OUTPUTS,
    "hand_landmark_lite": HAND_OUTPUTS,
}
OP_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
DTYPES = {
    tflite.TensorType.FLOAT32: "<f4",
    tflite.TensorType.FLOAT16: "<f2",
    tflite.TensorType.INT32: "<i4",
}
ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: None,
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU6: "relu6",
}
Node = dict[str, Any]


def fetch(cache: Path) -> tarfile.TarFile:
    """Download the npm package once into the cache and check that it is the known one."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / TARBALL
    if not path.exists():
        subprocess.run(["npm", "pack", PACKAGE], cwd=cache, check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != TARBALL_SHA256:
        raise ValueError(f"{path.name}: sha256 is {digest}, expected {TARBALL_SHA256}; delete it")
    return tarfile.open(path)


def read_member(tarball: tarfile.TarFile, name: str) -> bytes:
    """Bytes of one file of the package."""
    file = tarball.extractfile(f"package/{name}")
    if file is None:
        raise FileNotFoundError(f"{TARBALL} has no file {name}")
    return file.read()


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: before, after (the odd pixel goes after)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Converter:
    """Turns one TFLite graph into a list of nodes and a table of named weights."""

    def __init__(self, buffer: bytes):
        self.model: Any = tflite.Model.GetRootAs(buffer, 0)
        self.graph: Any = self.model.Subgraphs(0)
        self.shapes: dict[int, list[int]] = {}
        self.constants: dict[int, np.ndarray] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        for i in range(self.graph.TensorsLength()):
            self._read_tensor(i)

    def _read_tensor(self, i: int) -> None:
        tensor = self.graph.Tensors(i)
        self.shapes[i] = tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength():
            flat = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
            self.constants[i] = flat.reshape(self.shapes[i])

    def convert(self, outputs: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The graph description and its weights."""
        for k in range(self.graph.OperatorsLength()):
            self._convert(self.graph.Operators(k))
        ends = [f"t{i}" for i in self.graph.OutputsAsNumpy().tolist()]
        image = self.graph.Inputs(0)
        description = {
            "input": f"t{image}",
            "input_size": self.shapes[image][1:3],
            "outputs": dict(zip(outputs, ends, strict=True)),
            "nodes": self.nodes,
        }
        return description, self.weights

    def _convert(self, op: Any) -> None:
        name = OP_NAMES[self.model.OperatorCodes(op.OpcodeIndex()).BuiltinCode()]
        inputs, outputs = op.InputsAsNumpy().tolist(), op.OutputsAsNumpy().tolist()
        if name == "DEQUANTIZE":
            self.constants[outputs[0]] = self.constants[inputs[0]]
            return
        handlers: dict[str, Callable[[tflite.Operator, list[int]], Node]] = {
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "PRELU": lambda _, i: {"op": "prelu", "weight": self._weight(i[1], (-1,))},
            "ADD": self._add,
            "MAX_POOL_2D": self._max_pool,
            "PAD": self._pad,
            "RESIZE_BILINEAR": self._resize,
            "CONCATENATION": lambda *_: {"op": "concat"},
            "RESHAPE": lambda *_: {"op": "reshape", "shape": self.shapes[outputs[0]][1:]},
            "MEAN": lambda *_: {"op": "mean"},
            "FULLY_CONNECTED": self._linear,
            "LOGISTIC": lambda *_: {"op": "sigmoid"},
        }
        if name not in handlers:
            raise ValueError(f"the graph has an operator that the converter lacks: {name}")
        node = handlers[name](op, inputs)
        flowing = [f"t{i}" for i in inputs if i not in self.constants]
        self.nodes.append({**node, "inputs": flowing, "output": f"t{outputs[0]}"})

    def _options(self, kind: Any, op: tflite.Operator) -> Any:
        options, table = kind(), op.BuiltinOptions()
        assert table is not None
        options.Init(table.Bytes, table.Pos)
        return options

    def _weight(self, i: int, shape: tuple[int, ...], axes: tuple[int, ...] = ()) -> str:
        """Register a constant as a weight, axes reordered from TensorFlow's to torch's."""
        value = self.constants[i]
        half = value.astype("<f2")
        assert np.array_equal(half.astype(value.dtype), value), "weights are not float16"
        half = half.transpose(axes) if axes else half.reshape(shape)
        self.weights[f"w{i}"] = np.ascontiguousarray(half)
        return f"w{i}"

    def _window(self, i: int, options: Any, kernel: tuple[int, int]) -> Node:
        """Stride and explicit padding (left, right, top, bottom) of a sliding window."""
        stride = (options.StrideH(), options.StrideW())
        (top, bottom), (left, right) = (
            same_padding(size, k, s) if options.Padding() == tflite.Padding.SAME else (0, 0)
            for size, k, s in zip(self.shapes[i][1:3], kernel, stride, strict=True)
        )
        return {"stride": stride, "padding": (left, right, top, bottom)}

    def _conv(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.Conv2DOptions, op)
        weight = self._weight(inputs[1], (), (0, 3, 1, 2))
        return self._any_conv(options, inputs, weight, groups=1)

    def _depthwise(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.DepthwiseConv2DOptions, op)
        weight = self._weight(inputs[1], (), (3, 0, 1, 2))
        return self._any_conv(options, inputs, weight, groups=self.shapes[inputs[0]][3])

    def _any_conv(self, options: Any, inputs: list[int], weight: str, groups: int) -> Node:
        kernel = self.weights[weight].shape
        return {
            "op": "conv",
            "weight": weight,
            "bias": self._weight(inputs[2], (-1,)),
            "groups": groups,
            "activation": ACTIVATIONS[options.FusedActivationFunction()],
            **self._window(inputs[0], options, (kernel[2], kernel[3])),
        }

    def _add(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.AddOptions, op)
        assert options.FusedActivationFunction() == tflite.ActivationFunctionType.NONE
        return {"op": "add"}

    def _max_pool(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.Pool2DOptions, op)
        kernel = (options.FilterHeight(), options.FilterWidth())
        window = self._window(inputs[0], options, kernel)
        assert window.pop("padding") == (0, 0, 0, 0)
        return {"op": "max_pool", "kernel": kernel, **window}

    def _pad(self, op: tflite.Operator, inputs: list[int]) -> Node:
        n, y, x, channels = self.constants[inputs[1]].tolist()
        assert n == y == x == [0, 0]
        assert channels[0] == 0
        return {"op": "pad_channels", "count": channels[1]}

    def _resize(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.ResizeBilinearOptions, op)
        assert options.HalfPixelCenters()
        assert not options.AlignCorners()
        return {"op": "resize", "size": self.constants[inputs[1]].tolist()}

    def _linear(self, op: tflite.Operator, inputs: list[int]) -> Node:
        options = self._options(tflite.FullyConnectedOptions, op)
        return {
            "op": "linear",
            "weight": self._weight(inputs[1], self.constants[inputs[1]].shape),
            "bias": self._weight(inputs[2], (-1,)),
            "activation": ACTIVATIONS[options.FusedActivationFunction()],
        }


def main() -> None:
    """Fetch, convert, write."""
    parser = argparse.ArgumentParser(description="Build the shipped nets.")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the npm package")
    with fetch(parser.parse_args().cache) as tarball:
        buffers = {
            "palm_detection_full": read_member(tarball, "hands_solution_packed_assets.data")[
                PALM_BYTES
            ],
            "hand_landmark_full": read_member(tarball, "hand_landmark_full.tflite"),
            "hand_landmark_lite": read_member(tarball, "hand_landmark_lite.tflite"),
        }
    DATA.mkdir(parents=True, exist_ok=True)
    for name, buffer in buffers.items():
        graph, weights = Converter(buffer).convert(OUTPUTS[name])
        path = DATA / f"{name}.safetensors"
        # One metadata entry: the order of several would differ from run to run.
        save_file(weights, path, metadata={"graph": json.dumps(graph, separators=(",", ":"))})
        print(f"{path.relative_to(REPO)}: {path.stat().st_size:,} bytes")
    licence = ORIGIN + (REPO / "LICENSE").read_text()
    (DATA / "MEDIAPIPE_LICENSE.txt").write_text(licence)


if __name__ == "__main__":
    main()
