"""Loops at machine speed. Needs numba (`pip install 'idhand[synth]'`)."""

import inspect
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Machine code of a function of numbers and arrays, made at its first call.

    It lets other threads run meanwhile. Its arguments are not annotated, since checks at run time
    (jaxtyping's import hook in the tests) cannot be compiled; those that were added are taken off.
    """
    return numba.njit(nogil=True)(inspect.unwrap(function))


def compiled_loosely(function: Callable[..., Any]) -> Any:
    """The same with sums in any order, for light: faster, and never to meet what is not finite."""
    return numba.njit(nogil=True, fastmath=True)(inspect.unwrap(function))
