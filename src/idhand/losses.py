"""What training minimises: named terms of an estimate against the truth. Pure.

Both hands are posed with the wrist joint at the origin. The paper poses them about MANO's own
origin, where the wrist moves with the shape; root-relative errors are the same.
"""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from idhand.geometry import sixd_from_rotation
from idhand.hand import HandModel, PosedHand
from idhand.nets.estimate import Estimate

PAPER_UNIT_M = 0.2
"""The authors' networks work in this unit, so that their length terms weigh 5 per metre."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a batch of crops really shows."""

    rotations: Float[Tensor, "batch 16 3 3"]
    """Each joint relative to its parent, the wrist's to the view."""
    betas: Float[Tensor, "batch betas"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weight of each term; a term of weight zero is not computed."""

    mesh: float = 5.0
    """Per metre: mean absolute error of vertex coordinates."""
    normal: float = 0.1
    """Mean cosine between predicted edges and true normals."""
    edge: float = 5.0
    """Per metre: mean absolute error of edge lengths."""
    keypoints: float = 0.0
    """Per metre: mean absolute error of keypoint coordinates."""
    pose: float = 1.0
    """Mean absolute error of the 6D rotations."""
    shape: float = 1.0
    """Per beta: mean absolute error of what the picture alone shows."""
    shape_nll: float = 0.0
    """Gaussian negative log-likelihood of the true betas, per beta."""
    landmarks: float = 0.0
    """Per side of the crop: mean absolute error of the keypoints that a hand net in training sees
    in the picture itself."""
    ranking: float = 0.0
    """Order of the confidences within the batch."""
    ranking_margin: float = 1.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"loss weight '{field.name}' must be 0 or more, got {value}")


def paper() -> LossConfig:
    """The weights of the authors' code, lengths in metres instead of 0.2 m.

    For the baseline; networks that predict no shape have no `shape` term.
    """
    return LossConfig()


def ours() -> LossConfig:
    """The paper's terms, keypoints, and a likelihood that calibrates the shape's covariance."""
    return LossConfig(keypoints=5.0, shape_nll=0.5)


def confidence_only(margin: float = 1.0) -> LossConfig:
    """The second stage of training: only the ranking of confidences."""
    none = {field.name: 0.0 for field in fields(LossConfig)}
    return LossConfig(**none | {"ranking": 1.0, "ranking_margin": margin})


def loss_terms(
    estimate: Estimate, truth: Truth, model: HandModel, config: LossConfig
) -> dict[str, Float[Tensor, ""]]:
    """The terms that have a weight and a meaning for this network, weighted, by name.

    Args:
        estimate: Of a batch.
        truth: Of the same batch, in the same floating-point type.
        model: Full or `reduced`; of the batch's device and type.
        config: Weights.
    """
    terms: dict[str, Tensor] = {}
    if config.mesh or config.normal or config.edge or config.keypoints:
        terms |= _hand_terms(estimate, truth, model, config)
    if config.pose:
        terms["pose"] = (estimate.sixd - sixd_from_rotation(truth.rotations)).abs().mean()
    if estimate.betas_image is not None:
        if config.shape:
            terms["shape"] = (estimate.betas_image - truth.betas).abs().mean()
        if config.shape_nll and estimate.betas_cov is not None:
            terms["shape_nll"] = gaussian_nll(
                truth.betas - estimate.betas_image, estimate.betas_cov
            )
        if config.ranking and estimate.confidence is not None:
            errors = shape_errors(estimate.betas_image, truth.betas)
            terms["ranking"] = ranking_loss(
                estimate.confidence, errors, margin=config.ranking_margin
            )
    return {name: getattr(config, name) * value for name, value in terms.items()}


def total(terms: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Sum of weighted terms.

    Raises:
        ValueError: If there are none: the weights and the network do not fit.
    """
    if not terms:
        raise ValueError("no loss term applies to this network; set a weight of what it predicts")
    return torch.stack(tuple(terms.values())).sum()


def _hand_terms(
    estimate: Estimate, truth: Truth, model: HandModel, config: LossConfig
) -> dict[str, Tensor]:
    seen = _posed(model, estimate.rotations, estimate.betas)
    with torch.no_grad():
        true = _posed(model, truth.rotations, truth.betas)
    terms: dict[str, Tensor] = {}
    if config.mesh:
        shown = model.faces.unique()  # a reduced model's last vertices belong to no face
        terms["mesh"] = mesh_loss(seen.verts[:, shown], true.verts[:, shown])
    if config.normal:
        terms["normal"] = normal_loss(seen.verts, true.verts, model.faces)
    if config.edge:
        terms["edge"] = edge_loss(seen.verts, true.verts, model.faces)
    if config.keypoints:
        terms["keypoints"] = (seen.keypoints - true.keypoints).abs().mean()
    return terms


def _posed(model: HandModel, rotations: Tensor, betas: Tensor) -> PosedHand:
    return model.with_shape(betas).posed(rotations, torch.zeros_like(rotations[:, 0, 0]))


def mesh_loss(
    verts: Float[Tensor, "batch verts 3"], true: Float[Tensor, "batch verts 3"]
) -> Float[Tensor, ""]:
    """Mean absolute error of coordinates."""
    return (verts - true).abs().mean()


def _edges(verts: Tensor, faces: Tensor) -> Float[Tensor, "batch faces 3 3"]:
    """The three edges of each face: first to second, first to third, second to third corner."""
    a, b, c = (verts[:, faces[:, k]] for k in range(3))
    return torch.stack((b - a, c - a, c - b), 2)


def normal_loss(
    verts: Float[Tensor, "batch verts 3"],
    true: Float[Tensor, "batch verts 3"],
    faces: Int[Tensor, "faces 3"],
) -> Float[Tensor, ""]:
    """Mean absolute cosine between each predicted edge and the true normal of its face."""
    e = F.normalize(_edges(true, faces)[:, :, :2], dim=-1)
    normals = F.normalize(torch.linalg.cross(e[:, :, 0], e[:, :, 1]), dim=-1)
    edges = F.normalize(_edges(verts, faces), dim=-1)
    return (edges * normals[:, :, None]).sum(-1).abs().mean()


def edge_loss(
    verts: Float[Tensor, "batch verts 3"],
    true: Float[Tensor, "batch verts 3"],
    faces: Int[Tensor, "faces 3"],
) -> Float[Tensor, ""]:
    """Mean absolute error of the lengths of all faces' edges."""
    return (_edges(verts, faces).norm(dim=-1) - _edges(true, faces).norm(dim=-1)).abs().mean()


def gaussian_nll(
    residuals: Float[Tensor, "batch betas"], cov: Float[Tensor, "batch betas betas"]
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood per beta, without its constant.

    A covariance that is not positive definite gives NaN instead of an error.
    """
    L, _ = torch.linalg.cholesky_ex(cov)
    white = torch.linalg.solve_triangular(L, residuals[..., None], upper=False)[..., 0]
    half_logdet = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (0.5 * white.square().sum(-1) + half_logdet).mean() / residuals.shape[-1]


def shape_errors(
    betas: Float[Tensor, "batch betas"], true: Float[Tensor, "batch betas"]
) -> Float[Tensor, " batch"]:
    """Mean absolute error of each sample's betas, without gradients: what confidence ranks."""
    return (betas - true).abs().mean(-1).detach()


def _pairs(
    confidence: Tensor, errors: Tensor
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Over all unordered pairs: difference of confidences, and the sign it should have."""
    first, second = torch.triu_indices(len(errors), len(errors), 1, device=errors.device)
    return confidence[first] - confidence[second], (errors[second] - errors[first]).sign()


def ranking_loss(
    confidence: Float[Tensor, " batch"], errors: Float[Tensor, " batch"], *, margin: float = 1.0
) -> Float[Tensor, ""]:
    """Mean hinge over all pairs of the batch: smaller errors should have larger confidences.

    Source: Kong et al., ECCV 2022; docs/method.md, section 7.
    """
    difference, sign = _pairs(confidence, errors)
    return (margin - sign * difference).clamp_min(0).mean()


def rank_accuracy(
    confidence: Float[Tensor, " batch"], errors: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Share of pairs in the right order, 0..1; chance is a half."""
    difference, sign = _pairs(confidence, errors)
    return (sign * difference > 0).to(errors.dtype).mean()


def reduced(
    model: HandModel,
    num_verts: int | None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> HandModel:
    """The model for training: fewer vertices to skin, spread over the surface, the same skeleton.

    Keeps whole faces and all fingertips. The joints come along as vertices without a face, so that
    they depend on the shape exactly as before.

    Args:
        model: Full.
        num_verts: About how many vertices remain; None or more than there are: all.
        dtype: Of the result.
        device: Where it lives.
    """
    small = HandModel(**{field.name: getattr(model, field.name) for field in fields(HandModel)})
    if num_verts is not None and num_verts < len(model.template):
        small = _with_faces(small, _spread_faces(model, num_verts))
    return small.to(dtype, device)


def _spread_faces(model: HandModel, num_verts: int) -> Int[Tensor, "faces 3"]:
    """Faces far from each other, by farthest points, until they have so many corners."""
    centers = model.template[model.faces].mean(1)
    distance = torch.full_like(centers[:, 0], torch.inf)
    chosen = [0]
    while 3 * len(chosen) < num_verts:
        distance = torch.minimum(distance, (centers - centers[chosen[-1]]).norm(dim=-1))
        chosen.append(int(distance.argmax()))
    return model.faces[chosen]


def _with_faces(model: HandModel, faces: Int[Tensor, "faces 3"]) -> HandModel:
    """The model of these faces and the fingertips, joints appended as vertices."""
    kept = torch.cat((faces.flatten(), torch.tensor(model.tip_verts))).unique()
    new = torch.full((len(model.template),), -1)
    new[kept] = torch.arange(len(kept))
    joints = torch.eye(len(model.joint_template), dtype=model.template.dtype)
    pose_basis = model.pose_basis
    if pose_basis is not None:
        still = pose_basis.new_zeros(len(joints), *pose_basis.shape[1:])
        pose_basis = torch.cat((pose_basis[kept], still))
    return replace(
        model,
        template=torch.cat((model.template[kept], model.joint_template)),
        shape_basis=torch.cat((model.shape_basis[kept], model.joint_basis)),
        pose_basis=pose_basis,
        joint_regressor=torch.cat((joints.new_zeros(len(joints), len(kept)), joints), 1),
        skinning=torch.cat((model.skinning[kept], joints)),
        faces=new[faces],
        tip_verts=tuple(new[list(model.tip_verts)].tolist()),
    )
