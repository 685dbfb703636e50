"""The paper's whole chain, for `idhand reproduce`: flags → a run, and what is said of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idhand.assets import mano_hands
from idhand.cli import EXIT_FINE
from idhand.cli.common import (
    num_cores,
    progress,
    say,
    shown,
    terminate_as_interrupt,
    writable_folder,
)
from idhand.cli.data_sets import check_apart, label_hands
from idhand.data.trees import open_tree
from idhand.experiments.chain import plan
from idhand.experiments.chain.config import ChainConfig
from idhand.experiments.chain.prepared import TreeInput
from idhand.experiments.chain.running import Chain
from idhand.experiments.chain.sets import ChainInput, PreparedFolder, Sets
from idhand.files import existing_file
from idhand.training.processes import Group, process_group

if TYPE_CHECKING:
    from idhand.cli.reproduce import Command


def run_chain(command: "Command") -> int:
    """Do it, say where the results are and return the exit code.

    Args:
        command: Of `idhand reproduce`.

    Raises:
        ValueError: If something does not fit together.
    """
    workers = num_cores() if command.workers is None else command.workers
    config = ChainConfig(
        recipe=command.recipe or "paper",
        imagenet=command.imagenet,
        steps=command.steps,
        seed=command.seed,
        workers=max(1, workers),
    )
    for path in config.imagenet:
        existing_file(path)
    source = chain_input(command, config.workers)
    out = writable_folder(command.out)
    with process_group(command.device) as group, terminate_as_interrupt():
        chain = Chain(
            source=source, out=out, config=config, note=say, group=group, only=command.only,
            bar=_Bar(), plan=_tell_plan,
        )  # fmt: skip
        try:
            path = chain.run()
        except FloatingPointError as error:
            raise ValueError(str(error)) from error
    if path.suffix == ".md":
        print(path.read_text("utf-8").partition("## Tables")[0].rstrip())
        print(f"\nWritten to {out}; read {path.name} first")
    else:
        print(f"Written to {path}")
    return EXIT_FINE


def chain_input(command: "Command", workers: int) -> ChainInput:
    """Where the pictures come from.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it cannot be used.
    """
    if command.protocol is None:
        mano_hands()  # makes MANO's models known by name
        return PreparedFolder(folder=command.data)
    tree = open_tree(command.data)
    if command.protocol not in tree.protocols:
        raise ValueError(
            f"{shown(command.data)} ({tree.kind}) has no protocol '{command.protocol}'; it has "
            f"{', '.join(tree.protocols)}"
        )
    check_apart(command.out, tree)
    return TreeInput(
        tree=tree, protocol=command.protocol, hands=label_hands(), partial=command.partial,
        workers=workers, note=say, bar=_Bar(),
    )  # fmt: skip


def _tell_plan(sets: Sets, config: ChainConfig, group: Group) -> None:
    for sentence in plan.sentences(sets, config, group):
        say(sentence)


@dataclass(kw_only=True)
class _Bar:
    """Hears how many pictures are done, and shows it while some are missing."""

    bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None and done < total:
            self.bar = progress((), total, "pictures")
            self.bar.initial = self.bar.n = self.bar.last_print_n = done
        elif self.bar is not None:
            self.bar.update(done - self.bar.n)
            if done >= total:
                self.bar.close()
                self.bar = None
