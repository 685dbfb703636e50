"""Features → joint rotations, in three stages that each correct the last one's pose."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idhand.geometry import rotation_from_6d, sixd_from_rotation
from idhand.nets.layers import Mlp, Modulation

NUM_STAGES = 3
NUM_JOINTS = 16
IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OFFICIAL_6D = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""Where the authors' baseline starts: the identity's first two columns read as rows, which is no
rotation. Source: their released code, docs/method.md, section 7."""

Update = Literal["multiply", "add"]
Start = Literal["identity", "official"]
Init = Literal["near_start", "plain"]
UPDATES, STARTS, INITS = get_args(Update), get_args(Start), get_args(Init)


class PoseDecoder(nn.Module):
    """Three stages with weights of their own.

    Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB Images",
    ECCV 2022; details from the released code, docs/method.md, section 7.
    """

    start: Tensor

    def __init__(
        self, num_features: int, hidden: Sequence[int], *, update: Update, start: Start, init: Init
    ):
        super().__init__()
        self._update: Update = update
        outputs = NUM_JOINTS * 6
        self.stages = nn.ModuleList(
            Mlp((num_features + outputs, *hidden, outputs)) for _ in range(NUM_STAGES)
        )
        values = IDENTITY_6D if start == "identity" else OFFICIAL_6D
        # Not persistent: it follows from the configuration.
        self.register_buffer("start", torch.tensor(values).repeat(NUM_JOINTS, 1), persistent=False)
        if init == "near_start":
            no_change = torch.tensor(IDENTITY_6D if update == "multiply" else (0.0,) * 6)
            for stage in self.stages:
                assert isinstance(stage, Mlp)
                stage.shrink_last(no_change.repeat(NUM_JOINTS))

    def forward(
        self,
        features: Float[Tensor, "batch features"],
        modulations: Sequence[Modulation] | None = None,
    ) -> list[Float[Tensor, "batch 16 6"]]:
        """The state after each stage.

        Args:
            features: Of the image.
            modulations: One per stage, for its first layer.
        """
        state = self.start.to(features.dtype).expand(len(features), -1, -1)
        states = []
        for i, stage in enumerate(self.stages):
            inputs = torch.cat((features, state.flatten(1)), 1)
            delta = stage(inputs, modulations[i] if modulations else None).unflatten(1, (-1, 6))
            match self._update:
                case "multiply":
                    R = rotation_from_6d(delta) @ rotation_from_6d(state)
                    state = sixd_from_rotation(R)
                case "add":
                    state = state + delta
            states.append(state)
        return states
