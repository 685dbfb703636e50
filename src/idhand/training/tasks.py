"""What is trained, as modules that turn a batch into named loss terms."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from idhand.hand import HandModel
from idhand.losses import Truth, loss_terms, ranking_loss, reduced, shape_errors
from idhand.nets.backbones import CROP_SIDE_PX, HandBackbone
from idhand.nets.estimate import Estimate
from idhand.nets.heatmaps import HeatmapNet, heatmap_loss, target_heatmaps
from idhand.nets.regressor import Regressor
from idhand.training.batches import Batch
from idhand.training.config import TrainConfig
from idhand.training.draws import IDENTITY_KNOWN, IDENTITY_NOISE, normals, uniforms

FULL_PRECISION = torch.float32
OUTSIDE_PX = -1e3
"""A coordinate outside any crop."""


class RegressorTask(nn.Module):
    """A regressor, all of it that is not frozen, or its confidence branch alone."""

    def __init__(self, net: Regressor, model: HandModel, config: TrainConfig):
        super().__init__()
        self.net = net
        self.config = config
        self._full_model = model
        self.model = reduced(model, config.num_verts)
        """Small, float32, where the network is."""
        if config.task == "confidence":
            net.train_only("confidence")

    def _apply(self, fn: Any, recurse: bool = True) -> "RegressorTask":
        """Let the hand model move with the network."""
        super()._apply(fn, recurse)
        device = next(self.net.parameters()).device
        self.model = reduced(self._full_model, self.config.num_verts, device=device)
        return self

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Weighted loss terms."""
        betas, known = self._given_betas(batch)
        features = self._features(batch)
        estimate = self._estimate(features, betas, known)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            truth, loss = truth_of(batch), self.config.loss
            if self.config.task == "confidence":
                return {"ranking": self._ranking(estimate, truth)}
            terms = loss_terms(estimate, truth, self.model, loss)
            if loss.landmarks and isinstance(backbone := self.net.backbone, HandBackbone):
                seen_px = backbone.landmarks_px(features)
                terms["landmarks"] = loss.landmarks * landmark_loss(seen_px, batch.points_px)
            return terms

    def estimate(
        self,
        batch: Batch,
        betas: Float[Tensor, "batch betas"] | None,
        known: Bool[Tensor, " batch"] | None = None,
    ) -> Estimate:
        """The network's estimate, in float32 however it was computed."""
        return self._estimate(self._features(batch), betas, known)

    def _features(self, batch: Batch) -> Float[Tensor, "batch features"]:
        """The batch's, or those of its pictures."""
        inputs = batch.inputs01
        return self.net.features(inputs) if inputs.ndim == 4 else inputs

    def _estimate(
        self,
        features: Float[Tensor, "batch features"],
        betas: Float[Tensor, "batch betas"] | None,
        known: Bool[Tensor, " batch"] | None,
    ) -> Estimate:
        out = self.net.from_features(features, betas, known)
        floats = {
            name: value.to(FULL_PRECISION) for name, value in vars(out).items() if value is not None
        }
        return replace(out, **floats)

    def errors(self, estimate: Estimate, truth: Truth) -> Float[Tensor, " batch"]:
        """What the confidences shall rank: of betas, or of keypoints in metres."""
        if self.config.confidence_target == "shape":
            assert estimate.betas_image is not None
            return shape_errors(estimate.betas_image, truth.betas)
        seen = keypoints_wrist(self.model, estimate.rotations, estimate.betas)
        true = keypoints_wrist(self.model, truth.rotations, truth.betas)
        return (seen - true).norm(dim=-1).mean(-1).detach()

    def _ranking(self, estimate: Estimate, truth: Truth) -> Float[Tensor, ""]:
        assert estimate.confidence is not None
        margin = self.config.loss.ranking_margin
        errors = self.errors(estimate, truth)
        return self.config.loss.ranking * ranking_loss(estimate.confidence, errors, margin=margin)

    def _given_betas(self, batch: Batch) -> tuple[Tensor | None, Bool[Tensor, " batch"] | None]:
        """The betas given to the network, and for which examples they are."""
        config, identity = self.config, self.net.config.identity
        if config.task == "confidence" or identity == "predicted":
            return None, None
        betas, device = batch.betas, batch.inputs.device
        assert betas is not None
        indices, seed = batch.index.cpu().numpy(), config.loop.seed
        if config.identity_noise:
            noise = normals(seed, batch.epoch, indices, IDENTITY_NOISE, betas.shape[1])
            betas = betas + config.identity_noise * torch.from_numpy(noise).to(betas)
        if identity == "given":
            return betas, None
        drawn = uniforms(seed, batch.epoch, indices, IDENTITY_KNOWN, 1)[:, 0]
        return betas, torch.from_numpy(drawn >= config.identity_dropout).to(device)


class HeatmapTask(nn.Module):
    """The 2D network."""

    def __init__(self, net: HeatmapNet):
        super().__init__()
        self.net = net

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The loss of all stages; keypoints that are not known have empty heatmaps."""
        logits = self.net(batch.inputs01)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            points_px = batch.points_px.nan_to_num(nan=OUTSIDE_PX)
            side_px = batch.inputs.shape[-1]
            targets = target_heatmaps(points_px, side_px)
            return {"heatmaps": heatmap_loss([stage.float() for stage in logits], targets)}


def landmark_loss(
    seen_px: Float[Tensor, "batch 21 2"], true_px: Float[Tensor, "batch 21 2"]
) -> Float[Tensor, ""]:
    """Mean absolute difference in sides of the crop, of the keypoints that are known."""
    wrong = (seen_px - true_px) / CROP_SIDE_PX
    is_known = torch.isfinite(wrong)
    return torch.where(is_known, wrong, 0).abs().sum() / is_known.sum().clamp(min=1)


def truth_of(batch: Batch) -> Truth:
    """What a batch of hands really is."""
    assert batch.rotations is not None
    assert batch.betas is not None
    return Truth(rotations=batch.rotations, betas=batch.betas)


def keypoints_wrist(
    model: HandModel, rotations: Float[Tensor, "batch 16 3 3"], betas: Float[Tensor, "batch betas"]
) -> Float[Tensor, "batch 21 3"]:
    """Keypoints with the wrist at the origin, metres, axes of the view."""
    return model.with_shape(betas).posed(rotations, torch.zeros_like(rotations[:, 0, 0])).keypoints


def with_confidence(net: Regressor) -> Regressor:
    """The trained network with a fresh confidence branch, if it has none.

    Raises:
        ValueError: If it predicts no shape that one could be confident of.
    """
    config = net.config
    if config.confidence != "none":
        return net
    if config.identity == "given":
        raise ValueError(
            "this network is given the shape and predicts none, so there is nothing to be "
            "confident of; start from a network that predicts shapes, such as `baseline`"
        )
    extended = replace(config, confidence="linear").build()
    missing, odd = extended.load_state_dict(net.state_dict(), strict=False)
    assert not odd
    assert all(name.startswith("confidence.") for name in missing)
    extended.marks = net.marks
    return extended
