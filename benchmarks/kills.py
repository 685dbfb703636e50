"""Whether commands that are killed and run again leave the bytes of an undisturbed run.

python benchmarks/kills.py FOLDER [--moments 20]

`idhand data prepare` is killed in a fresh folder at each of the moments, which are spread over the
processor time of an undisturbed run. `idhand reproduce` is killed over and over in one folder,
later each time, until it gets through, and then in the next one. Every other kill spares the
command's workers. What states when and how long is left out: a manifest's seconds, logs,
TensorBoard's files.
The fixtures that are read are made in FOLDER. Some ten minutes on two cores.
"""

import argparse
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tables import table

IDHAND = (sys.executable, "-m", "idhand")
WITH_TIMES = (".idhand.lock", "log.txt")
FIRST_S, LAST_S = 3.0, 14.0
"""Processor time after which `reproduce` is killed: its imports take the first three seconds."""


def main() -> None:
    """Make the fixtures, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--moments", type=int, default=20)
    options = parser.parse_args()
    here = options.folder
    here.mkdir(parents=True, exist_ok=True)
    if not (here / "M").is_dir():
        run(("assets", "export", "--format", "mano", "--out", "M"), here)
    for kind in ("dexycb", "humbi"):
        if not (here / kind).is_dir():
            run(("data", "fixture", kind, "--out", kind), here)
    prepare = ("data", "prepare", "dexycb", "--protocol", "paper", "--mano", "M")
    chain = ("reproduce", "--data", "humbi", "--protocol", "paper-humbi", "--mano", "M")
    rows = [
        ("data prepare", *in_fresh_folders(prepare, here, options.moments)),
        ("reproduce", *in_one_folder((*chain, "--recipe", "hand", "--steps", "10"), here, options)),
    ]
    print(table(("command", "kills", "folders", "folders with other bytes"), rows))


def in_fresh_folders(command: Sequence[str], here: Path, moments: int) -> tuple[int, int, int]:
    """Kills that came before the end, folders, and folders that differ."""
    before = cpu_of_children_s()
    wanted = sums(run(command, here, "undisturbed"))
    whole_s = cpu_of_children_s() - before
    kills = others = 0
    for k in range(moments):
        kills += killed(command, here, f"killed{k}", whole_s * (k + 0.5) / moments, bool(k % 2))
        others += sums(run(command, here, f"killed{k}")) != wanted
    return kills, moments, others


def in_one_folder(
    command: Sequence[str], here: Path, options: argparse.Namespace
) -> tuple[int, int, int]:
    """The same, with as many kills as it takes before a command gets through."""
    wanted = sums(run(command, here, "undisturbed_chain"))
    kills = folders = others = 0
    while kills < options.moments:
        out, moment_s = f"chain{folders}", FIRST_S
        while kills < options.moments and killed(command, here, out, moment_s, bool(kills % 2)):
            kills += 1
            moment_s += (LAST_S - FIRST_S) / 5
        others += sums(run(command, here, out)) != wanted
        folders += 1
    return kills, folders, others


def run(command: Sequence[str], here: Path, out: str | None = None) -> Path:
    """Run it to its end."""
    where = () if out is None else ("--out", out)
    with (here / "log").open("ab") as log:
        code = subprocess.run(
            (*IDHAND, *command, *where), cwd=here, stdout=log, stderr=log, check=False
        )
    assert code.returncode in (0, 1), f"{command} ended with {code.returncode}, see {here / 'log'}"
    return here / (out or "")


def killed(command: Sequence[str], here: Path, out: str, moment_s: float, alone: bool) -> bool:
    """Kill it after this much processor time; False if it was through before."""
    with (here / "log").open("ab") as log:
        process = subprocess.Popen(
            (*IDHAND, *command, "--out", out), cwd=here, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and cpu_of_group_s(process.pid) < moment_s:
            time.sleep(0.01)
        if process.poll() is not None:
            return False
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
    return True


def cpu_of_children_s() -> float:
    """Processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_group_s(group: int) -> float:
    """Processor time of the processes of a group that live, and of those that its first has had."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == group:
            ticks += sum(map(int, words[11 : 15 if path.parent.name == str(group) else 13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def sums(folder: Path) -> dict[str, str]:
    """File → hash of its bytes, without times; the folder goes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in WITH_TIMES and "tensorboard" not in path.parts:
            data = path.read_bytes()
            if path.name == "manifest.json":
                data = re.sub(rb'"seconds": [0-9.e-]+', b"", data)
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    main()
