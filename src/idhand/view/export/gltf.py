"""Motions → rigged, binary glTF 2.0: a skin of 16 joints per hand, and an animation for videos.

Source of the layout: Khronos, "glTF 2.0 Specification", 2021 (ISO/IEC 12113).
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from idhand import __version__
from idhand.files import replacing
from idhand.hand import JOINT_NAMES, HandModel
from idhand.view.export.presence import Presence, presences
from idhand.view.export.rig import Rig, display_colour, rigs_of
from idhand.view.motion import HandMotion

_KINDS = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_COMPONENTS = {"float32": 5126, "uint32": 5125, "uint8": 5121}
_VERTICES, _INDICES = 34962, 34963
"""What a buffer view is for: ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER."""


def write_rigged_glb(path: str | Path, motions: Sequence[HandMotion], model: HandModel) -> None:
    """Write hands as one binary glTF file that can be posed: mesh, skin and the pose of each.

    The mesh is bound at the person's rest pose; the joints are named after `JOINT_NAMES`, with the
    hand's name in front if there are several hands. The joints' own transforms hold each motion's
    first frame, so viewers show a photo's hands where they were. Motions of several frames make one
    animation; its time is the video's, and between keyframes viewers interpolate. A hand that is
    not there all the time is scaled to nothing while it is away, in one step. Joints have no
    rotation at rest; Blender draws bones along the fingers if imported with "Bone Dir: Fortune".

    Args:
        path: The file.
        motions: One per hand.
        model: The right-hand model that they came from.

    Raises:
        ValueError: If there is no motion, or the model is not theirs.
    """
    data = _Document().glb(rigs_of(motions, model))
    with replacing(path) as temporary:
        temporary.write_bytes(data)


class _Document:
    """A glTF document under construction: its JSON and its one buffer."""

    def __init__(self):
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"idhand {__version__}"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            **{key: [] for key in ("nodes", "meshes", "materials", "skins")},
            "accessors": [],
            "bufferViews": [],
        }
        self.buffer = bytearray()

    def glb(self, rigs: Sequence[Rig]) -> bytes:
        """The finished file."""
        times_s = np.concatenate([rig.motion.time_s for rig in rigs])
        if np.ptp(times_s) > 0:
            animation = {"name": "motion", "channels": [], "samplers": []}
            self.json["animations"] = [animation]
        for rig, presence in zip(rigs, presences([rig.motion for rig in rigs]), strict=True):
            wrist = self._skeleton(rig, f"{rig.motion.name}_" if len(rigs) > 1 else "")
            self._mesh(rig, wrist)
            if np.ptp(times_s) > 0:
                self._animate(rig, wrist)
                self._hide(presence, wrist)
        self.json["buffers"] = [{"byteLength": len(self.buffer)}]
        text = json.dumps(self.json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.buffer)
        head = struct.pack("<4sII", b"glTF", 2, size)
        chunks = (struct.pack("<I4s", len(text), b"JSON"), text)
        binary = (struct.pack("<I4s", len(self.buffer), b"BIN\0"), bytes(self.buffer))
        return b"".join((head, *chunks, *binary))

    def _skeleton(self, rig: Rig, prefix: str) -> int:
        """The hand's node with its joints below it; the index of the wrist's node."""
        nodes = self.json["nodes"]
        root, wrist = len(nodes), len(nodes) + 1
        nodes.append({"name": rig.motion.name, "children": [wrist]})
        self.json["scenes"][0]["nodes"].append(root)
        offsets, first_pose = rig.offsets, rig.quaternions[0]
        offsets[0] = rig.wrist[0]
        for j, name in enumerate(JOINT_NAMES):
            node: dict[str, Any] = {
                "name": prefix + name,
                "translation": _numbers(offsets[j]),
                "rotation": _numbers(first_pose[j]),
            }
            children = [wrist + k for k, parent in enumerate(rig.parents) if parent == j]
            nodes.append(node | ({"children": children} if children else {}))
        return wrist

    def _mesh(self, rig: Rig, wrist: int) -> None:
        """The mesh, its skin and material, and the node that shows it."""
        document, name = self.json, rig.motion.name
        inverse_bind = np.tile(np.eye(4), (len(rig.joints), 1, 1))
        inverse_bind[:, 3, :3] = -rig.joints  # column-major, so the last row is the translation
        attributes = {
            "POSITION": self._add(rig.verts, np.float32, _VERTICES, bounds=True),
            "NORMAL": self._add(rig.normals, np.float32, _VERTICES),
            "JOINTS_0": self._add(_four(rig.influences), np.uint8, _VERTICES),
            "WEIGHTS_0": self._add(_four(rig.weights), np.float32, _VERTICES),
        }
        primitive = {
            "attributes": attributes,
            "indices": self._add(rig.faces.ravel(), np.uint32, _INDICES),
            "material": len(document["materials"]),
        }
        colour = [*display_colour(rig.motion.is_right), 1.0]
        surface = {"baseColorFactor": colour, "metallicFactor": 0.0, "roughnessFactor": 0.6}
        document["materials"].append({"name": name, "pbrMetallicRoughness": surface})
        skin = {
            "name": name,
            "skeleton": wrist,
            "joints": list(range(wrist, wrist + len(rig.joints))),
            "inverseBindMatrices": self._add(inverse_bind, np.float32),
        }
        # Of a skinned mesh's node readers ignore all transforms; hence it stands in the root.
        document["scenes"][0]["nodes"].append(len(document["nodes"]))
        node = {"mesh": len(document["meshes"]), "skin": len(document["skins"])}
        document["nodes"].append({"name": f"{name}_mesh", **node})
        document["meshes"].append({"name": name, "primitives": [primitive]})
        document["skins"].append(skin)

    def _animate(self, rig: Rig, wrist: int) -> None:
        """Keyframes of the wrist's place and of all rotations."""
        keys = _distinct(rig.motion.time_s)
        time = self._add(rig.motion.time_s[keys], np.float32, bounds=True)
        quaternions = rig.quaternions[keys]
        self._channel(wrist, "translation", time, rig.wrist[keys])
        for j in range(len(rig.joints)):
            self._channel(wrist + j, "rotation", time, quaternions[:, j])

    def _hide(self, presence: Presence, wrist: int) -> None:
        """Scale the hand to nothing while it is away; a skinned mesh ignores its own node."""
        if len(presence.time_s):
            keys = _distinct(presence.time_s)
            time = self._add(presence.time_s[keys], np.float32, bounds=True)
            scales = np.repeat(presence.there[keys, None], 3, axis=1)
            self._channel(wrist, "scale", time, scales, "STEP")

    def _channel(
        self, node: int, path: str, time: int, values: np.ndarray, interpolation: str = "LINEAR"
    ) -> None:
        """Animate one thing of one node."""
        (animation,) = self.json["animations"]
        channels, samplers = animation["channels"], animation["samplers"]
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        output = self._add(values, np.float32)
        samplers.append({"input": time, "interpolation": interpolation, "output": output})

    def _add(
        self, values: np.ndarray, dtype: type, target: int | None = None, *, bounds: bool = False
    ) -> int:
        """Put values into the buffer; the index of their accessor."""
        array = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": array.nbytes}
        self.json["bufferViews"].append(view | ({"target": target} if target else {}))
        self.buffer += array.tobytes() + bytes(-array.nbytes % 4)
        accessor: dict[str, Any] = {
            "bufferView": len(self.json["bufferViews"]) - 1,
            "componentType": _COMPONENTS[np.dtype(dtype).name],
            "count": len(array),
            "type": _KINDS[array.shape[1:]],
        }
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor |= {"min": _numbers(rows.min(0)), "max": _numbers(rows.max(0))}
        self.json["accessors"].append(accessor)
        return len(self.json["accessors"]) - 1


def _numbers(values: np.ndarray) -> list[float]:
    """As JSON, in the precision of the buffer."""
    return [float(value) for value in values.astype(np.float32)]


def _distinct(time_s: Float[np.ndarray, " times"]) -> Int[np.ndarray, " keys"]:
    """Which of the increasing times to keep so that they also increase in single precision."""
    after = np.diff(time_s.astype(np.float32)) > 0
    return np.flatnonzero(np.append(after, True))  # the last of equal ones


def _four(values: np.ndarray) -> np.ndarray:
    """Filled up with zeros to the four columns that glTF stores."""
    return np.pad(values, ((0, 0), (0, 4 - values.shape[1])))
