"""Samples to files and back; shards that survive whatever happens to their writer."""

import errno
import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import idhand.data.manifest as manifest_module
import idhand.data.writing as writing_module
from idhand.data import (
    Shards,
    decode_depth,
    decode_sample,
    encode_sample,
    write_shards,
)
from idhand.data.manifest import Manifest, shuffled_sequences
from idhand.geometry import rotation_from_vector
from idhand.records import Sample

SIZE_PX, PER_SHARD = 24, 10


def make_sample(index: int, *, full: bool = True, angle: float = 1.0) -> Sample:
    """A picture of coloured noise and numbers that fit no hand, but fill every field."""
    rng = np.random.default_rng(index)
    vectors = rng.normal(size=(16, 3))
    vectors *= angle / np.linalg.norm(vectors, axis=-1, keepdims=True)
    shape = (SIZE_PX, SIZE_PX)
    return Sample(
        rgb=cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), shape),
        K=np.array([[211.5 + rng.random(), 0, 15.5], [0, 211.5, 15.5], [0, 0, 1]]),
        dist=rng.normal(size=5) / 10,
        is_right=bool(index % 2),
        bbox_px=rng.normal(size=4) * 20,
        subject=f"person-{index // 4}",
        model="open" if full else None,
        betas=rng.normal(size=16) if full else None,
        rotations=rotation_from_vector(torch.from_numpy(vectors)).numpy() if full else None,
        wrist_cam=rng.normal(size=3) if full else None,
        keypoints_px=rng.normal(size=(21, 2)) * 100,
        keypoints_cam=rng.normal(size=(21, 3)) if full else None,
        valid=rng.random(21) < 0.8,
        visible=rng.random(21) < 0.5 if full else None,
        parts=rng.integers(0, 19, shape, np.uint8) if full else None,
        dataset="fake",
        id=f"{index:05d}",
        sequence=f"walk {index // 4}" if full else None,
        time_s=index / 30 if full else None,
    )


def jpeg_of(sample: Sample) -> bytes:
    return cv2.imencode(".jpg", sample.rgb[..., ::-1])[1].tobytes()


@dataclass(frozen=True)
class Fake:
    """A source of made-up samples."""

    count: int = 45
    seed: int = 0
    delay_s: float = 0.0
    dies_at: int | None = None
    fails_at: int | None = None

    def __len__(self) -> int:
        return self.count

    def entry(self, index: int) -> Mapping[str, bytes]:
        time.sleep(self.delay_s)
        in_worker = multiprocessing.parent_process() is not None
        if index == self.dies_at and in_worker:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.fails_at and in_worker:
            raise ValueError(f"picture {index} cannot be made")
        sample = make_sample(index + 1000 * self.seed)
        return encode_sample(sample, jpeg_of(sample))

    def key(self, index: int) -> str:
        return f"fake-{index:05d}"

    def description(self) -> dict[str, Any]:
        return {"set": "fake", "config": {"seed": self.seed, "shape": (3, 4)}}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifest_module, "SHARD_SAMPLES", PER_SHARD)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "SHARD_SAMPLES", PER_SHARD)
        write_shards(Fake(), folder, workers=2)
    return folder


@pytest.fixture
def whole(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "set"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes; of the manifest all but the times."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    values = json.loads(files["manifest.json"])
    for shard in values["shards"]:
        shard.pop("seconds")
    return {**files, "manifest.json": json.dumps(values).encode()}


def equal(a: Sample, b: Sample, tolerance: float = 0.0) -> bool:
    for field in fields(Sample):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray) and field.name != "rgb":
            assert x.dtype == y.dtype or tolerance
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance, err_msg=field.name)
        elif field.name != "rgb":
            assert x == y, field.name
    return True


# ----------------------------------------------------------------------------------------- samples


