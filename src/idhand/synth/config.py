"""What the studio photographs: one frozen configuration, and presets to start from."""

from dataclasses import dataclass
from typing import Literal, get_args

from idhand.synth.people.subjects import OldPopulation, Population, Split

Framing = Literal["upright", "level"]
Preset = Literal["standard", "video", "plain"]

CURRENT_NAMES: dict[OldPopulation, Population] = {
    "mixture": "all",
    "men": "male",
    "women": "female",
}
"""Of populations: either name gives the same pictures and the same fingerprint."""
SMALLEST_PX, LARGEST_PX = 64, 1024


@dataclass(frozen=True, kw_only=True)
class StudioConfig:
    """What is photographed; together with the package's version it fixes every byte.

    Raises:
        ValueError: If a number makes no sense.
    """

    split: Split = "train"
    population: Population | OldPopulation = "all"
    """Half men and half women, or one of them; a name of earlier versions becomes today's."""
    num_subjects: int = 5000
    num_images: int = 200_000
    frames: int = 1
    """Pictures in a row that are frames of one sequence; 1 = no sequences."""
    size_px: int = 224
    seed: int = 0
    framing: Framing = "upright"
    """`upright`: turned and cut like the landmark net's input; `level`: the camera is level."""
    left_share: float = 0.5
    """Of the pictures, of left hands."""
    object_share: float = 0.25
    """Of the pictures, where a held object or one in the way is tried; some find no place."""
    second_hand_share: float = 0.1
    sleeve_share: float = 0.5
    skin: Literal["painted", "plain"] = "painted"
    light: Literal["environment", "flat"] = "environment"
    pose: Literal["all", "open"] = "all"
    background: Literal["all", "plain"] = "all"
    sensor: Literal["camera", "none"] = "camera"
    depth: bool = False
    """Keep the depth of every pixel as well."""

    def __post_init__(self):
        now = {**CURRENT_NAMES}.get(self.population, self.population)
        object.__setattr__(self, "population", now)
        for field, kind in (("split", Split), ("population", Population)):
            value = getattr(self, field)
            if value not in get_args(kind):
                raise ValueError(f"{field} must be one of {get_args(kind)}, got '{value}'")
        for name in ("num_subjects", "num_images", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_images < self.num_subjects * self.frames:
            raise ValueError(
                f"{self.num_images} pictures are too few for {self.num_subjects} people with "
                f"{self.frames} frame(s) each; take more pictures or fewer people"
            )
        for field in ("framing", "skin", "light", "pose", "background", "sensor"):
            known = get_args(self.__annotations__[field])
            if getattr(self, field) not in known:
                raise ValueError(f"{field} must be one of {known}, got '{getattr(self, field)}'")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.num_images % self.frames:
            raise ValueError(
                "the number of images must be a multiple of frames in a sequence, "
                f"{self.frames}, got {self.num_images}"
            )
        if not SMALLEST_PX <= self.size_px <= LARGEST_PX:
            limits = f"{SMALLEST_PX} to {LARGEST_PX}"
            raise ValueError(f"pictures can be {limits} pixels wide, got {self.size_px}")
        for name in ("left_share", "object_share", "second_hand_share", "sleeve_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if self.object_share + self.second_hand_share > 1:
            raise ValueError("object_share and second_hand_share must not be more than 1 together")
        if self.frames > 1 and self.object_share > 0:
            raise ValueError("sequences have no objects: object_share must be 0")


def studio_preset(name: Preset) -> StudioConfig:
    """A configuration to start from.

    `standard`: single pictures of everything. `video`: sequences of 32 frames. `plain`: bare hands
    in flat light before grey, for debugging and for ablation.

    Raises:
        ValueError: If there is no such preset.
    """
    match name:
        case "standard":
            return StudioConfig()
        case "video":
            return StudioConfig(frames=32, num_images=160_000, object_share=0.0)
        case "plain":
            return StudioConfig(
                object_share=0.0, second_hand_share=0.0, sleeve_share=0.0, skin="plain",
                light="flat", background="plain", sensor="none",
            )  # fmt: skip
        case _:
            raise ValueError(f"there is no preset '{name}'; take one of {get_args(Preset)}")
