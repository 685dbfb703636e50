"""The keypoint network as a task: batches of crops → loss terms."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from idhand.hand import KEYPOINT_PARENTS, HandModel
from idhand.losses import reduced
from idhand.nets.keypoints import KeypointEstimate, KeypointNet
from idhand.training.batches import Batch
from idhand.training.keypoint_loss import KeypointLossConfig, keypoint_terms, sides_of
from idhand.training.tasks import keypoints_wrist, truth_of

NUM_VERTS = 16
"""Of the hand model that gives the bones' directions, which needs no mesh."""
BONE_START, BONE_END = list(KEYPOINT_PARENTS[1:]), list(range(1, len(KEYPOINT_PARENTS)))


class KeypointTask(nn.Module):
    """The keypoint network."""

    def __init__(self, net: KeypointNet, model: HandModel, loss: KeypointLossConfig | None = None):
        super().__init__()
        self.net = net
        self.loss = loss or KeypointLossConfig()
        self._model = reduced(model, NUM_VERTS)

    def _apply(self, fn: Any, recurse: bool = True) -> "KeypointTask":
        """Let the hand model move with the network."""
        super()._apply(fn, recurse)
        self._model = self._model.to(device=self.net.grid.device)
        return self

    def true_directions(self, batch: Batch) -> Float[Tensor, "batch 20 3"]:
        """From each keypoint's parent to it in the view, of unit length."""
        truth = truth_of(batch)
        points = keypoints_wrist(self._model, truth.rotations, truth.betas)
        return F.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Weighted loss terms."""
        estimate = self.estimate(batch)
        assert batch.seen is not None
        return keypoint_terms(
            estimate, sides_of(batch.points_px), self.true_directions(batch), batch.seen, self.loss
        )

    def estimate(self, batch: Batch) -> KeypointEstimate:
        """Of crops, or of what was kept of them."""
        inputs = batch.inputs01
        return self.net(inputs) if inputs.ndim == 4 else self.net.from_flat(inputs)


class FlatMaps(nn.Module):
    """What is kept of crops for training, see `KeypointNet.flat`."""

    def __init__(self, net: KeypointNet):
        super().__init__()
        self.net = net

    def forward(self, images01: Float[Tensor, "batch 3 224 224"]) -> Float[Tensor, "batch numbers"]:
        """One vector for each crop."""
        return self.net.flat(images01)
