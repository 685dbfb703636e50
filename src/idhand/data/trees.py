"""Public data sets as they lie on the user's disk: what every kind of tree can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from idhand.data.dataset import DataSet
from idhand.data.sample_list import Count as Count
from idhand.data.sample_list import Part, SampleList
from idhand.hand import FittableHand


@dataclass(frozen=True, kw_only=True)
class LabelHands:
    """The hand models that a data set's labels mean; without them only keypoints are known."""

    right: FittableHand | None = None
    left: FittableHand | None = None
    """Of left hands, mirrored: a right-hand model as all others. For DexYCB it is MANO's left hand
    as shipped, whose shape basis has the other sign in x."""

    def of_side(self, is_right: bool) -> FittableHand | None:
        """The model of a side's labels."""
        return self.right if is_right else self.left


@dataclass(frozen=True, kw_only=True)
class TreeReport:
    """What a look at a tree found."""

    counts: tuple[Count, ...]
    problems: tuple[str, ...] = ()
    """A sentence each: the file, the cause, the remedy."""
    notes: tuple[str, ...] = ()
    """What a user should know and need not mend."""


@runtime_checkable
class Tree(Protocol):
    """A public data set on disk, in its publishers' form."""

    @property
    def kind(self) -> str:
        """E.g. `dexycb`."""
        ...

    @property
    def root(self) -> Path:
        """Its folder."""
        ...

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols that this kind of set has."""
        ...

    def check(self, *, deep: bool = False, hands: LabelHands | None = None) -> TreeReport:
        """What is there, what is missing and what is damaged.

        Args:
            deep: Also open every file, and compare labels with the hand models.
            hands: The models.
        """
        ...

    def lists(self, protocol: str, *, partial: bool = False) -> Mapping[Part, SampleList]:
        """The pictures of each part of a protocol.

        Args:
            protocol: One of `protocols`.
            partial: Go on where the tree is not complete, under another name of the protocol.

        Raises:
            ValueError: If there is no such protocol, or the tree is not complete.
        """
        ...

    def data(
        self, chosen: SampleList, hands: LabelHands | None = None, *, masks: bool = False
    ) -> DataSet:
        """The pictures of a list, whole and with their labels.

        Args:
            chosen: Of this tree.
            hands: For pose and shape; without a side's model its samples have keypoints alone.
            masks: Also read what each pixel shows (`Sample.parts`), where the set knows it.
        """
        ...


@runtime_checkable
class Opener(Protocol):
    """Opens a folder as a kind of tree."""

    def __call__(self, root: Path) -> Tree | None:
        """The tree; None if the folder is of another kind.

        Raises:
            ValueError: If it is of this kind and cannot be used, e.g. a folder above the root.
        """
        ...


BUILT_IN = {
    "dexycb": "idhand.data.dexycb",
    "freihand": "idhand.data.freihand",
    "humbi": "idhand.data.humbi",
}
"""Kind → module with its `open_KIND`, which is imported when a tree is opened."""

_openers: dict[str, Opener] = {}


def _all_openers() -> dict[str, Opener]:
    modules = {kind: import_module(module) for kind, module in BUILT_IN.items()}
    return {kind: getattr(m, f"open_{kind}") for kind, m in modules.items()} | _openers


def add_kind(kind: str, opener: Opener) -> None:
    """Let `open_tree` know another kind of tree.

    Raises:
        ValueError: If there is one of that name.
    """
    if kind in _openers or kind in BUILT_IN:
        raise ValueError(f"there is a kind of data set '{kind}' already; take another name")
    _openers[kind] = opener


def open_tree(root: Path) -> Tree:
    """The public data set in a folder, whose kind is recognised from what lies there.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is none that is known.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    openers = _all_openers()
    for opener in openers.values():
        tree = opener(root)
        if tree is not None:
            return tree
    known = ", ".join(openers)
    raise ValueError(
        f"{root} is no data set of a known kind ({known}); name the folder that the publishers' "
        "archive unpacks to"
    )