@given(
    index=st.integers(0, 10_000),
    full=st.booleans(),
    angle=st.sampled_from([0.0, 1e-9, 1e-5, 0.3, 2.0, 3.1415, np.pi - 1e-6, np.pi]),
)
def test_a_sample_comes_back(index: int, full: bool, angle: float):
    sample = make_sample(index, full=full, angle=float(angle))
    files = encode_sample(sample, jpeg_of(sample))
    back = decode_sample(files)
    assert equal(sample, back, tolerance=1e-4)
    for name in ("rotations", "keypoints_cam", "wrist_cam", "betas"):
        if full:
            np.testing.assert_allclose(getattr(back, name), getattr(sample, name), atol=1e-7)
    assert set(files) == ({"jpg", "json", "parts.png"} if full else {"jpg", "json"})
    assert equal(back, decode_sample(encode_sample(back, files["jpg"])), tolerance=1e-7)


def test_the_picture_is_what_the_jpeg_holds():
    sample = make_sample(3)
    error = decode_sample(encode_sample(sample, jpeg_of(sample))).rgb.astype(int) - sample.rgb
    assert np.abs(error).mean() < 6, "red and blue in their places"
    assert np.abs(error[..., ::-1] + sample.rgb - sample.rgb[..., ::-1]).mean() > 6


def test_what_is_not_finite_is_null_in_json():
    points = np.full((21, 2), np.nan)
    points[0] = 1.0, -0.0
    sample = replace(make_sample(0), keypoints_px=points)
    files = encode_sample(sample, jpeg_of(sample))
    lists = json.loads(files["json"])["keypoints_px"]
    assert lists[:2] == [[1.0, 0.0], [None, None]]
    np.testing.assert_array_equal(decode_sample(files).keypoints_px, points)


def test_depth_comes_back():
    depth_m = np.random.default_rng(0).uniform(0.05, 6.5, (8, 9)).astype(np.float32)
    depth_m[2:4] = np.inf
    depth_m[7, 0] = 9.0
    sample = make_sample(0)
    back = decode_depth(encode_sample(sample, jpeg_of(sample), depth_m=depth_m))
    assert back is not None
    np.testing.assert_allclose(back, np.where(depth_m == 9.0, 6.5535, depth_m), atol=0.51e-4)
    assert decode_depth(encode_sample(sample, jpeg_of(sample))) is None


def test_damaged_samples_are_told_apart():
    sample = make_sample(1)
    files = encode_sample(sample, jpeg_of(sample))
    numbers = json.loads(files["json"])
    cases = {
        "has no .jpg, only json": {"json": files["json"]},
        "JSON is not readable": {**files, "json": files["json"][:50]},
        "JSON has version 99": {**files, "json": json.dumps({**numbers, "version": 99}).encode()},
        "JSON is no sample": {**files, "json": b"[1]"},
        "not that of a sample": {**files, "json": b'{"version": 1}'},
        r"\.jpg cannot be decoded": {**files, "jpg": b""},
        r"\.parts\.png cannot be decoded": {**files, "parts.png": b"PNG"},
    }
    for sentence, damaged in cases.items():
        with pytest.raises(ValueError, match=sentence):
            decode_sample(damaged)


# ----------------------------------------------------------------------------------------- writing


def test_a_set_is_whole_and_in_webdatasets_layout(undisturbed: Path):
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["num_samples"] == manifest["num_done"] == 45
    assert manifest["source"] == {"set": "fake", "config": {"seed": 0, "shape": [3, 4]}}
    assert {"idhand", "numpy", "opencv", "numba", "torch"} == set(manifest["versions"])
    assert [shard["count"] for shard in manifest["shards"]] == [10, 10, 10, 10, 5]
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "manifest.json", *(f"shard-{number:05d}.tar" for number in range(5))
    ]  # fmt: skip
    with tarfile.open(undisturbed / "shard-00001.tar") as tar:
        members = tar.getmembers()
    keys = list(dict.fromkeys(member.name.partition(".")[0] for member in members))
    assert sorted(keys) == [f"fake-{index:05d}" for index in range(10, 20)]
    assert keys != sorted(keys), "shuffled"
    assert [m.name for m in members[:3]] == [keys[0] + s for s in (".jpg", ".json", ".parts.png")]
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}


