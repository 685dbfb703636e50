"""The one form of data set: shards, memory and subsets of them; who is in them."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import idhand.data.manifest as manifest_module
from idhand.data import (
    DataSet,
    MemoryData,
    Shards,
    Subset,
    decode_sample,
    describe,
    encode_sample,
    models,
    rows_by_subject,
    true_betas,
    write_shards,
)
from idhand.records import FOREARM_PART, HAND_PARTS, OTHER_PART, UNPARTED_HAND, Sample
from tests.test_data_shards import Clips, equal, jpeg_of, make_sample

LENGTHS = (3, 1, 4, 2)


def memory() -> MemoryData:
    return MemoryData([make_sample(index) for index in range(10)], name="fakes")


def shards(folder: Path) -> Shards:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "SHARD_SAMPLES", 6)
        write_shards(Clips(count=10, lengths=LENGTHS), folder, workers=1)
    return Shards(folder)


KINDS: dict[str, Callable[[Path], DataSet]] = {
    "memory": lambda folder: memory(),
    "shards": shards,
    "subset": lambda folder: Subset(memory(), [7, 2, 3, 4, 0]),
    "subset of shards": lambda folder: Subset(shards(folder), range(9, 0, -2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_protocol(kind: str, tmp_path: Path):
    keeps_the_protocol(KINDS[kind](tmp_path))


def keeps_the_protocol(data: DataSet) -> None:
    """The laws of every data set; also of the studio, in its own tests."""
    assert isinstance(data, DataSet)
    samples = list(data)
    assert len(samples) == len(data)
    for index, label in enumerate(data.labels()):
        assert equal(replace(samples[index], parts=None), label)
        assert equal(label, data.label(index))
        assert label.rgb.shape == samples[index].rgb.shape
        assert not label.rgb.flags.writeable
    places = [place for group in data.sequences() for place in group]
    assert sorted(places) == list(range(len(data))), "each sample in one sequence"
    about = describe(data)
    assert json.loads(json.dumps(about)) == about
    assert about["samples"] == len(data)
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint() == data.fingerprint()
    assert again[1].id == samples[1].id
    with pytest.raises(IndexError):
        data[len(data)]


def test_a_subset_of_shards_keeps_its_sequences(tmp_path: Path):
    whole = shards(tmp_path)
    groups = [list(group) for group in whole.sequences()]
    part = Subset(whole, range(9, 0, -1))
    left = [[9 - place for place in group if place] for group in groups]
    assert part.sequences() == [group for group in left if group]
    smaller = part[2:5]
    assert isinstance(smaller, Subset)
    assert [sample.id for sample in smaller] == [whole[i].id for i in (7, 6, 5)]
    assert smaller[-1].id == whole[5].id


def test_subsets_that_cannot_be():
    with pytest.raises(IndexError, match="there are 10 samples, from 0; asked for -1"):
        Subset(memory(), [3, -1])
    with pytest.raises(IndexError, match="asked for 10"):
        Subset(memory(), [10])
    with pytest.raises(ValueError, match="holds each sample once"):
        Subset(memory(), [3, 3])


def test_a_fingerprint_is_of_the_samples():
    samples = list(memory())
    same = memory().fingerprint()
    assert MemoryData(samples, name="another name").fingerprint() == same
    rgb = samples[4].rgb.copy()
    rgb[0, 0, 0] ^= 1
    betas = make_sample(4).betas
    assert betas is not None
    others = [
        replace(samples[4], rgb=rgb),
        replace(samples[4], betas=betas + 1e-9),
        replace(samples[4], betas=None),
        replace(samples[4], subject=None),
        replace(samples[4], is_right=not samples[4].is_right),
    ]
    changed = [MemoryData([*samples[:4], other, *samples[5:]]) for other in others]
    prints = {same, *(data.fingerprint() for data in changed)}
    prints |= {MemoryData(samples[:9]).fingerprint(), MemoryData(samples[::-1]).fingerprint()}
    prints |= {Subset(memory(), order).fingerprint() for order in ([1, 2], [2, 1], [1])}
    assert len(prints) == 1 + 5 + 2 + 3


# ------------------------------------------------------------------------------------------ people


def test_an_unknown_subject_comes_back():
    sample = replace(make_sample(3), subject=None)
    files = encode_sample(sample, jpeg_of(sample))
    assert json.loads(files["json"])["subject"] is None
    assert decode_sample(files).subject is None


def test_rows_of_each_person():
    names = ["b", "a", "b", "c"]
    assert rows_by_subject(names, purpose="x") == {"b": [0, 2], "a": [1], "c": [3]}
    for unknown in (None, ""):
        with pytest.raises(ValueError, match=r"^calibration combines .* 1 of 5 pictures"):
            rows_by_subject([*names, unknown], purpose="calibration")


def person(index: int, subject: str | None, betas: np.ndarray, model: str = "open") -> Sample:
    return replace(make_sample(index), subject=subject, betas=betas, model=model)


def test_true_shapes_are_each_persons_own():
    one, two = np.arange(16.0), np.ones(16)
    data = MemoryData(
        [
            person(0, "one", one),
            person(1, "two", two),
            person(2, "one", one + 4e-5 * (-1) ** np.arange(16)),
            person(3, "two", two + 7, model="mano-left"),
            replace(person(4, "three", one), betas=None),
        ]
    )
    shapes = true_betas(data.labels(), "open")
    assert list(shapes) == ["one", "two"]
    np.testing.assert_array_equal(shapes["one"], one)
    np.testing.assert_array_equal(true_betas(data.labels(), "mano-left")["two"], two + 7)
    assert models(data.labels()) == {"open": 4, "mano-left": 1}


def test_a_person_with_two_shapes_is_refused():
    betas = np.zeros(16)
    other = betas.copy()
    other[3] = 0.25
    data = [person(0, "ann", betas), person(1, "bob", betas), person(2, "bob", other)]
    with pytest.raises(ValueError, match=r"betas of subject 'bob' are 0\.25 apart in 2 pictures"):
        true_betas(data, "open")
    assert list(true_betas(data[:2], "open")) == ["ann", "bob"]
    with pytest.raises(ValueError, match="subject 'bob' are nan apart"):
        true_betas([data[1], person(3, "bob", betas * np.nan)], "open")


def test_shapes_of_unknown_people_are_refused():
    with pytest.raises(ValueError, match="sample 00001 of 'fake' has betas but does not say whose"):
        true_betas([person(0, "ann", np.zeros(16)), person(1, None, np.zeros(16))], "open")
    assert true_betas([person(1, None, np.zeros(16), model="mano")], "open") == {}


# ------------------------------------------------------------------------------------------- masks


def test_a_mask_without_parts_is_a_hand():
    parts = np.zeros((24, 24), np.uint8)
    parts[2:5, 3:9], parts[7:9], parts[10] = UNPARTED_HAND, OTHER_PART, FOREARM_PART
    parts[12, :4] = (1, 5, HAND_PARTS, 0)
    sample = replace(make_sample(0), parts=parts)
    expected = np.zeros((24, 24), bool)
    expected[2:5, 3:9] = expected[12, :3] = True
    for each in (sample, decode_sample(encode_sample(sample, jpeg_of(sample)))):
        np.testing.assert_array_equal(each.mask, expected)
    np.testing.assert_array_equal(sample.mirrored().mask, expected[:, ::-1])
    assert replace(sample, parts=None).mask is None
    assert UNPARTED_HAND not in range(OTHER_PART + 1), "a value of its own"
