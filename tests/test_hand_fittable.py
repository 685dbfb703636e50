"""What fitting needs of a hand, and what is refused."""

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.geometry import rotation_from_vector
from idhand.hand import (
    HAND_LENGTH,
    KEYPOINT_JOINT,
    BonePoints,
    FittableHand,
    HandModel,
    Measures,
    ShapePrior,
    landmark_points,
)

from .conftest import toy_hand


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prior(seed: int, num_betas: int = 4) -> ShapePrior:
    root = draw(seed, num_betas, num_betas)
    return ShapePrior(mean=draw(seed + 1, num_betas), covariance=root @ root.mT)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (("measures",), "it has no measures; give all parts"),
        (("pose_space", "prior"), "it has no pose space, no prior; give"),
        (("landmarks",), "it has no landmarks; give"),
    ],
)
def test_a_missing_part_is_named(parts: tuple[str, ...], named: str) -> None:
    """The check of types is off outside of the tests; there a user meets this sentence."""
    hand = SimpleNamespace(**{**vars(toy_hand()), **dict.fromkeys(parts)})
    with pytest.raises(ValueError, match=rf"hand model 'toy' cannot be fitted: {named}"):
        FittableHand.__post_init__(hand)  # pyright: ignore[reportArgumentType]


def test_left_hands_and_hands_without_a_length_are_refused() -> None:
    with pytest.raises(ValueError, match="'toy' is a left hand; fits are made with the right one"):
        replace(toy_hand(), is_right=False)
    hand = toy_hand()
    for names, listed in ((("width",), "width"), ((), "none")):
        other = replace(hand.measures, names=names)
        with pytest.raises(
            ValueError, match=f"no measure '{HAND_LENGTH}', .* it has {listed}: add"
        ):
            replace(hand, measures=other)


def test_the_other_hand_is_a_plain_model() -> None:
    left = toy_hand().mirrored()
    assert type(left) is HandModel
    assert left.num_betas == 4


def test_priors_of_populations() -> None:
    hand = replace(toy_hand(), populations={"old": prior(0), "young": prior(2)})
    assert hand.of_population("all").prior is hand.prior
    young = hand.of_population("young")
    assert young.prior is hand.populations["young"]
    assert young.of_population("all").prior is hand.prior, "the way back"
    assert hand.of_population("young").name == hand.name
    with pytest.raises(ValueError, match="no population 'tall'; it knows all, old, young"):
        hand.of_population("tall")
    assert_close(prior(0).precision @ prior(0).covariance, torch.eye(4).double())


def test_all_numbers_move_to_another_type() -> None:
    hand = replace(toy_hand(), populations={"old": prior(0)}).to(torch.float32)
    assert isinstance(hand, FittableHand)
    records = (hand, hand.pose_space, hand.landmarks, hand.measures, hand.prior)
    for record in (*records, hand.populations["old"]):
        values = [getattr(record, f.name) for f in fields(record)]
        kinds = {value.dtype for value in values if torch.is_tensor(value)}
        assert torch.float32 in kinds
        assert kinds <= {torch.float32, torch.int64}
    assert (hand.name, hand.parents) == (toy_hand().name, toy_hand().parents)
    assert torch.equal(hand.template, toy_hand().template.float())
    again = hand.to(device="cpu")
    assert again.template.dtype == torch.float32


def posed_points(hand: HandModel, points: BonePoints, betas: Tensor, pose: Tensor) -> Tensor:
    """Points carried by their bones: R (p − joint at rest) + joint."""
    shaped = hand.with_shape(betas)
    R, joints = shaped.chain(pose, torch.zeros(3).double())
    from_joint = points.at_rest(betas) - shaped.rest_joints[points.joint]
    return (R[points.joint] @ from_joint[..., None])[..., 0] + joints[points.joint]


