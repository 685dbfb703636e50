"""Mutation testing of the core: which small faults in a module do its own tests notice?

    python tools/mutants.py [MODULE …] [--sample 40] [--seed 0] [--again]

`make mutants` runs every module of `MODULES`. Mutants are drawn by a seeded hash of what they
change, at most two per line, so that an edit elsewhere does not change the draw. Each is tried in a
process of its own against the test files of its module, up to the first failure. Results are
appended to out/mutants/results.jsonl as they come in; a second run continues after them, as long as
the module and its tests are unchanged. The report is out/mutants/report.md. While tests are being
written, --again trusts what was killed before and tries only survivors and new mutants.

Survivors that were read and found equivalent or harmless are listed in tests/mutants.md.

The operators are mutmut's where it has one (see `mutations`); files are never written: the process
that tries a mutant reads the changed source from memory. That process is forked from one that has
imported the libraries already, which saves most of the time.
"""

import argparse
import gc
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FrameType

from mutant_operators import Change, changes_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "idhand"
ACCEPTED = ROOT / "tests" / "mutants.md"
GOAL = 0.85
MOST_PER_LINE = 2


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A module or package with the test files that are to notice its faults."""

    sources: tuple[str, ...]
    """Patterns below src/idhand."""
    tests: tuple[str, ...]
    """Patterns below tests."""


MODULES = {
    "geometry": Subject(sources=("geometry.py",), tests=("test_geometry.py", "test_sixd.py")),
    "skinning": Subject(sources=("skinning.py",), tests=("test_skinning.py", "test_hand.py")),
    "hand": Subject(
        sources=("hand.py", "hand_parts.py"), tests=("test_hand.py", "test_hand_fittable.py")
    ),
    "identity": Subject(sources=("identity.py",), tests=("test_identity.py",)),
    "predictions": Subject(sources=("predictions.py",), tests=("test_predictions.py",)),
    "nets/crops": Subject(sources=("nets/crops.py",), tests=("test_nets_crops.py",)),
    "evaluation/metrics": Subject(
        sources=("evaluation/metrics.py",),
        tests=("test_evaluation_metrics.py", "test_evaluation.py"),
    ),
    "refinement": Subject(
        sources=("refinement/*.py",), tests=("test_refinement*.py", "test_uncertainty.py")
    ),
    "calibration": Subject(sources=("calibration.py",), tests=("test_calibration*.py",)),
    "fusion": Subject(sources=("fusion/*.py",), tests=("test_fusion*.py",)),
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one mutant."""

    module: str
    state: str
    """Digest of the module and its tests, as they were."""
    mutant: str
    """File, function and the changed code: a line of the report."""
    diff: str
    outcome: str
    """`killed`, `survived` or `timeout`."""
    test: str
    """The test that failed."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A module's tests without a mutant."""

    limit_s: float
    """After which a mutant counts as one that never ends."""
    test_seconds: dict[str, float]


class Watcher:
    """Pytest plugin: quick tests first; ends the process at the first failure."""

    def __init__(self, report: int, seconds: dict[str, float]):
        self.report = report
        self.seconds = seconds
        self.measured: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list) -> None:
        """Sort by the time measured without a mutant."""
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report) -> None:
        """Add the time, or end."""
        self.measured[report.nodeid] = self.measured.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self._end(report.nodeid)

    def pytest_collectreport(self, report) -> None:
        """End if a test file cannot be imported."""
        if report.failed:
            self._end(f"import of {report.nodeid}")

    def pytest_sessionfinish(self) -> None:
        """All passed."""
        self._end("")

    def _end(self, failed: str) -> None:
        os.write(self.report, json.dumps({"failed": failed, "seconds": self.measured}).encode())
        os._exit(0)


def main() -> None:
    """Try the mutants, write the report; exit code 1 below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("modules", nargs="*", help=f"default: all of {', '.join(MODULES)}")
    parser.add_argument("--sample", type=int, default=40, help="mutants per module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="survivors only")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutants")
    args = parser.parse_args()
    if unknown := set(args.modules) - set(MODULES):
        parser.error(f"there is no module {', '.join(unknown)}; there are {', '.join(MODULES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    _import_libraries()
    results: list[Result] = []
    for name in args.modules or MODULES:
        results += _module(name, args)
        (args.out / "report.md").write_text(report(results))
    print(report(results))
    sys.exit(min(_shares(results).values()) < GOAL)


def _module(name: str, args: argparse.Namespace) -> list[Result]:
    """Results of one module's sample, old and new."""
    subject, log = MODULES[name], args.out / "results.jsonl"
    known = {r.mutant: r for r in _read(log) if r.module == name}
    state, tests = _state(subject), _tests(subject)
    sample = drawn(subject, args.sample, args.seed)
    baseline: Baseline | None = None
    results = []
    for number, change in enumerate(sample, 1):
        result = known.get(change.label)
        is_trusted = args.again and result is not None and result.outcome != "survived"
        if result is None or not (is_trusted or result.state == state):
            baseline = baseline or _baseline(name, tests)
            result = replace(_result(change, tests, baseline), module=name, state=state)
            with log.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(f"{name} {number}/{len(sample)} {result.outcome:8} {change.label} {result.test}")
            sys.stdout.flush()
        results.append(result)
    return results


