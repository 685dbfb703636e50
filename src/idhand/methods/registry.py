"""Methods by name: what turns a data set into predictions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from idhand.assets import hand
from idhand.assets.nets import shipped_networks
from idhand.data import DataSet
from idhand.data.manifest import sha256_of
from idhand.hand import FittableHand
from idhand.methods.detections import DetectionCache
from idhand.methods.pictures import predict_images, predict_keypoints
from idhand.methods.pointing import placed, with_points
from idhand.methods.predicting import BATCH, landmark_fit, predict
from idhand.methods.rows import KnownBetas
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import Cut
from idhand.nets.files import load_network, saved_cut
from idhand.nets.heatmaps import Decoding, HeatmapNet
from idhand.nets.keypoints import KeypointNet
from idhand.nets.regressor import Regressor
from idhand.predictions import Predictions

SHIPPED = ("baseline", "identity", "identity_film")
"""Networks of the package."""
NETWORK_SUFFIX = ".safetensors"


@runtime_checkable
class Method(Protocol):
    """What turns a data set into predictions; whoever writes one need not inherit from anything."""

    @property
    def name(self) -> str:
        """For the header of its predictions."""
        ...

    def predict(self, samples: DataSet) -> Predictions:
        """A row for each picture of the data set."""
        ...


ShapeSource = Callable[[FittableHand], KnownBetas]
"""A hand model → each person's betas in it, by `subject`."""


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What a method may be given; each takes what it needs."""

    name: str | None = None
    """For the header; by default the method's own."""
    hand_model: str | None = None
    """Of a method that fits a hand model instead of having learnt one, e.g. the data's."""
    shapes: ShapeSource | None = None
    """Each person's shape; None if nobody's is known."""
    detections: DetectionCache = field(default_factory=DetectionCache)
    """Where the hands come from that are detected in the pictures."""
    batch: int = BATCH
    """Hands at a time."""
    points: Predictions | None = None
    """Keypoints in the pictures, of a 2D network: hands of networks that see crops about the data
    set's box are placed by them, and nothing is detected."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009  frozen
    """Of networks that see crops."""
    decoding: Decoding = "taylor"
    """Of heatmaps: the middle of the highest cell (`argmax`), or the peak between cells."""


@dataclass(frozen=True, kw_only=True)
class NetworkMethod:
    """A pose network, from features where its backbone is a hand net, else from crops."""

    net: Regressor
    name: str
    model: FittableHand
    betas: KnownBetas | None = None
    cut: Cut = "box"
    """Which crops a network without a hand net takes."""
    detections: DetectionCache = field(default_factory=DetectionCache)
    batch: int = BATCH
    about: dict[str, str] = field(default_factory=dict)
    """For the header, such as the network's hash."""
    points: Predictions | None = None
    """See `MethodOptions.points`."""

    def predict(self, samples: DataSet) -> Predictions:
        """See `Method`."""
        backbone = self.net.backbone
        is_hand_net = isinstance(backbone, HandBackbone)
        if self.points is not None:
            return self._by_points(samples, self.points)
        detected = self.detections.of(samples, backbone if is_hand_net else None)
        if is_hand_net:
            found = predict(
                self.net, detected, self.betas, model=self.model, method=self.name, batch=self.batch
            )
        else:
            pictures = self.detections.wrapped(samples)
            found = predict_images(
                self.net, pictures, cut=self.cut, betas=self.betas, points=detected,
                model=self.model, method=self.name,
            )  # fmt: skip
        return replace(found, header={**found.header, **self.about})

    def _by_points(self, samples: DataSet, points: Predictions) -> Predictions:
        """Every box is taken for a hand, and placed by its points."""
        pictures = self.detections.wrapped(samples)
        found = predict_images(
            self.net, pictures, cut=self.cut, betas=self.betas, model=self.model, method=self.name
        )
        seen = placed(*with_points(found, points, samples.labels(), self.model), self.model)
        about = {"data": samples.fingerprint(), **self.about}
        return replace(seen, header={**seen.header, **about})


@dataclass(frozen=True, kw_only=True)
class KeypointMethod:
    """A 2D network, of three stages or on a hand net's maps: keypoints in the picture alone."""

    net: HeatmapNet | KeypointNet
    name: str
    cut: Cut = "box"
    decoding: Decoding = "taylor"
    detections: DetectionCache = field(default_factory=DetectionCache)
    """Used where crops lie about landmarks."""
    about: dict[str, str] = field(default_factory=dict)

    def predict(self, samples: DataSet) -> Predictions:
        """See `Method`."""
        detected = None if self.cut == "box" else self.detections.of(samples, None)
        found = predict_keypoints(
            self.net, self.detections.wrapped(samples), cut=self.cut, decoding=self.decoding,
            points=detected, method=self.name,
        )  # fmt: skip
        about = {"data": samples.fingerprint(), "decoding": self.decoding, **self.about}
        return replace(found, header={**found.header, **about})


