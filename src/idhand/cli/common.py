"""Shared by the verbs: problems that do not stop the rest, the camera's flags, progress."""

import os
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

import idhand
from idhand.assets.models import OPEN_HAND, Population
from idhand.cli import EXIT_FINE, EXIT_PROBLEMS, EXIT_USAGE
from idhand.data import DataSet, models
from idhand.files import file_fault, remove_abandoned
from idhand.hand import FittableHand
from idhand.lens import Distortion, Lens
from idhand.media import (
    FoundMedia,
    IntrinsicsWarning,
    MediaFile,
    find_media,
    intrinsics_doubt,
    read_camera_file,
)
from idhand.media.files import IMAGE_SUFFIXES, RAW_SUFFIXES, VIDEO_SUFFIXES
from idhand.pipeline import PipelineConfig
from idhand.records import HandResult
from idhand.view import HtmlReport

RESULTS = ("hands.json", "hands.jsonl")
"""Files that `idhand run` and `demo` write for all inputs together."""
BAR_DELAY_S = 2.0
"""Without a terminal, progress is only shown for work that takes longer than this."""
BAR_STEP_S = 10.0
"""And then only this often."""

Item = TypeVar("Item")


@dataclass
class Outcome:
    """What went wrong with single inputs while the others went on."""

    num_done: int = 0
    problems: list[str] = field(default_factory=list)

    def problem(self, sentence: str) -> None:
        """Print a problem at once and remember it for the exit code."""
        sentence = shown(sentence)  # names that are not UTF-8 must not break the report
        self.problems.append(sentence)
        say(sentence)

    @contextmanager
    def guard(self, path: Path) -> Iterator[None]:
        """Turn errors in the block that the user can mend into a problem with that input."""
        try:
            yield
            self.num_done += 1
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            sentence = memory_sentence(error)
            if isinstance(error, RuntimeError) and not sentence:
                raise
            sentence = sentence or (file_fault(error) if isinstance(error, OSError) else str(error))
            self.problem(sentence if str(path) in sentence else f"{path}: {sentence}")

    @property
    def exit_code(self) -> int:
        """0 all fine, 1 some problems, 2 nothing was done."""
        if not self.num_done:
            return EXIT_USAGE
        return EXIT_PROBLEMS if self.problems else EXIT_FINE


def memory_sentence(error: BaseException) -> str | None:
    """The sentence for an error that is a lack of memory; None for all others."""
    torch_says = isinstance(error, RuntimeError) and "allocate" in str(error)
    if not (isinstance(error, MemoryError) or torch_says):
        return None
    return "there is not enough memory for it; make it smaller, or close other programs"


def say(sentence: str) -> None:
    """Print a sentence on stderr without breaking a progress bar."""
    if sys.stderr.isatty():
        tqdm.write(f"idhand: {sentence}", file=sys.stderr)
    else:  # here tqdm would draw its bar at once, however short the work
        print(f"idhand: {sentence}", file=sys.stderr, flush=True)


