import pickle
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.records import OTHER_PART
from idhand.synth import Rendered, Studio, StudioConfig, studio_preset
from tests.test_data_sets import keeps_the_protocol

SMALL = replace(studio_preset("standard"), num_subjects=5, num_images=40, size_px=96)


@cache
def studio(config: StudioConfig = SMALL) -> Studio:
    return Studio(config)


@cache
def picture(index: int, config: StudioConfig = SMALL) -> Rendered:
    return studio(config).render(index)


SOME = range(0, 40, 3)


def test_a_picture_depends_on_nothing_but_its_number():
    forwards = [studio().entry(i) for i in (3, 17, 18, 30)]
    other = pickle.loads(pickle.dumps(studio()))
    backwards = [other.entry(i) for i in (30, 18, 17, 3)]
    assert forwards == backwards[::-1]
    assert studio().entry(4) != studio().entry(3)
    reseeded = Studio(replace(SMALL, seed=1))
    assert reseeded.entry(3) != studio().entry(3)


def test_the_studio_is_a_data_set():
    video = replace(SMALL, num_subjects=2, num_images=4, frames=2, size_px=64, object_share=0.0)
    keeps_the_protocol(Studio(video))
    assert Studio(video).sequences() == [range(2), range(2, 4)]
    assert Studio(video).fingerprint() != Studio(replace(video, seed=1)).fingerprint()


def test_what_is_said_of_a_picture_agrees_with_itself():
    model = open_hand()
    for i in SOME:
        s = picture(i).sample
        assert s.betas is not None
        assert s.rotations is not None
        assert s.wrist_cam is not None
        assert s.keypoints_cam is not None
        flip = np.array([1.0 if s.is_right else -1.0, 1.0, 1.0])
        hand = model.with_shape(torch.from_numpy(s.betas))
        posed = hand.posed(torch.from_numpy(s.rotations), torch.from_numpy(s.wrist_cam * flip))
        np.testing.assert_allclose(posed.keypoints.numpy() * flip, s.keypoints_cam, atol=1e-9)
        pixels = (s.keypoints_cam @ s.K.T)[:, :2] / s.keypoints_cam[:, 2:]
        np.testing.assert_allclose(pixels, s.keypoints_px, atol=1e-6)
        np.testing.assert_allclose(s.bbox_px, [*pixels.min(0), *pixels.max(0)], atol=1e-6)


def test_seen_keypoints_lie_on_the_hand():
    shown = 0
    for i in SOME:
        s = picture(i).sample
        assert s.visible is not None
        assert s.parts is not None
        for u, v in np.rint(s.keypoints_px[s.visible]).astype(int):
            window = s.parts[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2]
            assert ((window >= 1) & (window <= 17)).any()
            shown += 1
    assert shown > 80


def test_the_hand_is_where_its_labels_say():
    """Depth under the labels is the hand's own; the rest of the picture has none."""
    for i in SOME:
        made = picture(i)
        s = made.sample
        assert s.parts is not None
        assert s.keypoints_cam is not None
        mask = s.mask
        assert mask is not None
        assert mask.mean() > 0.02
        z = s.keypoints_cam[:, 2]
        assert made.depth_m[mask].min() > z.min() - 0.05
        assert made.depth_m[mask].max() < z.max() + 0.05
        assert np.isinf(made.depth_m[s.parts == 0]).all()


def test_sides_people_and_keys():
    samples = [picture(i).sample for i in SOME]
    assert {s.is_right for s in samples} == {True, False}
    assert len({s.subject for s in samples}) == 5
    assert len({s.id for s in samples}) == len(samples)
    first = [picture(i).sample for i in (0, 7)]
    assert first[0].subject == first[1].subject
    np.testing.assert_array_equal(first[0].betas, first[1].betas)


def test_splits_share_nobody():
    configs = [replace(SMALL, split=split, num_images=5) for split in ("train", "val", "test")]
    samples = [Studio(config).render(0).sample for config in configs]
    assert len({str(s.betas) for s in samples}) == 3
    assert len({s.subject for s in samples}) == 3