def test_the_number_of_workers_changes_nothing(undisturbed: Path, tmp_path: Path):
    write_shards(Fake(), tmp_path, workers=1)
    assert contents(tmp_path) == contents(undisturbed)


@given(start=st.integers(0, 50), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_shuffling_keeps_sequences_in_order(start: int, lengths: list[int]):
    blocks = shuffled_sequences(start, lengths)
    assert sorted(place for block in blocks for place in block) == list(range(sum(lengths)))
    assert sorted(len(block) for block in blocks) == sorted(lengths)
    starts = {sum(lengths[:k]) for k in range(len(lengths))}
    assert {block.start for block in blocks} == starts


@pytest.mark.parametrize(("frames", "sizes"), [(4, [8, 8, 4]), (20, [20])])
def test_no_shard_cuts_a_sequence(frames: int, sizes: list[int], tmp_path: Path):
    manifest = write_shards(Fake(count=20), tmp_path, workers=2, frames=frames)
    assert [shard.count for shard in manifest.shards] == sizes
    sequences = [Shards(tmp_path).key(index) for index in range(4)]
    first = int(sequences[0][-5:])
    assert sequences == [f"fake-{first + frame:05d}" for frame in range(4)]


@dataclass(frozen=True)
class Clips(Fake):
    """Sequences of different lengths, and single pictures between them."""

    lengths: tuple[int, ...] = (3, 4, 1, 5, 1, 1, 14, 2, 9, 3, 2)

    def sequence_lengths(self) -> tuple[int, ...]:
        return self.lengths


def clip_numbers(shards: Shards) -> list[list[int]]:
    """Which of the source's samples each sequence holds, in the order on disk."""
    return [[int(shards.key(place)[-5:]) for place in group] for group in shards.sequences()]


def expected_clips(lengths: tuple[int, ...]) -> list[list[int]]:
    ends = np.cumsum(lengths)
    return [list(range(end - n, end)) for end, n in zip(ends.tolist(), lengths, strict=True)]


def test_unequal_sequences_are_whole_and_in_order(tmp_path: Path):
    manifest = write_shards(Clips(), tmp_path, workers=2)
    assert [shard.count for shard in manifest.shards] == [8, 7, 14, 2, 9, 5], "ten or fewer"
    shards = Shards(tmp_path)
    found = clip_numbers(shards)
    assert sorted(found) == expected_clips(Clips().lengths)
    assert found != sorted(found), "sequences are shuffled within a shard"
    assert [i for group in shards.sequences() for i in group] == list(range(45))
    values = json.loads((tmp_path / "manifest.json").read_text())
    assert (values["version"], values["lengths"]) == (2, list(Clips().lengths))
    assert [sum(shard["lengths"]) for shard in values["shards"]] == [8, 7, 14, 2, 9, 5]


def test_unequal_sequences_do_not_depend_on_workers_and_resume(tmp_path: Path):
    write_shards(Clips(), tmp_path / "one", workers=1)
    with pytest.raises(ValueError, match="picture 30 cannot be made"):
        write_shards(Clips(fails_at=30), tmp_path / "two", workers=1)
    assert 0 < len(Shards(tmp_path / "two")) < 45
    partial = clip_numbers(Shards(tmp_path / "two"))
    assert all(group in expected_clips(Clips().lengths) for group in partial)
    write_shards(Clips(), tmp_path / "two", workers=3)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.skipif(sys.platform != "linux", reason="forks the writer")
def test_unequal_sequences_survive_a_kill(tmp_path: Path):
    def write(folder: Path) -> None:
        be_alone()
        write_shards(Clips(delay_s=0.01), folder, workers=2)

    folder = tmp_path / "set"
    writer = multiprocessing.get_context("fork").Process(target=write, args=(folder,))
    writer.start()
    wait_until((folder / "shard-00000.tar").exists)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join(60)
    wait_until(lambda: group_is_gone(writer.pid or 0))
    assert len(Shards(folder)) < 45, "killed in the middle"
    write_shards(Clips(), folder, workers=2)
    write_shards(Clips(), tmp_path / "undisturbed", workers=1)
    assert contents(folder) == contents(tmp_path / "undisturbed")


@given(lengths=st.lists(st.integers(1, 25), min_size=1, max_size=30))
def test_the_plan_cuts_no_sequence_and_wastes_no_shard(lengths: list[int]):
    num = sum(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "SHARD_SAMPLES", PER_SHARD)
        manifest = Manifest(source={}, versions={}, num_samples=num, frames=1, lengths=(*lengths,))
        parts = list(manifest.plan.values())
        held = [manifest.lengths_of(part) for part in parts]
    assert [n for part in held for n in part] == lengths
    assert [sum(part) for part in held] == [len(part) for part in parts]
    assert all(sum(part) <= PER_SHARD or len(part) == 1 for part in held)
    assert all(sum(a) + b[0] > PER_SHARD for a, b in pairwise(held)), "the next one did not fit"


def test_impossible_sequences(tmp_path: Path):
    for lengths in ((3, 4), (45, 0), (46, -1), ()):
        with pytest.raises(ValueError, match=r"lengths of the \d sequences must be 1 or more each"):
            write_shards(Clips(lengths=lengths), tmp_path, workers=1)
    with pytest.raises(ValueError, match="give frames or each sequence's length, got frames=5"):
        write_shards(Clips(), tmp_path, workers=1, frames=5)
    write_shards(Clips(), tmp_path, workers=1)
    other = (4, 3, *Clips().lengths[2:])
    with pytest.raises(ValueError, match=r'sequences is "11 of lengths .* there and "11 of .* now'):
        write_shards(Clips(lengths=other), tmp_path, workers=1)


@pytest.mark.parametrize(("frames", "count"), [(1, 23), (4, 20), (3, 20), (12, 30)])
def test_equal_sequences_are_known_without_being_listed(frames: int, count: int, tmp_path: Path):
    """Also where the last one is shorter, and lies anywhere in the last shard."""
    write_shards(Fake(count=count), tmp_path, workers=1, frames=frames)
    values = json.loads((tmp_path / "manifest.json").read_text())
    assert values["version"] == 1
    assert "lengths" not in json.dumps(values)
    starts = range(0, count, frames)
    expected = [list(range(at, min(at + frames, count))) for at in starts]
    assert sorted(clip_numbers(Shards(tmp_path))) == expected


def test_a_finished_set_is_left_as_it_is(whole: Path):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    (whole / "gallery.jpg").write_bytes(b"foreign")
    manifest = write_shards(Fake(dies_at=0, delay_s=60.0), whole, workers=2)
    assert manifest.num_done == 45
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_missing_or_damaged_is_made_again(whole: Path, undisturbed: Path):
    (whole / "shard-00001.tar").unlink()
    damaged = bytearray((whole / "shard-00003.tar").read_bytes())
    damaged[5000] ^= 1
    (whole / "shard-00003.tar").write_bytes(damaged)
    (whole / ".shard-00003.tar.0123abcd.part").write_bytes(b"left over")
    told: list[tuple[int, int]] = []
    write_shards(Fake(), whole, workers=2, progress=lambda *numbers: told.append(numbers))
    assert contents(whole) == contents(undisturbed)
    assert told[-1] == (25, 20)


def be_alone() -> None:
    """In a forked process: have a group of its own, and let nothing end that the tests left.

    A video, for one, waits at its end for threads that only the tests' process has.
    """
    os.setsid()
    gc.disable()


def write_alone(folder: Path) -> None:
    be_alone()
    write_shards(Fake(delay_s=0.01), folder, workers=2)


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def group_is_gone(group: int) -> bool:
    """Whether no process of a group runs; dead ones may wait for a careless init to bury them."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="forks the writer")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_resumed_is_as_if_nothing_had_been(
    how: signal.Signals, undisturbed: Path, tmp_path: Path
):
    folder = tmp_path / "set"
    writer = multiprocessing.get_context("fork").Process(target=write_alone, args=(folder,))
    writer.start()
    assert writer.pid
    wait_until((folder / "shard-00000.tar").exists)
    os.kill(writer.pid, how)
    writer.join(60)
    assert writer.exitcode == -how, "killed in the middle"
    wait_until(lambda: group_is_gone(writer.pid or 0))
    assert len(list(folder.glob("shard-*.tar"))) < 5
    assert len(Shards(folder)) % PER_SHARD == 0, "what is there can be read"
    write_shards(Fake(), folder, workers=2)
    assert contents(folder) == contents(undisturbed)


def write_interrupted(folder: Path) -> None:
    """With Ctrl-C while the writer holds a lock that the pool's thread needs."""
    be_alone()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ordinary = writing_module.wait

    def wait(tasks: Any, *rest: Any) -> Any:
        lock = next(iter(tasks))._condition
        lock.acquire()
        os.kill(os.getpid(), signal.SIGINT)
        lock.release()
        return ordinary(tasks, *rest)

    writing_module.wait = wait
    try:
        write_shards(Fake(delay_s=0.01), folder, workers=2)
    except KeyboardInterrupt:
        os._exit(130)


@pytest.mark.skipif(sys.platform != "linux", reason="forks the writer")
def test_an_interrupt_leaves_no_lock_taken(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=write_interrupted, args=(tmp_path / "set",))
    writer.start()
    writer.join(20)
    code = writer.exitcode
    if code is None:
        os.killpg(writer.pid or 0, signal.SIGKILL)
    assert code == 130, "it waits for ever, or went on"


def test_an_interrupt_leaves_no_process_and_no_half_file(tmp_path: Path, undisturbed: Path):
    def interrupt(found: int, made: int) -> None:
        if made > PER_SHARD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(Fake(delay_s=0.02), tmp_path, workers=2, progress=interrupt)
    assert not multiprocessing.active_children()
    assert not list(tmp_path.glob(".*"))
    assert 0 <= len(Shards(tmp_path)) < 45
    write_shards(Fake(), tmp_path, workers=2)
    assert contents(tmp_path) == contents(undisturbed)


def test_another_set_in_the_folder(whole: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"config\.seed is 0 there and 1 now\. Use the same"):
        write_shards(Fake(seed=1), whole, workers=1)
    with pytest.raises(ValueError, match=r"num_samples is 45 there and 44 now"):
        write_shards(Fake(count=44), whole, workers=1)
    with pytest.raises(ValueError, match=r"frames is 1 there and 5 now"):
        write_shards(Fake(), whole, workers=1, frames=5)
    monkeypatch.setattr(manifest_module, "version", lambda package: "9.9")
    with pytest.raises(ValueError, match=r'versions\.idhand is "0\.\S+" there and "9\.9" now'):
        write_shards(Fake(), whole, workers=1)
    (whole / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"holds shards without manifest\.json"):
        write_shards(Fake(), whole, workers=1)


def test_too_little_room_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000))
    with pytest.raises(ValueError, match=r"45 samples need about 0\.000\d+ GB, but only 0\.0001"):
        write_shards(Fake(), tmp_path, workers=2)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence_and_no_half_shard(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
):
    write_tar = writing_module._write_tar

    def write_until_full(path: Path, entries: list[Any]) -> None:
        write_tar(path, entries)
        if "shard-00002" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing_module, "_write_tar", write_until_full)
    with pytest.raises(OSError, match=r"^the disk is full: \d+ MB are free in .* run the same"):
        write_shards(Fake(), tmp_path, workers=1)
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "shard-00002.tar").exists()
    assert len(Shards(tmp_path)) == 20
    monkeypatch.undo()
    monkeypatch.setattr(manifest_module, "SHARD_SAMPLES", PER_SHARD)
    write_shards(Fake(), tmp_path, workers=1)
    assert contents(tmp_path) == contents(undisturbed)


