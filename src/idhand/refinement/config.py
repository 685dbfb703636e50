"""How a pose is refined, and which observations count: one configuration, and its two presets."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from idhand.refinement.problem import ObjectiveConfig, check_settings

SolverMethod = Literal["levenberg_marquardt", "adam"]

ObservationSource = Literal["landmarks", "network", "both"]
"""The landmark net, the trained network, or their weighted mean."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How much a trained network's estimate counts beside the landmark net's.

    Raises:
        ValueError: If there is no such source, or a weight, factor or deviation is out of range.
    """

    directions: ObservationSource = "both"
    """Source of the bone directions, which hold the third dimension."""
    points: ObservationSource = "both"
    """Source of the points in the picture, if the network has keypoints."""
    direction_weight: float = 10.0
    """Of the network's against the landmark net's, where both count."""
    point_weight: float = 3.0
    keypoint_factor: float = 1.25
    """By which the keypoint network's deviations of points are multiplied."""
    landmark_factor: float = 5.0
    """By which the landmark net's deviations are multiplied beside the keypoint network's; of
    points and directions that are seen."""
    direction_factor: float = 1.0
    """By which the keypoint network's deviations of bone directions are multiplied."""
    spreads_points: bool = True
    """The keypoint network's points are taken for means of what is possible, see `spread_out`."""
    scale_std: float = 0.025
    """Deviation of the scale that all points of a picture have in common."""
    size_factor: float = 1.5
    """By which the deviation of the seen size is multiplied."""
    unseen_direction_weight: float = 1.0
    """The same of bones that are not seen, see `Observations.unseen`."""
    unseen_point_weight: float = 0.5
    """Of points: the network was trained on whole hands and is 0.15 of the hand's length off per
    axis beyond the border, the landmark net 0.10 to 0.13."""

    def __post_init__(self):
        for name in ("directions", "points"):
            if getattr(self, name) not in get_args(ObservationSource):
                known = ", ".join(get_args(ObservationSource))
                raise ValueError(f"{name} must be one of {known}; got '{getattr(self, name)}'")
        names = tuple(name for name in vars(self) if name.endswith(("_weight", "_factor")))
        check_settings(self, positive=names, not_negative=("scale_std",))


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """How to fit one pose per image; the defaults are for the landmark net alone.

    `both_nets` and `network_only` are the presets for hands with a network's estimate.
    """

    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    trust: Trust = field(default_factory=Trust)
    """Of hands with a network's estimate."""
    method: SolverMethod = "levenberg_marquardt"
    """"adam" is the schedule of Kong et al., ECCV 2022: position alone, then position and pose."""
    max_iterations: int = 25
    """Of Levenberg–Marquardt."""
    tolerance: float = 1e-4
    """Converged once a step promises less than this share of the cost."""
    adam_steps: tuple[int, int] = (200, 100)
    """Steps for the position alone, then for position and pose."""
    adam_rates: tuple[float, float] = (1e-2, 1e-3)
    """Learning rates of the two stages."""

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {self.max_iterations}")
        if self.method not in get_args(SolverMethod):
            known = ", ".join(get_args(SolverMethod))
            raise ValueError(f"method must be one of {known}; got '{self.method}'")
        check_settings(self, positive=("tolerance",), not_negative=())
        if min(self.adam_steps) < 0 or min(self.adam_rates) <= 0:
            raise ValueError(
                "steps of Adam must be 0 or more and its rates positive, got "
                f"{self.adam_steps} and {self.adam_rates}"
            )


def network_noise() -> ObjectiveConfig:
    """Noise of a network's observations and the landmark net's.

    Chosen on 231 pictures of the studio's validation people, 199 of the other renderer and the real
    stereo clip (docs/results.md). On the first, sigma_px from 0.007 to 0.014, sigma_direction from
    0.05 and pose_weight from 0.5 on change errors about the wrist by less than 2 %.
    """
    return ObjectiveConfig(
        sigma_px=0.01, sigma_direction=0.1, robust_direction=4.0, pose_weight=1.0
    )


def both_nets() -> RefinementConfig:
    """The pipeline's: for photos, unlike which are the renders that the network was trained on.

    The landmark net was trained on photos; with both, neither's error on a picture goes unchecked.
    """
    return RefinementConfig(objective=network_noise())


def network_only() -> RefinementConfig:
    """That of `idhand refine` and `reproduce`: for pictures like those of the network's training.

    There the network is better without the landmark net: on the studio's validation people with
    their true shapes 11.1 mm about the wrist and 31.6 mm in the camera, with both 11.8 and 35.9.
    """
    return RefinementConfig(
        objective=network_noise(), trust=Trust(directions="network", points="network")
    )
