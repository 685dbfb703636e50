import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from idhand.assets import open_hand
from idhand.geometry import rotation_from_vector
from idhand.hand import KEYPOINT_PARENTS
from idhand.nets.heatmaps import (
    HeatmapNet,
    heatmap_loss,
    keypoints_from_heatmaps,
    target_heatmaps,
    tip_relations,
)


def points_in(side: int, n: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 10 + (side - 20) * torch.rand(n, 21, 2, generator=rng)


def skeletons(n: int, side: int) -> tuple[Tensor, Tensor]:
    """Pictures of hands drawn as coloured bones, and their keypoints in px."""
    rng = torch.Generator().manual_seed(0)
    model = open_hand()
    assert model.pose_space is not None
    angles = model.pose_space.mean + 0.4 * torch.randn(n, model.pose_space.num_dofs, generator=rng)
    wrist = 0.4 * torch.randn(n, 1, 3, generator=rng, dtype=torch.float64)
    R = torch.cat((rotation_from_vector(wrist), model.pose_space.rotations(angles)), 1)
    hand = model.with_shape(torch.zeros(n, 16, dtype=torch.float64))
    points = hand.posed(R, torch.zeros(n, 3, dtype=torch.float64)).keypoints[..., :2]
    points = points - points.mean(1, keepdim=True)
    points = side / 2 + points * 0.4 * side / points.abs().amax((1, 2), keepdim=True)
    images = np.full((n, side, side, 3), 40, np.uint8)
    colours = [
        tuple(int(v) for v in c) for c in np.random.default_rng(0).integers(80, 255, (21, 3))
    ]
    for image, joints in zip(images, points.numpy(), strict=True):
        for k, parent in enumerate(KEYPOINT_PARENTS[1:], 1):
            a, b = ([round(float(x)) for x in joints[j]] for j in (k, parent))
            cv2.line(image, a, b, colours[k], 2)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, points.float()


def trained(net: HeatmapNet, images: Tensor, points: Tensor, steps: int, batch: int) -> list[float]:
    """Loss of each step."""
    targets = target_heatmaps(points, images.shape[-1])
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    rng, losses = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        some = torch.randperm(len(images), generator=rng)[:batch]
        optimiser.zero_grad()
        loss = heatmap_loss(net(images[some]), targets[some])
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def test_a_target_is_a_gaussian_halved_by_opencv():
    points = torch.tensor([[60.7, 41.2]]).expand(1, 21, 2)
    found = target_heatmaps(points, centers="truncated")[0, 0].numpy()
    picture = np.zeros((224, 224), np.float32)
    offset = np.arange(-6, 7)
    kernel = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 3.5**2))
    picture[41 - 6 : 41 + 7, 60 - 6 : 60 + 7] = kernel
    np.testing.assert_allclose(found, cv2.resize(picture, (112, 112)), atol=1e-6)


def test_targets_outside_are_empty():
    points = torch.tensor([[-0.5, 10.0], [10.0, 224.0], [223.9, 0.0]]).repeat(1, 7, 1)
    peaks = target_heatmaps(points).amax((2, 3))[0]
    assert (peaks.view(7, 3)[:, :2] == 0).all()
    assert (peaks.view(7, 3)[:, 2] > 0.5).all()


def errors_cells(points: Tensor, heatmaps: Tensor, **options: str) -> Tensor:
    found = keypoints_from_heatmaps(heatmaps, **options)  # pyright: ignore[reportArgumentType]
    return (found.points_px - points).norm(dim=-1) / 2


def test_decoding_is_finer_than_a_cell():
    points = points_in(224, 50)
    heatmaps = target_heatmaps(points)
    assert errors_cells(points, heatmaps).max() < 0.1
    assert errors_cells(points, heatmaps, decoding="argmax").mean() > 0.3
    rng = torch.Generator().manual_seed(1)
    noisy = 0.8 * heatmaps + 0.02 * torch.randn(heatmaps.shape, generator=rng)
    assert errors_cells(points, noisy.clamp(0, 1)).mean() < 0.1
    confidence = keypoints_from_heatmaps(0.8 * heatmaps).confidence
    assert ((confidence > 0.7) & (confidence <= 0.8)).all()


def test_argmax_is_the_middle_of_the_highest_cell():
    heatmaps = torch.zeros(1, 21, 112, 112)
    heatmaps[..., 30, 50] = 0.7
    found = keypoints_from_heatmaps(heatmaps, "argmax")
    assert torch.equal(found.points_px[0, 0], torch.tensor([100.5, 60.5]))
    assert torch.equal(found.confidence, torch.full((1, 21), 0.7))


def test_flat_and_cut_maps_decode_to_finite_points():
    flat = torch.full((1, 21, 112, 112), 0.1)
    corner = target_heatmaps(torch.full((1, 21, 2), 0.2))
    for heatmaps in (flat, corner, torch.zeros_like(flat)):
        points = keypoints_from_heatmaps(heatmaps).points_px
        assert points.isfinite().all()
        assert (points >= 0).all()
    assert errors_cells(torch.full((1, 21, 2), 0.2), corner).max() < 0.6


def test_tip_relations_are_pairs_in_order():
    heatmaps = torch.arange(21.0)[None, :, None, None].expand(1, 21, 2, 2)
    sums = tip_relations(heatmaps)[0, :, 0, 0].tolist()
    assert sums == [12, 16, 20, 24, 20, 24, 28, 28, 32, 36]


@pytest.mark.slow
def test_size_and_first_steps():
    torch.manual_seed(0)
    net = HeatmapNet()
    assert 41e6 < sum(p.numel() for p in net.parameters()) < 44e6
    images, points = skeletons(4, 64)
    losses = trained(net, images, points, steps=6, batch=4)
    assert losses[-1] < 0.6 * losses[0]
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())


@pytest.mark.slow
def test_sixty_four_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    net = HeatmapNet()
    images, points = skeletons(64, 64)
    losses = trained(net, images, points, steps=150, batch=16)
    assert losses[-1] < 0.1 * losses[0]
    with torch.inference_mode():
        heatmaps = net.eval()(images)[-1].sigmoid()
    found = keypoints_from_heatmaps(heatmaps)
    error = (found.points_px - points).norm(dim=-1)
    assert error.median() < 1.5
    assert (error < 3.0).float().mean() > 0.9
    assert found.confidence.median() > 0.5