def _baseline(name: str, tests: list[str]) -> Baseline:
    """How long the tests take without a mutant; they have to pass."""
    start = time.perf_counter()
    answer = _tried(tests, None, None, 1800.0, {})
    if answer is None or answer["failed"]:
        sys.exit(f"{name}: without a mutant, {answer['failed'] if answer else 'time'} fails")
    return Baseline(
        limit_s=30.0 + 8.0 * (time.perf_counter() - start), test_seconds=answer["seconds"]
    )


def _result(change: Change, tests: list[str], baseline: Baseline) -> Result:
    start = time.perf_counter()
    answer = _tried(tests, change.path, change.source(), baseline.limit_s, baseline.test_seconds)
    return Result(
        module="",
        state="",
        mutant=change.label,
        diff=change.diff(),
        outcome="timeout" if answer is None else "killed" if answer["failed"] else "survived",
        test=answer["failed"] if answer else "",
        seconds=round(time.perf_counter() - start, 1),
    )


def drawn(subject: Subject, count: int, seed: int) -> list[Change]:
    """The first `count` of a module's mutants in the order of a seeded hash."""
    found = [c for path in _sources(subject) for c in changes_of(path, PACKAGE)]
    found.sort(key=lambda c: hashlib.sha256(f"{seed} {c.label}".encode()).hexdigest())
    taken: list[Change] = []
    per_line: dict[tuple[Path, int], int] = {}
    for change in found:
        place = (change.path, change.line)
        per_line[place] = per_line.get(place, 0) + 1
        if per_line[place] <= MOST_PER_LINE and change.is_different():
            taken.append(change)
        if len(taken) == count:
            break
    return taken


def _sources(subject: Subject) -> list[Path]:
    return sorted(path for pattern in subject.sources for path in PACKAGE.glob(pattern))


def _tests(subject: Subject) -> list[str]:
    found = sorted(path for pattern in subject.tests for path in (ROOT / "tests").glob(pattern))
    return [str(path.relative_to(ROOT)) for path in found]


def _state(subject: Subject) -> str:
    paths = [*_sources(subject), *(ROOT / t for t in _tests(subject)), ROOT / "tests/conftest.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def _read(log: Path) -> Iterator[Result]:
    if log.exists():
        for line in log.read_text().splitlines():
            yield Result(**json.loads(line))


# ---------------------------------------------------------------- one mutant, in its own process


def _import_libraries() -> None:
    """What the tests import, except the package itself."""
    import cv2  # noqa: F401
    import hypothesis.extra.numpy  # noqa: F401
    import jaxtyping  # noqa: F401
    import PIL.Image  # noqa: F401
    import roma  # noqa: F401
    import torch
    import trimesh  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _tried(
    tests: list[str], path: Path | None, source: str | None, limit_s: float, seconds: dict
) -> dict | None:
    """What the process that tried the mutant has to report; None if it took too long."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(tests, path, source, writer, seconds)
    os.close(writer)
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(int(limit_s))
    try:
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
    except TimeoutError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    finally:
        signal.alarm(0)
    return json.loads(answer) if answer else {"failed": "the process ended", "seconds": {}}


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def _child(
    tests: list[str], path: Path | None, source: str | None, report: int, seconds: dict
) -> None:
    """Run the tests with one source file replaced in memory; never returns."""
    import pytest

    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    os.chdir(ROOT)
    if path is not None and source is not None:
        sys.dont_write_bytecode = True
        _replace(path, source.encode())
    options = ["-q", "-x", "--assert=plain", "--tb=no", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main([*options, *tests], plugins=[Watcher(report, seconds)])
    os.write(report, json.dumps({"failed": "pytest did not start", "seconds": {}}).encode())
    os._exit(0)


def _replace(path: Path, source: bytes) -> None:
    """Let the import system read this source, and none of the file's compiled forms."""
    read = SourceFileLoader.get_data

    def get_data(loader: SourceFileLoader, name: str) -> bytes:
        asked = Path(name)
        if asked == path:
            return source
        if asked.parent.parent == path.parent and asked.name.startswith(f"{path.stem}."):
            raise FileNotFoundError(name)
        return read(loader, name)

    SourceFileLoader.get_data = get_data  # pyright: ignore[reportAttributeAccessIssue]


# ---------------------------------------------------------------- report


def _shares(results: list[Result]) -> dict[str, float]:
    """Killed (or ended by the time limit) of all, by module."""
    modules = {r.module: [q for q in results if q.module == r.module] for r in results}
    return {m: sum(r.outcome != "survived" for r in rs) / len(rs) for m, rs in modules.items()}


def report(results: list[Result]) -> str:
    """A table by module, then every survivor as a diff."""
    accepted = ACCEPTED.read_text() if ACCEPTED.exists() else ""
    lines = ["| module | mutants | killed | timeout | survived | of them argued | share |"]
    lines += ["|---|---|---|---|---|---|---|"]
    shares = _shares(results)
    for name in [*shares, "all"]:
        own = [r for r in results if name in (r.module, "all")]
        counts = [sum(r.outcome == o for r in own) for o in ("killed", "timeout", "survived")]
        argued = sum(r.outcome == "survived" and f"`{r.mutant}`" in accepted for r in own)
        share = 1 - counts[2] / len(own)
        row = (name, len(own), *counts, argued, f"{100 * share:.0f} %")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    lines += ["", f"{sum(r.seconds for r in results):.0f} s in all.", ""]
    for r in results:
        if r.outcome == "survived":
            known = "argued in tests/mutants.md" if f"`{r.mutant}`" in accepted else "open"
            lines += [f"`{r.mutant}` ({known})", "```diff", r.diff, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
