"""Loops at machine speed. Needs numba (`pip install 'idhand[synth]'`).

Machine code is kept on disk, so that only the first start compiles. numba notices changes in a
function's own file and not in those of the functions that it calls, so the folder is named by a
hash of all sources of this package.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numba.core.config

from idhand.assets import cache_folder

numba_config: Any = numba.core.config
SECONDS = 30
"""That compiling everything takes, about, on one core."""


def compiled(function: Callable[..., Any]) -> Any:
    """Machine code of a function of numbers and arrays, made at its first call and kept on disk.

    It lets other threads run meanwhile. Its arguments are not annotated, since checks at run time
    (jaxtyping's import hook in the tests) cannot be compiled; those that were added are taken off.
    """
    return _compiled(function, fastmath=False)


def compiled_loosely(function: Callable[..., Any]) -> Any:
    """The same with sums in any order, for light: faster, and never to meet what is not finite."""
    return _compiled(function, fastmath=True)


@cache
def code_folder() -> Path:
    """Where the machine code of these sources is kept."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    root = Path(numba_config.CACHE_DIR) if numba_config.CACHE_DIR else cache_folder() / "numba"
    return root / digest.hexdigest()[:16]


def is_compiled() -> bool:
    """Whether machine code of these sources is there already."""
    return next(code_folder().glob("**/*.nbc"), None) is not None


@cache
def is_kept() -> bool:
    """Whether machine code can be kept; else every start compiles."""
    try:
        code_folder().mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(code_folder(), os.W_OK)


def _compiled(function: Callable[..., Any], *, fastmath: bool) -> Any:
    plain = inspect.unwrap(function)
    if not is_kept():
        return numba.njit(nogil=True, fastmath=fastmath)(plain)
    with _kept_in(code_folder()):
        return numba.njit(nogil=True, fastmath=fastmath, cache=True)(plain)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Let numba keep code in this folder, which must be writable."""
    before = numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba_config.CACHE_DIR = before