def progress(items: Iterable[Item], total: int | None, what: str) -> "tqdm[Item]":
    """Iterate with a progress bar on stderr: at once on a terminal, else after two seconds."""
    delay_s, step_s = (0.0, 0.1) if sys.stderr.isatty() else (BAR_DELAY_S, BAR_STEP_S)
    options = {"delay": delay_s, "mininterval": step_s, "leave": False, "file": sys.stderr}
    return tqdm(items, total=total, desc=what, **options)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The camera according to the flags."""

    K: Float[np.ndarray, "3 3"] | None
    dist: Lens | None
    fov_deg: float | None
    """Across the longer side of the picture."""
    size_px: tuple[int, int] | None = None
    """Width and height of the pictures that K belongs to, if its file states them."""
    _doubts: set[str] = field(default_factory=set, compare=False, repr=False)
    """Warnings that were printed already."""

    @property
    def is_given(self) -> bool:
        """Whether a flag says how the camera maps directions to pixels."""
        return self.K is not None or self.fov_deg is not None

    @staticmethod
    def from_flags(k: Path | None, fov: float | None) -> "Camera":
        """Read `--k` or take `--fov`.

        Raises:
            ValueError: If both are given, or one is not a camera.
        """
        if k is not None and fov is not None:
            raise ValueError("give --k or --fov, not both")
        if fov is not None and not 1 <= fov <= 179:
            raise ValueError(f"--fov must be between 1 and 179 degrees, got {fov:g}")
        if k is None:
            return Camera(K=None, dist=None, fov_deg=fov)
        warnings.simplefilter("ignore", IntrinsicsWarning)  # `intrinsics` says it, once
        file = read_camera_file(k)
        return Camera(K=file.K, dist=file.lens, fov_deg=None, size_px=file.size_px)

    def intrinsics(
        self, width: int, height: int, from_file: Float[np.ndarray, "3 3"] | None = None
    ) -> Float[np.ndarray, "3 3"] | None:
        """K for a picture: from the flags, else from the picture's file, else None.

        Raises:
            ValueError: If the K of `--k` is not one of a picture of this size.
        """
        if self.K is not None:
            doubt = intrinsics_doubt(self.K, width, height, self.size_px)
            if doubt is not None and doubt.is_certain:
                raise ValueError(doubt.sentence)
            if doubt is not None and doubt.sentence not in self._doubts:
                self._doubts.add(doubt.sentence)
                say(doubt.sentence)
            return self.K
        if self.fov_deg is not None:
            f = max(width, height) / 2 / np.tan(np.radians(self.fov_deg) / 2)
            return np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
        return from_file


def labelled_model(data: DataSet) -> str:
    """The hand model that a data set is labelled with; the open hand where it has none.

    Raises:
        ValueError: If its samples are labelled with different ones.
    """
    names = sorted(name for name in models(data.labels()) if name is not None)
    if len(names) > 1:
        raise ValueError(
            f"the data set is labelled with the hand models {', '.join(names)}; keep the samples "
            "of one in a folder of their own"
        )
    return names[0] if names else OPEN_HAND


def find_inputs(inputs: Sequence[Path], outcome: Outcome) -> FoundMedia:
    """The pictures and videos to work on; other files in the folders are named on stderr.

    In folders, pictures and clips that an earlier run of idhand has drawn are skipped. A folder
    that cannot be read is a problem of the outcome; the others are used.

    Raises:
        ValueError: If there are none.
    """
    if not inputs:
        raise ValueError("there is no input; name photos, folders or videos")
    files: dict[Path, MediaFile] = {}
    skipped: list[Path] = []
    drawn: list[Path] = []
    for path in inputs:
        try:
            found = find_media([path])
        except OSError as error:
            outcome.problem(f"{path} cannot be read: {error.strerror or error}; it is left out")
            continue
        skipped += [file for file in found.skipped if not _is_own(file)]
        for file in found.files:
            if file.path != path and _is_drawn(file.path):
                drawn.append(file.path)
            else:
                files.setdefault(real_path(file.path), file)
    for what, left in (("other file", skipped), ("picture or clip that idhand drew", drawn)):
        if left:
            many = None if what == "other file" else "pictures and clips that idhand drew"
            names = ", ".join(path.name for path in left[:3])
            more = ", ..." if len(left) > 3 else ""
            say(f"skipped {count(left, what, many)} in the folders ({names}{more})")
    if not files:
        where = ", ".join(map(str, inputs))
        raise ValueError(f"there is no photo and no video in {where}; name other files or folders")
    return FoundMedia(files=tuple(files.values()), skipped=tuple(skipped))


def _is_own(path: Path) -> bool:
    """Whether a file in a folder of photos is one of idhand's reports, profiles or results."""
    return path.name.endswith((".hand.json", "report.html")) or path.name in RESULTS


def _is_drawn(path: Path) -> bool:
    """Whether a picture or clip was drawn by idhand: its name, beside or below a run's results."""
    if not path.stem.endswith(("_overlay", "_before_after")):
        return False
    folders = (path.parent, path.parent.parent)
    return any((folder / name).is_file() for folder in folders for name in RESULTS)


