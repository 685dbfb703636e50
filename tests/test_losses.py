import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from idhand.assets import open_hand
from idhand.geometry import rotation_from_vector, sixd_from_rotation
from idhand.hand import HandModel
from idhand.losses import (
    LossConfig,
    Truth,
    confidence_only,
    edge_loss,
    gaussian_nll,
    loss_terms,
    mesh_loss,
    normal_loss,
    ours,
    paper,
    rank_accuracy,
    ranking_loss,
    reduced,
    shape_errors,
    total,
)
from idhand.nets.estimate import Estimate
from tests.conftest import toy_hand


def normal(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def covariance(n: int, b: int) -> Tensor:
    A = normal(n, b, b, seed=5)
    return A @ A.mT + 0.1 * torch.eye(b)


def estimate_of(vectors: Tensor, betas: Tensor, *, seen: bool = True) -> Estimate:
    R = rotation_from_vector(vectors)
    n, b = betas.shape
    return Estimate(
        sixd=sixd_from_rotation(R),
        rotations=R,
        betas=betas,
        betas_image=betas if seen else None,
        betas_cov=covariance(n, b) if seen else None,
        confidence=normal(n, seed=6) if seen else None,
    )


def truth(n: int, b: int) -> Truth:
    return Truth(rotations=rotation_from_vector(0.3 * normal(n, 16, 3)), betas=normal(n, b, seed=1))


ALL = LossConfig(keypoints=5.0, shape_nll=1.0, ranking=1.0)


def test_the_truth_has_no_error():
    true = truth(3, 4)
    right = estimate_of(0.3 * normal(3, 16, 3), true.betas)
    terms = loss_terms(right, true, toy_hand(), ALL)
    for name in ("mesh", "edge", "keypoints", "pose", "shape"):
        assert float(terms[name]) < 1e-12, name
    wrong = estimate_of(0.3 * normal(3, 16, 3) + 0.1, true.betas + 0.5)
    worse = loss_terms(wrong, true, toy_hand(), ALL)
    for name in ("mesh", "edge", "keypoints", "pose", "shape"):
        assert float(worse[name]) > 1e-4, name
    assert worse["shape"] == pytest.approx(0.5)


def test_terms_are_weighted_and_unused_ones_left_out():
    true = truth(3, 4)
    wrong = estimate_of(normal(3, 16, 3), normal(3, 4, seed=9))
    terms = loss_terms(wrong, true, toy_hand(), ALL)
    assert set(terms) == {
        "mesh", "normal", "edge", "keypoints", "pose", "shape", "shape_nll", "ranking",
    }  # fmt: skip
    doubled = loss_terms(wrong, true, toy_hand(), LossConfig(mesh=10.0, pose=0.0))
    assert set(doubled) == {"mesh", "normal", "edge", "shape"}
    assert doubled["mesh"] == pytest.approx(2 * terms["mesh"])
    assert total(terms) == pytest.approx(sum(terms.values()))
    given = estimate_of(normal(3, 16, 3), true.betas, seen=False)
    assert set(loss_terms(given, true, toy_hand(), ALL)) == {
        "mesh", "normal", "edge", "keypoints", "pose",
    }  # fmt: skip
    with pytest.raises(ValueError, match="no loss term applies"):
        total(loss_terms(given, true, toy_hand(), confidence_only()))
    with pytest.raises(ValueError, match="'edge' must be 0 or more"):
        LossConfig(edge=-1.0)


def test_the_paper_s_weights_are_in_metres():
    """The same sum as the authors', who work in units of 0.2 m."""
    true, wrong = truth(2, 4), estimate_of(normal(2, 16, 3), normal(2, 4, seed=9))
    model = toy_hand()
    seen = model.with_shape(wrong.betas).posed(wrong.rotations, torch.zeros(2, 3)).verts / 0.2
    real = model.with_shape(true.betas).posed(true.rotations, torch.zeros(2, 3)).verts / 0.2
    expected = (
        mesh_loss(seen, real)
        + 0.1 * normal_loss(seen, real, model.faces)
        + edge_loss(seen, real, model.faces)
        + (wrong.sixd - sixd_from_rotation(true.rotations)).abs().mean()
        + (wrong.betas - true.betas).abs().mean()
    )
    shown = model.faces.unique()
    assert len(shown) == len(model.template) - 1  # the toy has one vertex without a face
    expected += mesh_loss(seen[:, shown], real[:, shown]) - mesh_loss(seen, real)
    assert total(loss_terms(wrong, true, model, paper())) == pytest.approx(expected)


def test_normals_and_edges_by_hand():
    verts = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]])
    faces = torch.tensor([[0, 1, 2]])
    tilted = verts.clone()
    tilted[0, 2] = torch.tensor([0.0, 0.0, 2.0])  # second edge now along the normal
    # Edges: (1,0,0), (0,0,2), (-1,0,2) against the normal (0,0,1).
    assert normal_loss(tilted, verts, faces) == pytest.approx((0 + 1 + 2 / 5**0.5) / 3)
    assert normal_loss(verts, verts, faces) == 0
    stretched = verts * torch.tensor([2.0, 1.0, 1.0])
    assert edge_loss(stretched, verts, faces) == pytest.approx((1 + 0 + 8**0.5 - 5**0.5) / 3)


