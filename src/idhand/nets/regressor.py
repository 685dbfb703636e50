"""One network for all of the paper's 3D models and for ours: crop → rotations, shape, confidence.

Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
ECCV 2022. Beyond it: features that know the person (`film`), a covariance of the shape, a frozen
hand net as the backbone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from idhand.geometry import rotation_from_6d
from idhand.nets.backbones import BACKBONES, HAND_NETS, BackboneName, build_backbone
from idhand.nets.decoder import INITS, NUM_STAGES, STARTS, UPDATES, Init, PoseDecoder, Start, Update
from idhand.nets.estimate import Estimate
from idhand.nets.layers import Mlp, Modulation, Standardise
from idhand.nets.marks import Marks

IdentityUse = Literal["predicted", "given", "film"]
IDENTITY_USES = get_args(IdentityUse)
Part = Literal["all", "confidence"]

IDENTITY_WIDTH = 32
"""Of the vector that stands for a person."""
MIN_SHAPE_STD = 0.1
"""In betas: no single picture shows a shape better, whatever an over-fitted net predicts."""


@dataclass(frozen=True, kw_only=True)
class RegressorConfig:
    """What a network is made of."""

    backbone: BackboneName
    tune: bool = False
    """Of a hand net: also train its weights, which are then the network's own."""
    identity: IdentityUse
    """`predicted`: the shape comes from the picture. `given`: it must be given, and only the hand
    layer uses it (the paper). `film`: where it is given, it also changes the features."""
    hand_model: str
    """Name of the model that rotations and betas belong to."""
    num_betas: int
    update: Update = "multiply"
    """How a stage's output changes the pose."""
    start: Start = "identity"
    init: Init = "near_start"
    """`near_start`: untrained, the net predicts the start pose and the mean shape."""
    trunk: int | None = None
    """Width of a layer between backbone and heads; None: heads read the backbone's features."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Of each stage."""
    shape_hidden: tuple[int, ...] | None = None
    """Of the shape head; None: as `hidden`."""
    shape_cov: bool = False
    """The shape head also predicts a covariance."""
    confidence: Literal["none", "linear"] = "none"
    confidence_hidden: tuple[int, ...] = ()
    """Layers before the confidence's linear one."""

    def __post_init__(self):
        choices = {
            "backbone": BACKBONES,
            "identity": IDENTITY_USES,
            "update": UPDATES,
            "start": STARTS,
            "init": INITS,
            "confidence": ("none", "linear"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'")
        if self.tune and self.backbone not in HAND_NETS:
            raise ValueError(f"tune is for hand nets; {self.backbone} is always trained")
        trunk = () if self.trunk is None else (self.trunk,)
        widths = (*trunk, *self.hidden, *(self.shape_hidden or ()), *self.confidence_hidden)
        if min((self.num_betas, *widths)) < 1:
            raise ValueError("widths and numbers of betas must be 1 or more")
        if self.start == "official" and self.update == "multiply":
            raise ValueError("the official start is not a rotation; it needs update='add'")
        if self.identity == "given" and (self.shape_cov or self.confidence != "none"):
            raise ValueError(
                "a network with identity='given' predicts no shape, so it has neither a shape's "
                "covariance nor a confidence in one; use 'predicted' or 'film'"
            )

    @property
    def is_frozen(self) -> bool:
        """The backbone is never trained."""
        return self.backbone in HAND_NETS and not self.tune

    def build(self) -> "Regressor":
        """The network with fresh weights, from torch's random state."""
        return Regressor(self)


class Regressor(nn.Module):
    """Crop of a right hand → `Estimate` in the view's frame."""

    def __init__(self, config: RegressorConfig):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, tune=config.tune)
        self.num_features: int = self.backbone.num_features
        width = self.num_features
        self.trunk: nn.Sequential | None = None
        if config.trunk is not None:
            self.trunk = nn.Sequential(Standardise(width), nn.Linear(width, config.trunk))
            width = config.trunk
        self.decoder = PoseDecoder(
            width, config.hidden, update=config.update, start=config.start, init=config.init
        )
        self.shape = None if config.identity == "given" else _shape_head(width, config)
        self.film = (
            IdentityFilm(config.num_betas, (width, *(_first_width(config),) * NUM_STAGES))
            if config.identity == "film"
            else None
        )
        self.confidence = (
            Mlp((width, *config.confidence_hidden, 1)) if config.confidence == "linear" else None
        )
        self._trained: Part = "all"
        self.marks: Marks | None = None
        """Where on its hand model the points lie that its hand net marks, if that was fitted."""

    @property
    def is_frozen(self) -> bool:
        """The backbone is never trained, so its features can be kept."""
        return self.config.is_frozen

    def features(
        self, images01: Float[Tensor, "batch 3 224 224"]
    ) -> Float[Tensor, "batch features"]:
        """The backbone's part: RGB crops of right hands, 0..1 → `num_features` numbers each."""
        return self.backbone(images01)

    def measure(self, features: Float[Tensor, "samples features"]) -> None:
        """Set the trunk's scale of inputs from typical features; once, before training."""
        if self.trunk is not None:
            standardise = self.trunk[0]
            assert isinstance(standardise, Standardise)
            standardise.measure(features)

    def forward(
        self,
        images01: Float[Tensor, "batch 3 224 224"],
        betas: Float[Tensor, "batch betas"] | None = None,
        known: Bool[Tensor, " batch"] | None = None,
    ) -> Estimate:
        """Estimate from RGB crops of right hands, 0..1; the rest as in `from_features`."""
        return self.from_features(self.features(images01), betas, known)

    def from_features(
        self,
        features: Float[Tensor, "batch features"],
        betas: Float[Tensor, "batch betas"] | None = None,
        known: Bool[Tensor, " batch"] | None = None,
    ) -> Estimate:
        """Estimate from the backbone's features.

        Args:
            features: What `features` returned.
            betas: The persons' shapes. Ignored with identity `predicted`, needed with `given`.
            known: Where the betas count, for `film`; everywhere if it is not given.

        Raises:
            ValueError: If a shape is needed and not given, or has another length.
        """
        betas = self._checked(betas)
        # Mixed precision ends at the backbone: the heads are small, and rotations need float32.
        with torch.autocast(features.device.type, enabled=False):
            return self._estimate(features.to(self.decoder.start.dtype), betas, known)

    def _estimate(self, features: Tensor, betas: Tensor | None, known: Tensor | None) -> Estimate:
        image = features if self.trunk is None else torch.relu(self.trunk(features))
        betas_image, betas_cov = self._shape(image)
        modulations, x = None, image
        if self.film is not None:
            known = _known(features, betas, known)
            first, *modulations = self.film(betas, known)
            x = first(image)
        if betas_image is None or self.config.identity == "given":
            assert betas is not None
            shape = betas
        elif self.config.identity == "film" and betas is not None and known is not None:
            shape = torch.where(known[:, None], betas, betas_image)
        else:
            shape = betas_image
        sixd = self.decoder(x, modulations)[-1]
        return Estimate(
            sixd=sixd,
            rotations=rotation_from_6d(sixd),
            betas=shape,
            betas_image=betas_image,
            betas_cov=betas_cov,
            confidence=None if self.confidence is None else self.confidence(image.detach())[:, 0],
        )

    def train_only(self, part: Part) -> list[nn.Parameter]:
        """Freeze everything else for good, batch norms included; returns what is to be trained.

        Raises:
            ValueError: If the network lacks that part.
        """
        if part == "confidence" and self.confidence is None:
            raise ValueError("this network has no confidence head; build it with one")
        self._trained = part
        self.requires_grad_(part == "all")
        if self.confidence is not None:
            self.confidence.requires_grad_(True)
        self.train(self.training)
        return [p for p in self.parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> "Regressor":
        """Training mode for what is trained; frozen parts stay in evaluation mode."""
        super().train(mode)
        if mode and self._trained == "confidence":
            for child in self.children():
                child.train(child is self.confidence)
        return self

    def _checked(self, betas: Tensor | None) -> Tensor | None:
        config = self.config
        if config.identity == "predicted":
            return None
        if betas is None and config.identity == "given":
            raise ValueError("this network does not predict shapes; give it each person's betas")
        if betas is not None and betas.shape[-1] != config.num_betas:
            raise ValueError(
                f"this network takes {config.num_betas} betas of hand model "
                f"'{config.hand_model}', got {betas.shape[-1]}"
            )
        return betas

    def _shape(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.shape is None:
            return None, None
        out = self.shape(image)
        n = self.config.num_betas
        return out[:, :n], _covariance(out[:, n:], n) if self.config.shape_cov else None


class IdentityFilm(nn.Module):
    """A person's shape → how the features of each layer are scaled and shifted.

    Unknown persons have one learned vector. Source: Perez et al., "FiLM: Visual Reasoning with a
    General Conditioning Layer", AAAI 2018.
    """

    def __init__(self, num_betas: int, widths: Iterable[int]):
        super().__init__()
        self.widths = tuple(widths)
        self.known = Mlp((num_betas, IDENTITY_WIDTH, IDENTITY_WIDTH))
        self.unknown = nn.Parameter(torch.zeros(IDENTITY_WIDTH))
        self.modulation = nn.Linear(IDENTITY_WIDTH, 2 * sum(self.widths))
        with torch.no_grad():  # at first the person hardly matters
            self.modulation.weight.mul_(0.1)
            self.modulation.bias.zero_()

    def forward(
        self, betas: Float[Tensor, "batch betas"] | None, known: Bool[Tensor, " batch"]
    ) -> list[Modulation]:
        """One modulation per layer; the betas count where they are known."""
        person = self.unknown.expand(len(known), -1)
        if betas is not None:
            safe = torch.where(known[:, None], betas, torch.zeros_like(betas))
            person = torch.where(known[:, None], self.known(safe), person)
        out = self.modulation(person).split([2 * width for width in self.widths], 1)
        return [Modulation(*part.chunk(2, 1)) for part in out]


def _known(features: Tensor, betas: Tensor | None, known: Tensor | None) -> Tensor:
    if betas is None:
        if known is not None and known.any():
            raise ValueError("some people are known, but no betas are given; give their betas")
        return torch.zeros(len(features), dtype=torch.bool, device=features.device)
    if known is None:
        return torch.ones(len(features), dtype=torch.bool, device=features.device)
    return known


def _first_width(config: RegressorConfig) -> int:
    """Outputs of a stage's first layer."""
    return config.hidden[0] if config.hidden else 16 * 6


def _shape_head(width: int, config: RegressorConfig) -> Mlp:
    n = config.num_betas
    hidden = config.hidden if config.shape_hidden is None else config.shape_hidden
    head = Mlp((width, *hidden, n + (n * (n + 1) // 2 if config.shape_cov else 0)))
    if config.init == "near_start":
        bias = torch.zeros_like(head.layers[-1].bias)  # pyright: ignore[reportArgumentType]
        bias[n : 2 * n if config.shape_cov else n] = 0.5  # a spread of about one
        head.shrink_last(bias)
    return head


def _covariance(
    numbers: Float[Tensor, "batch numbers"], num_betas: int
) -> Float[Tensor, "batch betas betas"]:
    """Positive definite: Cholesky factor from its diagonal, then its rows below the diagonal."""
    diagonal = F.softplus(numbers[:, :num_betas]) + MIN_SHAPE_STD
    rows, columns = torch.tril_indices(num_betas, num_betas, -1, device=numbers.device)
    L = torch.diag_embed(diagonal).index_put(
        (torch.arange(len(numbers), device=numbers.device)[:, None], rows, columns),
        numbers[:, num_betas:],
    )
    return L @ L.mT


def baseline_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """Ours, anonymous: hand net, shape from the picture with its covariance."""
    return RegressorConfig(
        backbone="hand_studio",
        identity="predicted",
        hand_model=hand_model,
        num_betas=num_betas,
        trunk=448,
        hidden=(256, 128),
        shape_hidden=(128,),
        shape_cov=True,
    )


def identity_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """The paper's identity-aware network on the hand net: the hand layer knows the shape."""
    return replace(baseline_network(hand_model, num_betas), identity="given", shape_cov=False)


def confidence_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """The baseline with the confidence branch."""
    return replace(baseline_network(hand_model, num_betas), confidence="linear")


def identity_film_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """Ours, one network for anonymous and for known persons; the shipped default."""
    return replace(baseline_network(hand_model, num_betas), identity="film")


def official_baseline_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """The authors' baseline, with its additive updates from a start that is not a rotation."""
    return RegressorConfig(
        backbone="resnet50",
        identity="predicted",
        hand_model=hand_model,
        num_betas=num_betas,
        update="add",
        start="official",
        init="plain",
    )


def official_identity_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """The authors' identity-aware network."""
    return RegressorConfig(
        backbone="resnet50",
        identity="given",
        hand_model=hand_model,
        num_betas=num_betas,
        init="plain",
    )


def official_confidence_network(hand_model: str, num_betas: int) -> RegressorConfig:
    """The authors' baseline with its confidence branch."""
    return replace(official_baseline_network(hand_model, num_betas), confidence="linear")
