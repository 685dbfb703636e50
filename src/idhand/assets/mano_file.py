"""What a MANO file holds: the arrays of one hand, in MANO's own joint order and rest frame.

MANO: Romero, Tzionas and Black, "Embodied Hands", 2017. Its files cannot be shipped here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NUM_VERTS, NUM_FACES, NUM_BETAS, NUM_ANGLES = 778, 1538, 10, 45


@dataclass(frozen=True, kw_only=True)
class ManoFile:
    """One hand of MANO, float64, metres; the left one as it is shipped, not mirrored.

    Joints: wrist, then three each of index, middle, little and ring finger and thumb. Rest frame:
    a T-posed body's hand with palms down; the right fingers to −x, the palm to −y, the thumb to +z.
    """

    is_right: bool
    template: Float[np.ndarray, "778 3"]
    """`v_template`."""
    shape_basis: Float[np.ndarray, "778 3 10"]
    """`shapedirs`, metres per standard deviation."""
    pose_basis: Float[np.ndarray, "778 3 135"]
    """`posedirs`, metres per entry of 15 rotations minus identity, row-major."""
    joint_regressor: Float[np.ndarray, "16 778"]
    """`J_regressor`, dense."""
    skinning: Float[np.ndarray, "778 16"]
    """`weights`."""
    faces: Int[np.ndarray, "1538 3"]
    """`f`, outward normals by the right-hand rule."""
    pose_mean: Float[np.ndarray, " 45"]
    """`hands_mean`, rotation vectors, radians."""
    pose_components: Float[np.ndarray, "45 45"]
    """`hands_components`: a row each; coefficients have unit variance over the scans."""