def real_path(path: Path | str) -> Path:
    """The path without symbolic links; one in a loop stays, where `Path.resolve` raises."""
    return Path(os.path.realpath(path))


def output_file(
    path: Path,
    inputs: Iterable[Path | str | None],
    flag: str = "--out",
    like: str = "me.hand.json",
    advice: str | None = None,
) -> Path:
    """The path, if a file may be written there; checked before the work, so that nothing is lost.

    Args:
        path: The file to write.
        inputs: Files that the command reads; None is ignored.
        flag: The flag that names the output.
        like: An example of a good name.
        advice: What to do if the name is none for a file; None: name a file such as the example.

    Raises:
        ValueError: If it has a picture's or a clip's suffix, is an input or a folder, or cannot be
            written to.
    """
    advice = advice or f"name a file such as {like}"
    refuse_media(path, flag, advice)
    if path.is_dir():
        raise ValueError(f"{flag} {path} is a folder; {advice}")
    place = real_path(path)
    if any(place == real_path(other) for other in inputs if other is not None):
        raise ValueError(f"{flag} {path} is also an input and would be replaced; name another file")
    writable_folder(path.parent)
    return path


def refuse_media(path: Path, flag: str, advice: str) -> None:
    """Refuse an output that has a picture's or a clip's suffix: it may be a file of the user's.

    Raises:
        ValueError: If it does.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES | RAW_SUFFIXES | VIDEO_SUFFIXES and not path.is_dir():
        kind = "clip" if suffix in VIDEO_SUFFIXES else "picture"
        raise ValueError(
            f"{flag} {path} has the name of a {kind}, which would be replaced; {advice}, and give "
            "the inputs separately"
        )


def writable_folder(path: Path, flag: str = "--out") -> Path:
    """The folder, made if needed, after a trial that files can be written into it.

    Temporary files of runs that were killed are removed from it.

    Raises:
        ValueError: If it has a picture's or clip's suffix, or cannot be made or written to.
    """
    refuse_media(path, flag, "name a folder")
    trial = path / ".idhand.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"cannot write into {path}: {reason}; choose another {flag}") from error
    remove_abandoned(path)
    return path


def load_for(population: Population) -> Any:
    """The `idhand.Pipeline` whose unknown people are of that population."""
    if population == "all":
        return idhand.load()
    return idhand.load(PipelineConfig(population=population))


def load_identity(path: Path | None) -> "idhand.Identity | None":
    """The profile named by `--identity`, if any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no profile that this version can use.
    """
    if path is None:
        return None
    return idhand.Identity.load(path)


def check_identity(
    identity: "idhand.Identity | None", path: Path | None, model: FittableHand
) -> None:
    """Refuse the profile of another hand model, before the work.

    Raises:
        ValueError: If it is one.
    """
    if identity is not None:
        try:
            identity.check_model(model)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def shown(path: Path | str) -> str:
    """A path as text for files and people; bytes that are not UTF-8 become question marks."""
    return os.fsencode(path).decode("utf-8", "replace")


def each_alone(pipe: Any, hands: Sequence[HandResult], dist: Distortion) -> tuple[HandResult, ...]:
    """The hands of one picture, fitted again without a known person, for comparison."""
    if not hands:
        return ()
    first = hands[0]
    seen = [hand.detection for hand in hands]
    return tuple(pipe.fit(seen, first.K, dist, K_is_guess=first.K_is_guess))


def write_page(
    page: HtmlReport, path: Path, outcome: Outcome, person: "idhand.Identity | None", **options: Any
) -> None:
    """Write the HTML report, and print where it is or why it could not be written."""
    page.problems = list(outcome.problems)
    try:
        page.write(path, person, **options)
    except (ValueError, OSError, MemoryError) as error:
        fault = memory_sentence(error) or getattr(error, "strerror", None) or str(error)
        outcome.problem(f"{path} cannot be written ({fault}); all other results were written")
    else:
        print(f"Open {shown(path)}")


def count(things: Sequence[object] | int, one: str, many: str | None = None) -> str:
    """`1 photo`, `3 photos`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {one if number == 1 else many or one + 's'}"


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that workers are stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
