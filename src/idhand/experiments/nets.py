"""The trained networks of the experiment, from a folder."""

from dataclasses import dataclass, field
from pathlib import Path

from idhand.fusion import CovarianceCalibration, covariance_file
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor
from idhand.nets.regressor import Regressor

NET_FILES = ("baseline", "identity", "identity_film", "confidence")
WITH_COVARIANCES = ("identity_film", "confidence")
"""Networks whose covariances are calibrated."""


@dataclass(frozen=True, kw_only=True)
class ExperimentNetworks:
    """The trained networks of the experiment, all on one backbone."""

    baseline: Regressor
    identity: Regressor
    identity_film: Regressor
    confidence: Regressor
    covariance_calibrations: dict[str, CovarianceCalibration] = field(default_factory=dict)
    """Network → how its covariances are calibrated; keys as in `WITH_COVARIANCES`."""

    def __post_init__(self):
        nets = {name: getattr(self, name) for name in NET_FILES}
        kinds = {"baseline": "predicted", "identity": "given", "identity_film": "film"}
        for name, kind in {**kinds, "confidence": "predicted"}.items():
            if nets[name].config.identity != kind:
                raise ValueError(
                    f"{name} is a network with identity='{nets[name].config.identity}', and "
                    f"'{kind}' is needed; put the right file there"
                )
        if nets["confidence"].confidence is None:
            raise ValueError("the confidence network has no confidence branch; train one with it")
        models = sorted({net.config.hand_model for net in nets.values()})
        if len(models) > 1:
            raise ValueError(
                f"the networks are of the hand models {', '.join(models)}; all must be of one"
            )
        for calibration in self.covariance_calibrations.values():
            calibration.check_model(models[0])
        backbones = {net.config.backbone for net in nets.values()}
        if len(backbones) > 1 or not isinstance(self.baseline.backbone, HandBackbone):
            raise ValueError(
                f"the networks stand on {', '.join(sorted(backbones))}; all must stand on one and "
                "the same hand net, whose features are computed once"
            )

    @property
    def hand_model(self) -> str:
        """Name of the hand model that all networks are of."""
        return self.baseline.config.hand_model

    @staticmethod
    def load(folder: Path, *, with_calibrations: bool = True) -> "ExperimentNetworks":
        """Read them from a folder: NAME.safetensors each.

        Without a file of its own, the confidence network is the baseline.

        Args:
            folder: Where they lie.
            with_calibrations: Also read the calibrations of their covariances, if there are any.

        Raises:
            FileNotFoundError: If one of the networks is missing.
            ValueError: If a file cannot be used.
        """
        paths = {name: folder / f"{name}.safetensors" for name in NET_FILES}
        if not paths["confidence"].is_file():  # the baseline may have that branch itself
            paths["confidence"] = paths["baseline"]
        missing = sorted({path.name for path in paths.values() if not path.is_file()})
        if missing:
            raise FileNotFoundError(
                f"{folder} has no {', '.join(missing)}; train them with `idhand train`, or name "
                "another folder"
            )
        nets = {name: load_regressor(path) for name, path in paths.items()}
        calibrated = WITH_COVARIANCES if with_calibrations else ()
        files = {name: covariance_file(paths[name]) for name in calibrated}
        calibrations = {
            name: CovarianceCalibration.load(path) for name, path in files.items() if path
        }
        return ExperimentNetworks(**nets, covariance_calibrations=calibrations)