def test_a_worker_that_dies_is_a_sentence(tmp_path: Path):
    with pytest.raises(ChildProcessError, match=r"died, perhaps .* of 45 samples are finished"):
        write_shards(Fake(dies_at=25), tmp_path, workers=2)
    assert not list(tmp_path.glob(".*"))


def test_a_source_that_fails_is_heard(tmp_path: Path):
    with pytest.raises(ValueError, match="picture 17 cannot be made"):
        write_shards(Fake(fails_at=17), tmp_path, workers=2)
    assert not list(tmp_path.glob(".*"))


def test_impossible_wishes(tmp_path: Path):
    with pytest.raises(ValueError, match="must be 1 or more, got 0 and 45"):
        write_shards(Fake(), tmp_path, workers=0)
    with pytest.raises(ValueError, match="must be 1 or more, got 1 and 0"):
        write_shards(Fake(count=0), tmp_path, workers=1)


# ----------------------------------------------------------------------------------------- reading


def test_every_sample_can_be_read(undisturbed: Path):
    shards, source = Shards(undisturbed), Fake()
    assert len(shards) == 45
    assert repr(shards).endswith("45 of 45 samples)")
    assert {shards.key(index) for index in range(45)} == {source.key(i) for i in range(45)}
    for index in (0, 9, 10, 44, -1):
        number = int(shards.key(index)[-5:])
        assert shards.entry(index) == source.entry(number)
        assert equal(shards[index], decode_sample(source.entry(number)))
    assert [sample.id for sample in shards] == [sample.id for sample in shards[:]]
    assert [sample.id for sample in shards[40:2:-20]] == [shards[40].id, shards[20].id]
    with pytest.raises(IndexError):
        shards[45]
    shards.verify()