@pytest.mark.parametrize(
    ("field", "off"),
    [
        ("skin", "plain"),
        ("light", "flat"),
        ("pose", "open"),
        ("background", "plain"),
        ("sensor", "none"),
    ],
)
def test_each_factor_can_be_switched_off(field: str, off: str):
    plain = replace(SMALL, **{field: off})
    made, usual = picture(6, plain), picture(6)  # pyright: ignore[reportArgumentType]
    assert not np.array_equal(made.sample.rgb, usual.sample.rgb)
    if field != "pose":
        np.testing.assert_array_equal(made.sample.keypoints_px, usual.sample.keypoints_px)
    else:
        assert made.sample.rotations is not None
        np.testing.assert_allclose(made.sample.rotations[1:], np.tile(np.eye(3), (15, 1, 1)))


def test_frames_of_a_sequence_move_a_little():
    film = replace(SMALL, frames=8, num_images=16, num_subjects=2, object_share=0.0)
    samples = [picture(i, film).sample for i in range(16)]
    assert {s.sequence for s in samples[:8]} != {s.sequence for s in samples[8:]}
    assert len({s.sequence for s in samples[:8]}) == 1
    assert [s.time_s for s in samples[:3]] == pytest.approx([0, 1 / 30, 2 / 30])
    for sample in samples[1:8]:
        np.testing.assert_allclose(sample.K, samples[0].K, err_msg="one camera for all frames")
    size = np.ptp(samples[0].keypoints_px, axis=0).max()
    steps = [np.abs(a.keypoints_px - b.keypoints_px).max() for a, b in pairwise(samples[:8])]
    assert 0 < max(steps) < 0.25 * size


def test_light_and_place_stay_during_a_sequence():
    """Whatever the hand does, the same numbers are drawn for what is about it."""
    film = replace(SMALL, frames=8, num_images=16, num_subjects=2, object_share=0.0)
    changes = []
    for first in (0, 8):
        samples = [picture(first + i, film).sample for i in range(8)]
        for a, b in pairwise(samples):
            both = (a.parts == 0) & (b.parts == 0)
            changes.append(np.abs(a.rgb[both].astype(float) - b.rgb[both]).mean())
    other = [picture(i, film).sample.rgb.astype(float) for i in (0, 8)]
    assert max(changes) < 0.5 * np.abs(other[0] - other[1]).mean(), changes


def test_things_and_other_hands_are_labelled_as_such():
    crowded = replace(SMALL, object_share=0.5, second_hand_share=0.5)
    others = [(picture(i, crowded).sample.parts == OTHER_PART).mean() for i in range(0, 40, 5)]
    assert np.mean(np.array(others) > 0.005) > 0.7


def test_the_upright_cut_puts_fingers_up_and_the_level_one_does_not():
    level = replace(SMALL, framing="level")

    def tilt(sample) -> float:
        ahead = sample.keypoints_px[9] - sample.keypoints_px[0]
        return abs(np.degrees(np.arctan2(ahead[0], -ahead[1])))

    upright = [tilt(picture(i).sample) for i in SOME]
    assert np.median(upright) < 12
    assert np.mean([tilt(picture(i, level).sample) for i in SOME]) > 1.5 * np.mean(upright)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_subjects": 0}, "num_subjects must be at least 1"),
        ({"num_images": 0}, "num_images must be at least 1"),
        ({"num_images": 3}, "too few for 5 people"),
        ({"frames": 3}, "multiple of frames"),
        ({"size_px": 16}, "64 to 1024"),
        ({"object_share": 1.5}, "within 0..1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"object_share": 0.9, "second_hand_share": 0.2}, "not be more than 1 together"),
        ({"frames": 4}, "sequences have no objects"),
    ],
)
def test_impossible_configurations(change: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        replace(SMALL, **change)


def test_there_are_no_more_pictures_than_asked_for():
    with pytest.raises(IndexError, match="40 pictures"):
        studio().render(40)
    assert studio()[-1].id == studio()[39].id
