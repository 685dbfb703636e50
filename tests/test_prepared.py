"""Pictures cut for shards: geometry, order, bytes, damaged files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idhand import files
from idhand.data import MemoryData, Shards, write_shards
from idhand.data.prepared import BOX_SCALE, Prepared, Square, cut_sample, without_damaged
from idhand.files import only_writer
from idhand.geometry import project
from idhand.records import OTHER_PART, UNPARTED_HAND, Sample
from tests.dexycb_tree import fixture_root, hands, opened

K = np.array([[600.0, 0, 310.2], [0, 610.0, 235.7], [0, 0, 1]])


def sample(
    rgb: np.ndarray,
    *,
    scale_m: float = 0.05,
    at_m: tuple[float, float] = (0.0, 0.0),
    name: str = "a",
) -> Sample:
    """A picture with 21 points about a place, 0.6 m from the camera."""
    rng = np.random.default_rng(len(name))
    points = np.concatenate(
        (rng.uniform(-scale_m, scale_m, (21, 2)) + at_m, np.full((21, 1), 0.6)), 1
    )
    pixels = project(torch.from_numpy(points), torch.from_numpy(K)).numpy()
    return Sample(
        rgb=rgb,
        K=K,
        dist=np.zeros(5),
        is_right=False,
        bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
        subject=name,
        model=None,
        betas=None,
        rotations=None,
        wrist_cam=None,
        keypoints_px=pixels,
        keypoints_cam=points,
        valid=np.ones(21, bool),
        visible=None,
        parts=None,
        dataset="test",
        id=f"x/{name}.1",
        sequence=None,
        time_s=None,
    )


BLACK = np.zeros((480, 640, 3), np.uint8)


@given(
    x=st.floats(-0.3, 0.3),
    y=st.floats(-0.3, 0.3),
    scale=st.floats(0.01, 0.12),
    size=st.sampled_from([None, 96, 320]),
)
def test_points_and_cameras_agree_in_every_square(
    x: float, y: float, scale: float, size: int | None
) -> None:
    whole = sample(BLACK, scale_m=scale, at_m=(x, y))
    cut = cut_sample(whole, size)
    assert cut.keypoints_cam is not None
    again = project(torch.from_numpy(cut.keypoints_cam), torch.from_numpy(cut.K)).numpy()
    assert np.abs(again - cut.keypoints_px).max() < 1e-8
    side = cut.rgb.shape[0]
    assert cut.rgb.shape == (size or side, size or side, 3)
    low, high = cut.bbox_px[:2], cut.bbox_px[2:]
    # the square is three times the box, in whole pixels of the picture, about the same centre
    pixel = side / Square.about(whole.bbox_px).side_px
    assert 0 <= side - BOX_SCALE * (high - low).max() <= pixel + 1e-6
    assert np.abs((low + high) / 2 - (side - 1) / 2).max() <= 0.5 * pixel + 1e-6
    assert not cut.is_right


def test_a_square_worked_out_by_hand() -> None:
    square = Square.about(np.array([100.0, 50.0, 119.0, 60.0]))
    assert (square.side_px, square.left_px, square.top_px) == (57, 82, 27)
    # its first pixel's left edge, 81.5, becomes the left edge of a picture, −0.5; its last 138.5
    A = square.to_size(19)
    edges = A @ np.array([[81.5, 138.5], [26.5, 83.5], [1, 1]])
    assert np.allclose(edges[:2], [[-0.5, 18.5], [-0.5, 18.5]])


@pytest.mark.parametrize("size", [64, 200])
def test_what_a_pixel_shows_stays_at_its_point(size: int) -> None:
    whole = sample(BLACK.copy())
    for point in whole.keypoints_px[::5]:
        whole.rgb[:] = 0
        column, row = np.rint(point).astype(int).tolist()
        whole.rgb[row - 4 : row + 5, column - 4 : column + 5] = 255
        cut = cut_sample(whole, size)
        A = Square.about(whole.bbox_px).to_size(size)
        light = cut.rgb[..., 0].astype(float)
        rows, columns = np.indices(light.shape)
        centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        assert np.abs(centre - (A @ (column, row, 1))[:2]).max() < 0.05


def test_native_squares_keep_the_pixels_and_are_black_outside() -> None:
    rng = np.random.default_rng(1)
    whole = sample(rng.integers(1, 255, (480, 640, 3), dtype=np.uint8), at_m=(0.25, 0.15))
    cut, square = cut_sample(whole, None), Square.about(whole.bbox_px)
    right, bottom = 640 - square.left_px, 480 - square.top_px
    assert right < square.side_px
    assert bottom < square.side_px
    expected = whole.rgb[square.top_px :, square.left_px :]
    assert np.array_equal(cut.rgb[:bottom, :right], expected)
    assert not cut.rgb[bottom:].any()
    assert not cut.rgb[:, right:].any()


def test_a_square_beyond_the_picture_is_black() -> None:
    whole = sample(np.full((480, 640, 3), 200, np.uint8), at_m=(1.0, 0.0))
    assert not cut_sample(whole, 96).rgb.any()


def sets(num: int) -> MemoryData:
    rng = np.random.default_rng(0)
    return MemoryData(
        sample(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8), name=f"{k:03d}")
        for k in range(num)
    )


def test_people_are_mixed_and_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    source = Prepared(sets(12), size_px=64)
    write_shards(source, tmp_path / "one", workers=1)
    write_shards(Prepared(sets(12), size_px=64), tmp_path / "two", workers=2)
    (shard,) = (tmp_path / "one").glob("*.tar")
    assert shard.read_bytes() == (tmp_path / "two" / shard.name).read_bytes()
    order = [source[i].subject for i in range(12)]
    assert order != sorted(order, key=str)
    assert sorted(order, key=str) == [s.subject for s in sets(12)]
    assert [Prepared(sets(12), seed=1)[i].subject for i in range(12)] != order
    read = {s.id: s for s in Shards(tmp_path / "one")}
    for i in range(12):
        assert np.abs(read[source[i].id].K - source[i].K).max() < 1e-5
        assert np.abs(read[source[i].id].rgb.mean() - source[i].rgb.mean()) < 2
    with pytest.raises(ValueError, match="size_px is 64 there and 96 now"):
        write_shards(Prepared(sets(12), size_px=96), tmp_path / "one", workers=1)


def test_names_must_differ_and_sizes_be_sane() -> None:
    with pytest.raises(ValueError, match="same name"):
        Prepared(MemoryData([sample(BLACK), sample(BLACK)]))
    with pytest.raises(ValueError, match="64 to 2048 px, got 5"):
        Prepared(sets(1), size_px=5)


def test_masks_keep_to_the_hand(tmp_path: Path) -> None:
    parts = np.zeros((480, 640), np.uint8)
    parts[200:260, 280:330], parts[300:320, 300:320] = UNPARTED_HAND, OTHER_PART
    whole = sample(np.repeat(255 * (parts == UNPARTED_HAND)[..., None], 3, 2).astype(np.uint8))
    cut = cut_sample(Sample(**{**vars(whole), "parts": parts}), 150)
    assert cut.parts is not None
    assert set(np.unique(cut.parts)) <= {0, UNPARTED_HAND, OTHER_PART}
    assert np.mean((cut.rgb[..., 0] > 127) != (cut.parts == UNPARTED_HAND)) < 0.01


def test_damaged_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    tree = opened(fixture_root(), tmp_path)
    data = tree.data(tree.lists("dexycb-s1")["test"], hands())
    whole, problems = without_damaged(data)
    (problem,) = problems
    assert "subject-09" in problem
    assert "cut off; it is left out" in problem
    assert len(whole) == len(data) - 1
    source = Prepared(whole, size_px=96)
    assert {source[i].rgb.shape for i in range(0, len(source), 29)} == {(96, 96, 3)}
    memory = sets(2)
    assert without_damaged(memory) == (memory, ())


def test_one_process_at_a_time_writes_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT_S", 0.0)
    second = only_writer(tmp_path)
    with only_writer(tmp_path), pytest.raises(ValueError, match="another process is writing into"):
        second.__enter__()
    with only_writer(tmp_path):
        pass


def test_jpegs_have_little_loss() -> None:
    rng = np.random.default_rng(2)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8), (0, 0), 6)
    source = Prepared(MemoryData([sample(smooth)]), size_px=96)
    decoded = cv2.imdecode(np.frombuffer(source.entry(0)["jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.abs(decoded[..., ::-1].astype(int) - source[0].rgb).mean() < 2
