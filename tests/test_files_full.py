"""Every writer on a disk that takes all but the last byte: an error, and nothing half-written.

The limit on a file's size does what a full disk does: the last write is a short one, and only the
next one fails. Encoders that write to the file themselves overlook that.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from idhand.assets import add_hand, open_hand
from idhand.assets.carrying import carried_over
from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.data.manifest import Manifest
from idhand.fusion import CovarianceCalibration
from idhand.media.writing import write_image
from idhand.nets.files import save_net
from idhand.training.checkpoints import Checkpoint, Checkpoints
from idhand.view import (
    Format,
    HtmlReport,
    ImageHands,
    JsonLines,
    VideoWriter,
    export_photo,
    write_hands,
)
from tests.test_cli import open_handed, person
from tests.test_nets_files import CONFIG
from tests.test_predictions import make_predictions
from tests.test_view import make_hand

MODEL = open_hand()
NOISE = np.random.default_rng(0).integers(0, 255, (4, 96, 128, 3), dtype=np.uint8)
HANDS = [open_handed(make_hand())]
PICTURE = ImageHands(
    file="a.jpg", name="a", width=9, height=9, K=None, hands=tuple(HANDS), frame=0, time_s=0.0
)
CHECKPOINT = Checkpoint(
    step=1, origin={}, module={"w": torch.ones(99)}, averaged=None, optimiser={}, best=None,
    metrics={},
)  # fmt: skip


def clip(folder: Path) -> None:
    with VideoWriter(folder / "a.mp4", 25.0) as writer:
        for frame in NOISE:
            writer.add(frame)


def lines(folder: Path) -> None:
    with JsonLines(folder / "a.jsonl") as file:
        file.add(PICTURE)


def network(folder: Path) -> None:
    save_net(CONFIG.build(), folder / "a.safetensors", {})


def export(form: Format) -> Callable[[Path], object]:
    return lambda folder: export_photo(folder, "a", HANDS, MODEL, [form])


WRITERS: dict[str, Callable[[Path], object]] = {
    "jpeg": lambda folder: write_image(folder / "a.jpg", NOISE[0], quality=92),
    "png": lambda folder: write_image(folder / "a.png", NOISE[0]),
    "clip": clip,
    "hands.json": lambda folder: write_hands(folder / "hands.json", [PICTURE]),
    "hands.jsonl": lines,
    "report": lambda folder: HtmlReport(title="a", model=MODEL, num_photos=0).write(folder / "a"),
    "profile": lambda folder: person().save(folder / "a.json"),
    "predictions": lambda folder: make_predictions().save(folder / "a.npz"),
    "covariances": lambda folder: CovarianceCalibration(
        model="a", scale=1.0, shared=torch.eye(16, dtype=torch.float64)
    ).save(folder / "a.json"),
    "manifest": lambda folder: Manifest(source={}, versions={}, num_samples=9, frames=1).save(
        folder
    ),
    "checkpoint": lambda folder: Checkpoints(folder=folder).save(CHECKPOINT),
    "network": network,
    **{form: export(form) for form in get_args(Format)},
}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow larger; Python ignores the signal, so writing fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_its_last_byte_is_none(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    if name == "usd":
        pytest.importorskip("pxr")
    if name == "mano":
        monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
        add_hand(mano_hand(resampled_hand(), carried_over))
    (tmp_path / "whole").mkdir()
    WRITERS[name](tmp_path / "whole")
    (whole,) = (tmp_path / "whole").iterdir()
    size = whole.stat().st_size
    for room in (size - 1, size // 2, 0):
        folder = tmp_path / str(room)
        folder.mkdir()
        with pytest.raises(OSError, match=r"\w"), room_for(room):
            WRITERS[name](folder)
        assert [path.name for path in folder.iterdir()] == [], room
    folder = tmp_path / "enough"
    folder.mkdir()
    with room_for(2 * size):
        WRITERS[name](folder)
    assert [path.name for path in folder.iterdir()] == [whole.name]