def test_labels_are_the_samples_without_pixels(undisturbed: Path):
    shards = Shards(undisturbed)
    for sample, label, index in zip(shards, shards.labels(), range(45), strict=True):
        assert label.parts is None
        assert label.rgb.shape == sample.rgb.shape
        assert equal(replace(sample, parts=None), label)
        assert label.id == shards.label(index).id
    assert shards.label(-1).id == shards[-1].id


def test_a_set_that_says_which_bytes_it_has(undisturbed: Path, whole: Path):
    shards = Shards(undisturbed)
    assert shards.fingerprint() == Shards(whole).fingerprint()
    assert shards.description() == json.loads(json.dumps(Fake().description()))
    values = json.loads((whole / "manifest.json").read_text())
    del values["shards"][2]
    (whole / "manifest.json").write_text(json.dumps(values))
    assert Shards(whole).fingerprint() != shards.fingerprint()


def test_torchs_loader_reads_with_two_workers(undisturbed: Path):
    shards = Shards(undisturbed)
    in_order = [sample.id for sample in shards]
    loader = DataLoader(shards, batch_size=7, num_workers=2, collate_fn=list)  # type: ignore[arg-type]
    assert [sample.id for batch in loader for sample in batch] == in_order
    again = pickle.loads(pickle.dumps(shards))
    assert again[13].id == in_order[13]


