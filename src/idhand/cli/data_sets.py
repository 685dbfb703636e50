"""What the sub-verbs of `idhand data` do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from idhand.assets import hand, mano_hands
from idhand.cli import EXIT_FINE, EXIT_PROBLEMS
from idhand.cli.common import (
    Outcome,
    count,
    num_cores,
    progress,
    say,
    shown,
    terminate_as_interrupt,
    writable_folder,
)
from idhand.cli.shard_writing import write_set
from idhand.data import Shards, models, true_betas
from idhand.data.prepared import Prepared, without_damaged
from idhand.data.sample_list import Count, Part, SampleList
from idhand.data.trees import LabelHands, Tree, open_tree
from idhand.files import only_writer, replacing
from idhand.identity import Identity, measure

if TYPE_CHECKING:
    from idhand.cli.data import Fixture, Prepare

SHOWN = 20
"""Problems that are printed one by one; the rest is counted."""
LISTS, LEFT_OUT = "lists", "left_out.txt"
"""In a prepared folder: the lists of pictures, and a sentence on each file that was left out."""


def label_hands() -> LabelHands:
    """The hand models of MANO that are here, for data sets' labels; without any, a sentence."""
    found = mano_hands()
    if found.right is None and found.left is None:
        say(
            "no MANO is here, so labels have keypoints alone, without pose and shape; get it from "
            "https://mano.is.tue.mpg.de and give --mano, or `idhand assets mano` once"
        )
    return LabelHands(right=found.right, left=found.left)


def check(root: Path, *, deep: bool) -> int:
    """Print what is there, and every problem as a sentence."""
    tree = open_tree(root)
    report = tree.check(deep=deep, hands=label_hands() if deep else None)
    print(f"{tree.kind} in {shown(root)}, with the counts of the release beside\n")
    print("\n".join(table(report.counts)))
    for note in report.notes:
        print(note)
    tell(report.problems)
    if report.problems:
        return EXIT_PROBLEMS
    print(
        "Nothing is damaged; counts marked ! are not those of the release."
        if _odd(report.counts)
        else "Nothing is missing or damaged."
    )
    return EXIT_FINE


def _odd(counts: Sequence[Count]) -> list[Count]:
    """Those that are not the release's."""
    return [each for each in counts if each.expected not in (None, each.found)]


def table(counts: Sequence[Count]) -> list[str]:
    """Lines of a table: what, found, expected, and a mark where the two differ."""
    width = max((len(each.what) for each in counts), default=0)
    lines = [f"{'':{width}}  {'found':>9}  {'expected':>9}"]
    for each in counts:
        expected = "" if each.expected is None else f"{each.expected:,}"
        mark = "  !" if _odd([each]) else ""
        lines.append(f"{each.what:{width}}  {each.found:>9,}  {expected:>9}{mark}")
    return lines


def tell(problems: Sequence[str]) -> None:
    """Print problems, the first ones in full."""
    for problem in problems[:SHOWN]:
        say(shown(problem))
    if len(problems) > SHOWN:
        say(f"and {len(problems) - SHOWN:,} more like these")


def write_lists(root: Path, protocol: str, out: Path, *, partial: bool) -> int:
    """Print counts and hashes of a protocol's parts, and write the names of their pictures."""
    tree = open_tree(root)
    lists = tree.lists(protocol, partial=partial)
    folder = writable_folder(out)
    for chosen in lists.values():
        _print_list(chosen)
        chosen.save(folder / f"{chosen.protocol}_{chosen.part}.txt")
    print(f"Written to {shown(folder)}")
    problems = _problems(lists)
    tell(problems)
    return EXIT_PROBLEMS if problems else EXIT_FINE


def _print_list(chosen: SampleList) -> None:
    print(f"{chosen.protocol} {chosen.part}: {len(chosen):,} pictures, sha256 {chosen.sha256}")
    for each in chosen.counts:
        expected = "" if each.expected is None else f" (in the release {each.expected:,})"
        print(f"  {each.what}: {each.found:,}{expected}")


def _problems(lists: Mapping[Part, SampleList]) -> list[str]:
    """Of all parts, each once."""
    return list(dict.fromkeys(p for chosen in lists.values() for p in chosen.problems))


def prepare(command: "Prepare") -> int:
    """Write a protocol's parts as shards."""
    tree = open_tree(command.root)
    lists = tree.lists(command.protocol, partial=command.partial)
    if command.only is not None:
        if command.only not in lists:
            raise ValueError(f"the protocol '{command.protocol}' has no part '{command.only}'")
        only: dict[Part, SampleList] = {command.only: lists[command.only]}
        lists = only
    hands = label_hands()
    check_apart(command.out, tree)
    out = writable_folder(command.out)
    problems = _problems(lists)
    with only_writer(out), terminate_as_interrupt():
        for chosen in lists.values():
            _print_list(chosen)
            if not len(chosen):
                say(f"{chosen.protocol} {chosen.part} has no picture in this tree; it is left out")
                continue
            problems += _prepare_part(tree, chosen, hands, command, out)
        _write_left_out(out, problems)
    tell(problems)
    return EXIT_PROBLEMS if problems else EXIT_FINE


