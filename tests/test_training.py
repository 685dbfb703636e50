"""The loop, its order of examples, its checkpoints, several processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idhand.assets import open_hand
from idhand.training import PRESETS, LoopConfig
from idhand.training.checkpoints import Checkpoints, read_checkpoint
from idhand.training.draws import Once, Order, normals, step_seed, uniforms
from idhand.training.log import duration
from tests.training_worker import CONFIG, DISTRIBUTED, ToyExamples, ToyTask, run, toy_validate

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads are in another order than those of one, here and in `ALONE`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal in every bit."""
    if torch.is_tensor(a):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.pt"


# ------------------------------------------------------------------------------------------ order


@given(
    num=st.integers(8, 60), steps=st.integers(1, 30), first=st.integers(0, 29),
    ranks=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_every_process_takes_its_part_of_the_same_batches(
    num: int, steps: int, first: int, ranks: int
):
    order = Order(num_examples=num, batch=8, seed=1)
    first = min(first, steps)
    whole = list(order.keys(0, steps))
    assert len(whole) == steps
    parts = [list(order.keys(first, steps, rank=rank, ranks=ranks)) for rank in range(ranks)]
    for step, keys in enumerate(whole[first:]):
        joined = np.concatenate([part[step].indices for part in parts])
        np.testing.assert_array_equal(joined, keys.indices)
        assert {part[step].epoch for part in parts} == {keys.epoch}


def test_an_epoch_sees_each_example_at_most_once():
    order = Order(num_examples=50, batch=8, seed=1)
    seen = [np.concatenate([k.indices for k in order.keys(e * 6, e * 6 + 6)]) for e in range(3)]
    assert all(len(np.unique(indices)) == 48 for indices in seen)
    assert not np.array_equal(seen[0], seen[1]), "each epoch has its own order"
    with pytest.raises(ValueError, match="one batch takes 8 examples, but there are only 7"):
        Order(num_examples=7, batch=8, seed=1)


def test_once_sees_everything_in_order():
    once = Once(num_examples=10, batch=4)
    batches = [keys.indices.tolist() for keys in once.keys(0, once.num_steps)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_draws_belong_to_examples():
    indices = np.random.default_rng(0).permutation(20_000)
    drawn = uniforms(7, 2, indices, 1, 3)
    np.testing.assert_array_equal(uniforms(7, 2, indices[5:9], 1, 3), drawn[5:9])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(np.histogram(drawn, 10, (0, 1))[0] / drawn.size, 0.1, atol=0.005)
    correlation = np.corrcoef(drawn[np.argsort(indices)].T, np.roll(np.sort(indices), 1))
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.03)
    in_order = uniforms(7, 2, np.arange(20_000), 1, 1)[:, 0]
    assert abs(np.corrcoef(in_order[1:], in_order[:-1])[0, 1]) < 0.03
    for other in (
        uniforms(8, 2, indices, 1, 3), uniforms(7, 3, indices, 1, 3), uniforms(7, 2, indices, 2, 3)
    ):  # fmt: skip
        assert abs(np.corrcoef(other.ravel(), drawn.ravel())[0, 1]) < 0.03
    normal = normals(7, 2, indices, 1, 4)
    np.testing.assert_allclose(normal.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(4), atol=0.04)
    assert step_seed(0, 5, 0) != step_seed(0, 5, 1)


# --------------------------------------------------------------------------------------- schedule


def test_rates():
    config = LoopConfig(lr=2.0, steps=100, schedule="cosine", warmup_steps=4)
    rates = [config.lr_at(step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / 5)
    assert rates[4] == pytest.approx(1 + np.cos(np.pi * 0.04))
    assert rates[50] == pytest.approx(1.0)
    assert rates[99] < 1e-3
    steady = replace(config, schedule="constant", warmup_steps=0)
    assert {steady.lr_at(step, 10) for step in range(100)} == {2.0}


def test_the_papers_schedule():
    loop = PRESETS["paper_baseline"](open_hand()).loop
    assert (loop.optimiser, loop.lr, loop.weight_decay, loop.batch) == ("adam", 1e-4, 0.0, 32)
    assert loop.num_steps(100) == 1600
    rates = [loop.lr_at(epoch * 100, 100) for epoch in range(16)]
    np.testing.assert_allclose(rates, [1e-4] * 5 + [1e-5] * 5 + [1e-6] * 6)
    assert PRESETS["paper_confidence"](open_hand()).loop.batch == 128
    assert PRESETS["paper_heatmaps"](open_hand()).loop.milestones == (10, 15)


def test_a_network_starts_its_average_early():
    config = LoopConfig(steps=1, ema_decay=0.99)
    assert config.ema_decay_at(0) == pytest.approx(0.1)
    assert config.ema_decay_at(10**6) == 0.99


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": None}, "give steps or epochs"),
        ({"epochs": 2.0}, "give steps or epochs"),
        ({"lr": 0.0}, "lr must be greater than zero"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
        ({"lr": float("inf")}, "lr must be a finite number, got inf"),
        ({"weight_decay": float("nan")}, "weight_decay must be a finite number"),
        ({"batch": 0}, "batch must be 1 or more, got 0"),
        ({"schedule": "steps"}, "needs milestones"),
        ({"ema_decay": 1.0}, "ema_decay must be within 0..1"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_impossible_loops(changes: dict[str, Any], sentence: str):
    with pytest.raises((ValueError, TypeError), match=sentence):
        LoopConfig(**{"steps": 5, **changes})


# ------------------------------------------------------------------------------------------- loop


def test_it_learns_and_says_so(tmp_path: Path, capsys):
    before = toy_validate(ToyTask().eval())["far"]
    trained = run(tmp_path, replace(CONFIG, steps=150))
    assert trained.steps == 150
    assert trained.metrics["far"] < 0.6 * before
    assert toy_validate(trained.task) == trained.metrics, "what is returned is the average"
    log = (tmp_path / "log.txt").read_text()
    assert re.search(
        r"step 5 of 150 \| loss [\d.]+ \(far [\d.]+, near [\d.]+\) \| lr 1.\d\de-02 \| "
        r"[\d,]+ examples/s \| \d+ s left\n", log
    )  # fmt: skip
    assert "validation after step 10: far " in log
    assert "step 150 of 150" in capsys.readouterr().err
    assert any((tmp_path / "tensorboard").iterdir())
    assert read_checkpoint(last(tmp_path)).step == 150
    assert read_checkpoint(tmp_path / "checkpoints" / "previous.pt").step == 147
    best = read_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert best.metrics["far"] == best.best
    assert best.best is not None
    assert best.best <= trained.metrics["far"]


def test_without_tensorboard_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    find = "idhand.training.log.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    run(tmp_path, replace(CONFIG, steps=12))
    assert (tmp_path / "log.txt").read_text().count("pip install 'idhand[train]'") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_the_average_follows_the_weights(tmp_path: Path):
    run(tmp_path / "one", replace(CONFIG, steps=1, norm="frozen"))
    there = read_checkpoint(last(tmp_path / "one"))
    assert there.averaged is not None
    start, name = ToyTask().state_dict(), "layers.4.weight"
    expected = 0.1 * start[name] + 0.9 * there.module[name]
    torch.testing.assert_close(there.averaged[name], expected)


def test_without_an_average_the_weights_come_out(tmp_path: Path):
    task = ToyTask()
    trained = run(tmp_path, replace(CONFIG, steps=3, ema_decay=None), task=task)
    assert trained.task is task
    assert not task.training


def test_frozen_norms_keep_their_statistics(tmp_path: Path):
    frozen, free = (
        run(tmp_path / norm, replace(CONFIG, steps=3, norm=norm)).task.state_dict()
        for norm in ("frozen", "batch")
    )
    start = ToyTask().state_dict()
    assert torch.equal(frozen["layers.1.running_mean"], start["layers.1.running_mean"])
    assert not torch.equal(free["layers.1.running_mean"], start["layers.1.running_mean"])


def test_half_precision_trains(tmp_path: Path):
    assert run(tmp_path, replace(CONFIG, amp="bf16", steps=60)).metrics["far"] < 0.6


def test_no_number_stops_it(tmp_path: Path):
    half = replace(CONFIG, steps=14)
    run(tmp_path, half)
    good = last(tmp_path).read_bytes()
    with pytest.raises(FloatingPointError) as told:
        run(tmp_path, replace(half, steps=40), examples=ToyExamples(broken=17))
    sentence = str(told.value)
    assert re.search(r"stopped in step \d+: far, near, total not finite for the samples ", sentence)
    assert "toy-17" in sentence or "and " in sentence
    assert f"the last good checkpoint is {last(tmp_path)} (step 14)" in sentence
    assert last(tmp_path).read_bytes() == good
    assert sentence in (tmp_path / "log.txt").read_text()


def test_a_gradient_that_is_no_number_stops_it(tmp_path: Path):
    class Root(ToyTask):
        def forward(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"root": torch.sqrt(0 * super().forward(batch)["far"])}

    with pytest.raises(FloatingPointError, match=r"step 1: gradient not finite .* no checkpoint"):
        run(tmp_path, task=Root())


# ------------------------------------------------------------------------------------ checkpoints


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def worker(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", *map(str, arguments)]


ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_killed_and_resumed_is_bit_for_bit_the_same(tmp_path: Path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    log = broken / "log.txt"
    command = worker("tests.training_worker", "slow", broken)
    process = subprocess.Popen(command, cwd=ROOT, env=ALONE, stderr=subprocess.DEVNULL)
    run(straight)
    wait_until(lambda: log.exists() and "step 25 of 40" in log.read_text())
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed = read_checkpoint(last(broken)).step
    assert killed in (21, 28)
    run(broken)
    assert f"going on after step {killed} of " in log.read_text()
    a, b = (read_checkpoint(last(folder)) for folder in (straight, broken))
    assert a.step == b.step == 40
    assert same(vars(a), vars(b))
    assert not same(a.module, ToyTask().state_dict())


def test_a_finished_training_is_not_repeated(tmp_path: Path):
    short = replace(CONFIG, steps=8)
    first = run(tmp_path, short)
    before = last(tmp_path).read_bytes()
    again = run(tmp_path, short)
    assert last(tmp_path).read_bytes() == before
    assert same(first.task.state_dict(), again.task.state_dict())
    assert again.metrics == first.metrics


def test_the_one_before_helps_when_the_last_is_lost(tmp_path: Path):
    run(tmp_path, replace(CONFIG, steps=10))
    whole = read_checkpoint(last(tmp_path))
    last(tmp_path).unlink()
    leftover = last(tmp_path).with_name(".last.pt.0123abcd.part")
    leftover.write_bytes(b"half")
    run(tmp_path, replace(CONFIG, steps=10))
    assert "going on after step 7 of" in (tmp_path / "log.txt").read_text()
    assert same(vars(read_checkpoint(last(tmp_path))), vars(whole))
    assert not leftover.exists()


def test_another_training_is_refused(tmp_path: Path):
    run(tmp_path, replace(CONFIG, steps=2))
    with pytest.raises(
        ValueError, match=r"what is \"toy\" there and \"other\" now; seed is 3 there"
    ):
        run(tmp_path, replace(CONFIG, steps=2, seed=4), toy="other")


@pytest.mark.parametrize("content", [b"", b"not a zip file at all", "half"])
def test_damaged_checkpoints(content: bytes | str, tmp_path: Path):
    run(tmp_path, replace(CONFIG, steps=2))
    whole = last(tmp_path).read_bytes()
    last(tmp_path).write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"last\.pt is damaged, half-written or not a checkpoint"):
        run(tmp_path, replace(CONFIG, steps=2))


def test_foreign_checkpoints(tmp_path: Path):
    file = tmp_path / "checkpoints" / "last.pt"
    file.parent.mkdir()
    torch.save({"state_dict": {}}, file)
    with pytest.raises(ValueError, match="is no checkpoint of `idhand train`"):
        run(tmp_path)
    torch.save({"format": "idhand training checkpoint", "version": 99}, file)
    with pytest.raises(ValueError, match="has version 99, this idhand reads version 1"):
        run(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nothing.pt")
    assert Checkpoints(folder=tmp_path).latest() is None


# -------------------------------------------------------------------------------------- processes


def test_two_processes_compute_what_one_does(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = worker("tests.training_worker", "group", tmp_path / "two")
    # What torchrun sets; starting it as well takes three seconds more.
    told = {**ALONE, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**told, "RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors.decode()
    run(tmp_path / "one", DISTRIBUTED, task=ToyTask(dropout=0.0))
    one, two = (read_checkpoint(last(tmp_path / name)) for name in ("one", "two"))
    assert one.step == two.step == DISTRIBUTED.steps
    for a, b in ((one.module, two.module), (one.averaged, two.averaged)):
        assert a is not None
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    pattern = r"step 20 of 20 \| loss ([\d.]+)"
    first, second = (
        re.findall(pattern, (tmp_path / name / "log.txt").read_text()) for name in ("one", "two")
    )
    assert len(second) == 1, "only the first process writes"
    assert float(first[0]) == pytest.approx(float(second[0]), abs=1e-3), "loss of the whole batch"


def test_a_batch_must_be_divisible(tmp_path: Path):
    from idhand.training.processes import Group

    with pytest.raises(ValueError, match="a batch of 8 cannot be divided among 3 processes"):
        run(tmp_path, group=Group(ranks=3))


def test_durations():
    assert [duration(s) for s in (45.0, 700.0, 12_000.0)] == ["45 s", "12 min", "3 h 20 min"]