def test_nll_is_the_gaussian_s():
    residuals, cov = normal(5, 4), covariance(5, 4)
    density = torch.distributions.MultivariateNormal(torch.zeros(4).double(), cov)
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    expected = -density.log_prob(residuals).mean() / 4 - constant
    torch.testing.assert_close(gaussian_nll(residuals, cov), expected)
    assert gaussian_nll(residuals, -cov).isnan()


def test_nll_gradients_are_right():
    A = normal(2, 3, 3).requires_grad_()
    residuals = normal(2, 3, seed=3).requires_grad_()
    assert gradcheck(lambda r, a: gaussian_nll(r, a @ a.mT + torch.eye(3)), (residuals, A))


def test_loss_gradients_are_right():
    true = truth(2, 4)
    vectors = (0.4 * normal(2, 16, 3, seed=7)).requires_grad_()
    betas = normal(2, 4, seed=8).requires_grad_()

    def loss(vectors: Tensor, betas: Tensor) -> Tensor:
        return total(loss_terms(estimate_of(vectors, betas), true, toy_hand(), ours()))

    assert gradcheck(loss, (vectors, betas))


def test_nll_prefers_the_right_spread():
    residuals = 0.7 * normal(4000, 2)
    scores = [
        float(gaussian_nll(residuals, (s**2 * torch.eye(2).double()).expand(4000, 2, 2)))
        for s in (0.5, 0.7, 1.0)
    ]
    assert scores[1] == min(scores)


def test_ranking_by_hand():
    confidence = torch.tensor([3.0, 1.0, 0.0])
    errors = torch.tensor([0.1, 0.5, 0.2])
    # Pairs: (0,1) right by 2, (0,2) right by 3, (1,2) wrong by 1 → hinges 0, 0, 2.
    assert ranking_loss(confidence, errors) == pytest.approx(2 / 3)
    assert ranking_loss(confidence, errors, margin=0.0) == pytest.approx(1 / 3)
    assert rank_accuracy(confidence, errors) == pytest.approx(2 / 3)
    assert rank_accuracy(-errors, errors) == 1
    assert rank_accuracy(errors, errors) == 0
    same = torch.zeros(3)
    assert ranking_loss(confidence, same) == pytest.approx(1.0)  # ties cost the margin


def test_ranking_teaches_the_order():
    x, weights = normal(64, 8).float(), normal(8, 1, seed=2).float()
    errors = torch.sigmoid(x @ weights)[:, 0]
    head = torch.nn.Linear(8, 1)
    torch.nn.init.zeros_(head.weight)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    assert rank_accuracy(head(x)[:, 0], errors) == 0
    for _ in range(100):
        optimiser.zero_grad()
        ranking_loss(head(x)[:, 0], errors).backward()
        optimiser.step()
    assert rank_accuracy(head(x)[:, 0], errors) > 0.95


def test_shape_errors_have_no_gradient():
    betas = normal(3, 4).requires_grad_()
    errors = shape_errors(betas, betas.detach() + torch.tensor([1.0, -1.0, 0.0, 0.0]))
    torch.testing.assert_close(errors, torch.full((3,), 0.5).double())
    assert not errors.requires_grad


def full_pose(model: HandModel, betas: Tensor, vectors: Tensor):
    R = rotation_from_vector(vectors)
    return model.with_shape(betas).posed(R, torch.zeros(len(betas), 3, dtype=betas.dtype))


@pytest.mark.parametrize("model", [toy_hand(), open_hand()], ids=["toy", "open"])
def test_a_reduced_model_is_the_same_hand(model: HandModel):
    small = reduced(model, 30, dtype=torch.float64)
    assert len(small.faces.unique()) <= 30
    betas, vectors = normal(3, model.num_betas), 0.5 * normal(3, 16, 3, seed=2)
    a, b = full_pose(model, betas, vectors), full_pose(small, betas, vectors)
    torch.testing.assert_close(b.keypoints, a.keypoints)
    torch.testing.assert_close(b.joints, a.joints)
    distance = torch.cdist(b.verts[:, small.faces.unique()], a.verts).amin(-1)
    assert distance.max() < 1e-7  # the precision of cdist
    triangles, all_triangles = b.verts[:, small.faces], a.verts[:, model.faces]
    nearest = torch.cdist(triangles[0].flatten(1), all_triangles[0].flatten(1)).amin(-1)
    assert nearest.max() < 1e-7  # its faces are faces, wound as before


def test_a_reduced_model_s_loss_stands_for_the_whole_one():
    model = open_hand()
    true = truth(8, 16)
    wrong = estimate_of(0.3 * normal(8, 16, 3) + 0.1 * normal(8, 16, 3, seed=4), true.betas)
    whole = loss_terms(wrong, true, model, paper())
    few = loss_terms(wrong, true, reduced(model, 300, dtype=torch.float64), paper())
    for name in ("mesh", "normal"):
        assert float(few[name]) == pytest.approx(float(whole[name]), rel=0.25), name


def test_reduced_sets_the_type_and_keeps_all_when_asked():
    model = open_hand()
    all_of_it = reduced(model, None)
    assert all_of_it.template.shape == model.template.shape
    assert all_of_it.template.dtype == torch.float32
    assert all_of_it.faces.dtype == torch.int64
    assert len(reduced(model, 10**6).template) == len(model.template)