def check_apart(out: Path, tree: Tree) -> None:
    """Keep results out of the publishers' folders.

    Raises:
        ValueError: If the output would lie in the data set.
    """
    if out.resolve().is_relative_to(tree.root.resolve()):
        raise ValueError(f"--out {out} lies in the data set {tree.root}; name a folder beside it")


def _prepare_part(
    tree: Tree, chosen: SampleList, hands: LabelHands, command: "Prepare", out: Path
) -> tuple[str, ...]:
    """Write one part; a sentence on each picture that is left out."""
    data, problems = without_damaged(tree.data(chosen, hands, masks=command.masks))
    if not len(data):
        raise ValueError(f"all pictures of {chosen.protocol} {chosen.part} are damaged")
    size = None if command.native else command.size
    source = Prepared(data, size_px=size, seed=command.seed)
    workers = command.workers or num_cores()
    write_set(source, out / chosen.part, workers, made="cut")
    folder = out / LISTS
    folder.mkdir(exist_ok=True)
    chosen.save(folder / f"{chosen.protocol}_{chosen.part}.txt")
    return problems


def _write_left_out(out: Path, problems: Sequence[str]) -> None:
    path = out / LEFT_OUT
    if not problems:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{problem}\n" for problem in problems), "utf-8")
    say(f"{shown(path)} says what was left out, in {count(len(problems), 'line')}")


def write_shapes(folder: Path, out: Path) -> int:
    """Profile and mesh of everybody whose true shape a set knows."""
    from idhand.experiments.profiles import profile_names

    shards, out, outcome = Shards(folder), writable_folder(out), Outcome()
    names = [name for name in models(shards.labels()) if name is not None]
    if not names:
        raise ValueError(
            f"{folder} has keypoints alone, so no shape is known; prepare it again with --mano"
        )
    for name in sorted(names):
        model, people = hand(name), true_betas(shards.labels(), name)
        for subject, file in profile_names(tuple(people)).items():
            betas = people[subject]
            stem = file.removesuffix(".hand.json") + (f"_{name}" if len(names) > 1 else "")
            covariance = np.zeros((len(betas), len(betas)))
            measurements = measure(model, betas, covariance)
            me = Identity(
                model=model.shape_name,
                betas=betas,
                covariance=covariance,
                measurements=measurements,
            )
            with outcome.guard(out / f"{stem}.hand.json"):
                me.save(out / f"{stem}.hand.json")
                verts = model.with_shape(torch.from_numpy(betas)).rest_verts.numpy()
                _write_meshes(out / stem, verts, model.faces.numpy())
    print(f"{count(outcome.num_done, 'shape')} written to {shown(out)}")
    return outcome.exit_code


def _write_meshes(stem: Path, verts: np.ndarray, faces: np.ndarray) -> None:
    """The hand at rest as OBJ and PLY, metres, in the model's rest frame, vertices in order."""
    lines = ["# idhand; metres; the hand model's rest frame"]
    lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in verts.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    with replacing(stem.with_name(f"{stem.name}.obj")) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    import trimesh  # here, because it takes a second to import
    from trimesh.exchange.ply import export_ply

    mesh = trimesh.Trimesh(vertices=verts, faces=faces, process=False)
    with replacing(stem.with_name(f"{stem.name}.ply")) as temporary:
        temporary.write_bytes(export_ply(mesh, encoding="binary"))


def write_fixture(command: "Fixture", workers: int) -> int:
    """Write a set in a data set's format."""
    out = writable_folder(command.out)
    with terminate_as_interrupt():
        match command.kind:
            case "dexycb":
                _dexycb_fixture(command, out, workers)
            case "freihand":
                from idhand.fixtures.freihand import FreihandFixture, write_freihand

                write_freihand(out, FreihandFixture(is_blank=command.blank, seed=command.seed))
            case "humbi":
                from idhand.fixtures.humbi import HumbiFixture, write_humbi

                write_humbi(out, HumbiFixture(is_blank=command.blank, seed=command.seed))
    print(f"Written to {shown(out)}")
    return EXIT_FINE


def _dexycb_fixture(command: "Fixture", out: Path, workers: int) -> None:
    from idhand.fixtures.dexycb import DexYcbFixture, write_dexycb

    config = DexYcbFixture(
        sequences=command.sequences or DexYcbFixture.sequences,
        is_blank=command.blank,
        seed=command.seed,
    )
    with progress((), None, "sequences") as bar:
        bar.unit = " sequences"

        def tell_bar(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        write_dexycb(out, config, workers=workers, progress=tell_bar)