def test_a_set_in_the_making_can_be_read(whole: Path):
    values = json.loads((whole / "manifest.json").read_text())
    del values["shards"][1:3]
    (whole / "manifest.json").write_text(json.dumps(values))
    shards = Shards(whole)
    assert repr(shards).endswith("25 of 45 samples)")
    assert len({sample.id for sample in shards}) == 25


scan = Shards._scan


def write_hash(folder: Path, shard: Path) -> None:
    """Make the manifest agree with a changed shard."""
    manifest = Manifest.load(folder)
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    shards = [replace(s, sha256=digest) if s.file == shard.name else s for s in manifest.shards]
    replace(manifest, shards=tuple(shards)).save(folder)


def test_a_picture_with_other_bytes_is_refused(
    whole: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Such JPEGs can be decoded, so that nothing else would notice."""
    path = whole / "shard-00002.tar"
    jpeg = Shards(whole).entry(25)["jpg"]
    content = bytearray(path.read_bytes())
    at = content.index(jpeg) + jpeg.rindex(b"\xff\xda") + 40  # behind the start of the scan
    content[at : at + 8] = b"\x55" * 8
    path.write_bytes(content)
    sentence = (
        r"sample fake-0002\d of .*shard-00002\.tar: that shard is damaged, .* run the command"
    )
    shards = Shards(whole)
    for read in (shards.__getitem__, shards.label, pickle.loads(pickle.dumps(shards)).label):
        with pytest.raises(ValueError, match=sentence):
            read(25)
    assert shards[19], "the other shards can be read"
    assert not capfd.readouterr().err, "libjpeg has nothing to say"
    monkeypatch.setattr(Shards, "_scan", lambda self, shard: (scan(self, shard)[0], True))
    assert Shards(whole)[25].rgb.shape == (SIZE_PX, SIZE_PX, 3), "it can be decoded"


def test_damaged_sets_are_sentences(whole: Path):
    path = whole / "shard-00002.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-4000])
    with pytest.raises(ValueError, match=r"shard-00002\.tar is damaged: it has .* run the command"):
        Shards(whole)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00002\.tar is listed .* but missing"):
        Shards(whole)
    for damage, sentence in {
        b"\0" * len(content): "it holds 0 samples, the manifest says 10",
        b"x" * len(content): r"shard-00002\.tar is damaged \(",
        content[:124] + b"77777777777\0" + content[136:]: r"shard-00002\.tar is damaged \(",
    }.items():
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=sentence):
            Shards(whole)[25]
        with pytest.raises(ValueError, match=r"shard-00002\.tar is damaged: its bytes are not"):
            Shards(whole).verify()
        assert Shards(whole)[19], "the others can be read"
    path.write_bytes(content.replace(b'"version":1,', b'"version":2,'))
    write_hash(whole, path)
    with pytest.raises(ValueError, match=r"sample fake-0002\d of .*: its JSON has version 2"):
        Shards(whole)[25]


def test_manifests_that_cannot_be_used(whole: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"holds no manifest\.json; name a folder"):
        Shards(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"name one of its parts, such as {whole}$"):
        Shards(whole.parent)  # as is named in haste after `idhand data prepare`
    path = whole / "manifest.json"
    values = json.loads(path.read_text())
    for text, sentence in {
        "{": "is not readable as JSON",
        "[]": "is no manifest of a set of shards",
        json.dumps({**values, "version": 3}): "has version 3, this idhand reads version 2",
        json.dumps({**values, "shards": [{}]}): "is incomplete",
        json.dumps({**values, "version": 2, "lengths": [40]}): "is incomplete",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            Shards(whole)


class Cyclic:
    """Garbage whose end is written down: a video's end waits for threads of its process."""

    def __init__(self, ends: Path):
        self.ends, self.myself = ends, self

    def __del__(self):
        with self.ends.open("a") as stream:
            stream.write(f"{os.getpid()}\n")


@dataclass(frozen=True)
class Collecting(Fake):
    def entry(self, index: int) -> Mapping[str, bytes]:
        if multiprocessing.parent_process() is not None:
            gc.collect()
        return super().entry(index)


@pytest.mark.skipif(sys.platform != "linux", reason="only forked processes share what exists")
def test_processes_do_not_end_what_their_parent_had(tmp_path: Path):
    ends = tmp_path / "ends"
    gc.disable()
    try:
        Cyclic(ends)
        write_shards(Collecting(count=4), tmp_path / "set", workers=2)
    finally:
        gc.enable()
    gc.collect()
    assert ends.read_text() == f"{os.getpid()}\n", "once, in this process"
