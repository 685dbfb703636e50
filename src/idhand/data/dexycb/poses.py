"""DexYCB's 51 numbers of a hand → our rotations and wrist."""

import numpy as np
import torch
from jaxtyping import Float

from idhand.assets.mano_parameters import ManoParameters, PlacedHand, from_mano
from idhand.hand import FittableHand


def placed_hands(
    model: FittableHand,
    pose_m: Float[np.ndarray, "hands 51"],
    betas: Float[np.ndarray, "hands betas"],
    *,
    is_right: bool,
) -> PlacedHand:
    """Hands of one side, in the frame that the numbers are in.

    Args:
        model: The side's; for left hands MANO's as shipped, mirrored.
        pose_m: Rotation vector of the wrist, 45 coefficients about the mean pose, translation in
            metres.
        betas: Of each.
        is_right: The side.

    Raises:
        ValueError: If the model has no principal components of its poses, as MANO has.
    """
    pose = torch.from_numpy(pose_m.astype(np.float64))
    parameters = ManoParameters(
        global_orient=pose[:, :3],
        hand_pose=pose[:, 3:48],
        betas=torch.from_numpy(betas),
        transl=pose[:, 48:],
        form="pca",
        about_mean=True,
    )
    return from_mano(model, parameters, is_right=is_right)