def test_keypoints_ride_on_their_bones() -> None:
    """Joints exactly; fingertips as far as their skin hangs on the last joint alone."""
    rigid = torch.zeros(40, 16).double()
    rigid[torch.arange(40), torch.tensor([3, 6, 9, 12, 15] * 8)] = 1
    hand = replace(toy_hand(), skinning=rigid, pose_basis=None)
    betas, pose = draw(0, 4), rotation_from_vector(draw(1, 16, 3))
    posed = hand.with_shape(betas).posed(pose, torch.zeros(3).double())
    points = hand.keypoints_on_bones
    assert_close(posed_points(hand, points, betas, pose), posed.keypoints)
    assert points.joint.tolist() == list(KEYPOINT_JOINT)
    assert points.bias_covariance.shape == (63, 63)
    assert not points.bias_covariance.any()
    batch = draw(2, 3, 2, 4)
    assert_close(points.at_rest(batch)[2, 1], points.at_rest(batch[2, 1]))


def test_landmarks_are_keypoints_with_offsets_that_grow() -> None:
    hand, offsets = toy_hand(), 0.01 * draw(0, 21, 3)
    growth = torch.tensor([0.05, 0.01, 0.0, -0.02]).double()
    covariance = torch.eye(63).double()
    betas = draw(1, 4)
    full = landmark_points(hand, growth, offsets, covariance)
    expected = hand.keypoints_on_bones.at_rest(betas) + offsets * (1 + growth @ betas)
    assert_close(full.at_rest(betas), expected)
    assert full.joint.tolist() == list(KEYPOINT_JOINT)
    assert full.bias_covariance is covariance
    none = landmark_points(hand, growth, offsets, covariance, gain=0.0)
    wrist = hand.keypoint_template[0]
    average = wrist + (hand.keypoint_template - wrist + offsets) * (1 + growth @ betas)
    assert_close(none.at_rest(betas), average)  # everybody is the average hand, larger or smaller
    half = landmark_points(hand, growth, offsets, covariance, gain=0.5)
    assert_close(half.at_rest(betas), (expected + average) / 2)


def test_lengths_are_sums_of_weighted_distances() -> None:
    points = torch.tensor([[0.0, 0, 0], [3, 4, 0], [3, 4, 12]]).double()
    basis = torch.zeros(3, 3, 1).double()
    basis[2, 2, 0] = 1.0  # the last point moves along z
    measures = Measures(
        names=("first", "both"),
        points=points,
        shape_basis=basis,
        segments=torch.tensor([[0, 1], [1, 2]]),
        coefficients=torch.tensor([[1.0, 0], [0.5, 1]]).double(),
    )
    betas = torch.tensor([[0.0], [1.5]]).double()
    assert_close(measures.lengths(betas), torch.tensor([[5, 14.5], [5, 16]]).double())
    assert_close(measures.derivatives(betas[0]), torch.tensor([[0.0], [1.0]]).double())
    path = measures.path("both", betas[1])  # a part that counts half is cut there
    assert path.tolist() == [[0, 0, 0], [1.5, 2, 0], [3, 4, 13.5]]


def test_hands_of_another_size_keep_their_proportions() -> None:
    hand, betas = open_hand(), 0.7 * draw(0, 3, 16)
    growth = hand.measures.growth
    assert_close(hand.relative_size(betas), 1 + betas @ growth)
    size = torch.tensor([0.7, 1.0, 1.4]).double()
    other = hand.resized(betas, size)
    assert_close(hand.relative_size(other), size)
    assert_close(hand.resized(other, hand.relative_size(betas)), betas)

    def proportions(b: Tensor) -> Tensor:
        verts = hand.with_shape(b).rest_verts - hand.with_shape(b).rest_joints[:, :1]
        return verts / hand.relative_size(b)[:, None, None]

    assert float((proportions(other) - proportions(betas)).norm(dim=-1).max()) < 2e-4
    doubled = hand.resized(torch.zeros(16).double(), torch.tensor(2.0).double())
    assert_close(doubled, hand.uniform_growth)


def test_deviations_of_measures_are_propagated_by_autograd_s_derivatives():
    measures, rng = open_hand().measures, torch.Generator().manual_seed(0)
    betas = torch.randn(4, 16, generator=rng).double()
    root = torch.randn(4, 16, 16, generator=rng).double()
    covariance = root @ root.mT
    for one, cov, D, sd in zip(
        betas, covariance, measures.derivatives(betas), measures.deviations(betas, covariance),
        strict=True,
    ):  # fmt: skip
        expected = torch.autograd.functional.jacobian(measures.lengths, one)
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(D, expected)
        torch.testing.assert_close(sd, (expected @ cov @ expected.mT).diagonal().sqrt())