@dataclass(frozen=True, kw_only=True)
class LandmarkMethod:
    """A hand model fitted to the landmarks alone, as `Pipeline.fit` does; no trained network."""

    model: FittableHand
    name: str = "landmarks"
    betas: KnownBetas | None = None
    detections: DetectionCache = field(default_factory=DetectionCache)

    def predict(self, samples: DataSet) -> Predictions:
        """See `Method`."""
        found = landmark_fit(self.detections.of(samples, None), self.betas, model=self.model)
        return replace(found, header={**found.header, "method": self.name})


Builder = Callable[[MethodOptions], Method]
_builders: dict[str, Builder] = {}


def method(name: str | Path, options: MethodOptions | None = None) -> Method:
    """A method by its name, or by the file of a trained network.

    Args:
        name: One of `method_names()`, or what `save_net` wrote (NAME.safetensors).
        options: What it may be given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such method, the file cannot be used, or shapes are given to a
            method that takes none or are missing for one that needs them.
    """
    options = options or MethodOptions()
    builder = _builders.get(str(name))
    if builder is not None:
        return builder(options)
    path = Path(name)
    if path.suffix != NETWORK_SUFFIX and not path.exists():
        known = ", ".join(method_names())
        raise ValueError(
            f"there is no method '{name}'; use one of {known}, or name the file of a trained "
            f"network, NAME{NETWORK_SUFFIX}"
        )
    return _of_file(path, options)


def method_names() -> tuple[str, ...]:
    """Methods that `method` knows by name."""
    return tuple(_builders)


def add_method(name: str, builder: Builder) -> None:
    """Let `method` know another one.

    Raises:
        ValueError: If there is one of that name, or the name is that of a network's file.
    """
    if name in _builders or Path(name).suffix == NETWORK_SUFFIX:
        raise ValueError(f"there is a method '{name}' already, or it is a file; take another name")
    _builders[name] = builder


def _of_file(path: Path, options: MethodOptions) -> Method:
    """The method of a network's file."""
    net, cut = load_network(path), saved_cut(path) or "box"
    name, about = options.name or path.stem, {"network": sha256_of(path)}
    if isinstance(net, HeatmapNet | KeypointNet):
        if options.shapes is not None:
            raise ValueError(
                f"{path} finds keypoints in the picture and takes no shapes; leave them out"
            )
        return KeypointMethod(
            net=net.to(options.device), name=name, cut=cut, decoding=options.decoding,
            detections=options.detections, about=about,
        )  # fmt: skip
    _check_shapes(path, net, options)
    is_hand_net = isinstance(net.backbone, HandBackbone)
    if options.points is not None and (is_hand_net or cut != "box"):
        raise ValueError(
            f"{path} sees crops about the landmarks that are detected, so hands are placed by "
            "these; leave the points out"
        )
    model = hand(net.config.hand_model)
    return NetworkMethod(
        net=net if is_hand_net else net.to(options.device),
        points=options.points, name=name, model=model,
        betas=None if options.shapes is None else options.shapes(model),
        cut=cut, detections=options.detections, batch=options.batch, about=about,
    )  # fmt: skip


def _check_shapes(path: Path, net: Regressor, options: MethodOptions) -> None:
    """Whether shapes are given to a network that takes them, before the long work."""
    use = net.config.identity
    if options.shapes is None and use == "given":
        raise ValueError(
            f"{path} predicts no shape and needs everybody's: give --shapes true, mean, profiles "
            "or predictions"
        )
    if options.shapes is not None and use == "predicted":
        raise ValueError(
            f"{path} predicts every shape itself and takes none; leave the shapes out, or name an "
            "identity-aware network"
        )


def _landmarks(options: MethodOptions) -> Method:
    if options.hand_model is None:
        raise ValueError("the landmark fit needs a hand model; name one (MethodOptions.hand_model)")
    model = hand(options.hand_model)
    betas = None if options.shapes is None else options.shapes(model)
    name = options.name or "landmarks"
    return LandmarkMethod(model=model, name=name, betas=betas, detections=options.detections)


def _shipped(name: str) -> Builder:
    return lambda options: _of_file(shipped_networks() / f"{name}{NETWORK_SUFFIX}", options)


add_method("landmarks", _landmarks)
for _name in SHIPPED:
    add_method(_name, _shipped(_name))
