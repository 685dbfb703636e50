"""What one training is: the network, its data, its loss and the loop, in one frozen record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from idhand.losses import LossConfig, ours
from idhand.nets.regressor import RegressorConfig
from idhand.training.examples import CropConfig
from idhand.training.keypoint_loss import KeypointLossConfig
from idhand.training.schedule import LoopConfig

TaskName = Literal["regressor", "confidence", "heatmaps", "keypoints"]
ConfidenceTarget = Literal["shape", "keypoints"]

CONVENIENCE = ("log_every", "checkpoint_every", "validate_every", "num_workers")
"""Of the loop: what changes no weight, so that a training may go on with other numbers."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training; presets are in `idhand.training.presets`.

    Raises:
        ValueError: If parts do not fit together.
    """

    name: str
    """Of the file with the trained network."""
    task: TaskName = "regressor"
    """`confidence`: only the confidence branch of a network that is trained already. `heatmaps`:
    the keypoints in the picture. `keypoints`: the same with deviations, and more that is seen, on
    the maps of the frozen hand net."""
    net: RegressorConfig | None
    """None: that of the network to start from (`confidence`); there is but one (`heatmaps`,
    `keypoints`)."""
    loop: LoopConfig
    loss: LossConfig = field(default_factory=ours)
    keypoint_loss: KeypointLossConfig = field(default_factory=KeypointLossConfig)
    """Of the task `keypoints`."""
    crops: CropConfig = field(default_factory=CropConfig)
    views: int | None = None
    """Keep so many crops of each sample as features of the frozen backbone; None: cut pictures anew
    in each epoch."""
    identity_dropout: float = 0.0
    """Share of examples for which the betas are withheld from a network that can do without."""
    identity_noise: float = 0.0
    """Standard deviation, in betas, of the noise on the betas given to the network: calibrated
    shapes are also noisy."""
    num_verts: int | None = 128
    """About how many vertices the mesh terms compare; None: all."""
    confidence_target: ConfidenceTarget = "shape"
    """The error that confidences shall rank: of the betas (the paper), or of the keypoints."""
    export: Literal["float32", "float16"] = "float32"
    """Numbers of the file with the trained network."""

    def __post_init__(self):
        for name, kind in (("task", TaskName), ("confidence_target", ConfidenceTarget)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {get_args(kind)}, got '{getattr(self, name)}'"
                )
        if (self.net is None) == (self.task == "regressor"):
            raise ValueError(f"the task '{self.task}' {_needs(self.net is None)}")
        if not 0 <= self.identity_dropout < 1:
            raise ValueError(f"identity_dropout must be within 0..1, got {self.identity_dropout}")
        if self.identity_noise < 0:
            raise ValueError(f"identity_noise must not be negative, got {self.identity_noise}")
        if self.views is not None and self.views < 1:
            raise ValueError(f"views must be 1 or more, got {self.views}")
        if self.views is not None and self.task == "heatmaps":
            raise ValueError("heatmaps are learnt from pictures, not from features: views=None")
        if self.net is not None:
            _check_net(self.net, self)

    def with_loop(self, **changes: Any) -> "TrainConfig":
        """The same with other numbers in the loop."""
        return replace(self, loop=replace(self.loop, **changes))

    def with_steps(self, steps: int) -> "TrainConfig":
        """The same with another number of steps; the warm-up takes a tenth of them at most.

        A training no longer than its warm-up would never reach its learning rate.
        """
        warmup_steps = min(self.loop.warmup_steps, steps // 10)
        return self.with_loop(steps=steps, epochs=None, warmup_steps=warmup_steps)

    def origin(self) -> Mapping[str, Any]:
        """What fixes the weights, beside the data, in types of JSON."""
        values = asdict(self)
        for name in CONVENIENCE:
            del values["loop"][name]
        return values


def _needs(lacks_net: bool) -> str:
    return "needs a net" if lacks_net else "takes no net of its own: net=None"


def _check_net(net: RegressorConfig, config: TrainConfig) -> None:
    """Whether the network can be trained like that."""
    if config.views is not None and not net.is_frozen:
        raise ValueError(
            f"features of {net.backbone} cannot be kept, for it is trained itself; views=None"
        )
    if config.identity_dropout and net.identity != "film":
        raise ValueError(
            f"only identity='film' can do without the person; with '{net.identity}' "
            "identity_dropout must be 0"
        )
