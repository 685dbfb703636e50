"""What pickles of others may name, and what each name stands for: arrays and empty shells.

Nothing of the named modules is imported. Sizes are compared with the bytes that are really there
before memory is taken for them. Source: the form of NumPy's `ndarray.__reduce__`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

MAX_DIMENSIONS = 32
"""Of an array: the limit of the NumPy versions that such files come from."""
SHOWN = 80
"""Characters of a pickle's own text in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a name in a pickle stands for."""

    make: Callable[..., Any]
    """Called with the arguments that the pickle gives; raises ValueError or TypeError if they are
    not the usual ones."""
    build: Callable[[Any, Any], Any] | None = None
    """Takes what was made and the state that the pickle gives it; None: there is no state."""


@dataclass(kw_only=True)
class Shell:
    """An object of a class that is known by name alone: its attributes, none of its code."""

    name: str
    """E.g. `chumpy.ch.Ch`."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def shell(name: str) -> Known:
    """A class whose objects become shells."""

    def make(*arguments: Any) -> Shell:
        need(not arguments, f"makes a {name} of arguments")
        return Shell(name=name)

    return Known(make=make)


def need(held: bool, fault: str) -> None:
    """Refuse the pickle unless this holds.

    Args:
        held: What must hold.
        fault: What the pickle does otherwise: "names ...".
    """
    if not held:
        raise RefusedError(f"it {fault}")


class RefusedError(ValueError):
    """The pickle asks for something that data do not need."""


def text_of(value: Any) -> str:
    """A text of either Python; of anything else none."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _empty_array(*arguments: Any) -> None:
    """NumPy always asks for an empty array of bytes, whose state brings the rest."""
    fits = len(arguments) == 3 and arguments[0] is _NDARRAY and text_of(arguments[2]) == "b"
    need(fits and arguments[1] == (0,), "makes an array in an unusual way")


def _array(made: None, state: Any) -> np.ndarray:
    need(isinstance(state, tuple) and len(state) == 5, "has an array without shape and numbers")
    _, shape, dtype, is_fortran, data = state
    return _filled(shape, dtype, data, "F" if is_fortran in (True, 1) else "C")


def _filled(shape: Any, dtype: Any, data: Any, order: Any = "C") -> np.ndarray:
    """An array of bytes that are there."""
    need(isinstance(dtype, np.dtype), "has an array without a type of numbers")
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**62 for n in shape)
    need(whole and len(shape) <= MAX_DIMENSIONS, "has an array whose shape is none")
    need(isinstance(data, bytes | str), "has an array that is made of objects")
    size = math.prod(shape) * dtype.itemsize
    if size != len(data):
        raise RefusedError(
            f"it claims an array of {bytes_text(size)}, of which {bytes_text(len(data))} are there"
        )
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype).reshape(shape, order=order).copy()


def bytes_text(number: int) -> str:
    """A number of bytes for people."""
    if number < 100_000:
        return f"{number:,} bytes"
    return f"{number / 1e6:.1f} MB" if number < 1e15 else "absurdly many bytes"


def _dtype(*arguments: Any) -> np.dtype:
    """Numbers and texts of a fixed size; no objects, no records."""
    code = text_of(arguments[0]) if arguments else ""
    plain = len(code) <= 8 and code[:1] in tuple("biufcSU") and code[1:].isdecimal()
    need(plain, f"has an array of the type {code[:SHOWN]!r}, not of numbers")
    return np.dtype(code)


def _ordered(made: np.dtype, state: Any) -> np.dtype:
    parts: tuple[Any, ...] = state if isinstance(state, tuple) else ()
    need(len(parts) >= 5, "has numbers of an unknown kind")
    _, letter, *records = parts
    order = text_of(letter)
    need(order in ("<", ">", "|", "="), "has numbers in an unknown order of bytes")
    need(records[:3] == [None] * 3, "has an array of records, not of numbers")
    return made.newbyteorder(order)  # pyright: ignore[reportArgumentType]


def _number(*arguments: Any) -> Any:
    """One number of NumPy's."""
    plain = len(arguments) == 2 and isinstance(arguments[0], np.dtype)
    need(plain and arguments[0].kind in "biufc", "has a number without type and bytes")
    return _filled((), arguments[0], arguments[1])[()]


def _encoded(*arguments: Any) -> bytes:
    """Bytes that Python 3 wrote for Python 2."""
    need(len(arguments) == 2 and text_of(arguments[1]) == "latin1", "has bytes of an unknown form")
    return text_of(arguments[0]).encode("latin-1")


def _set(*arguments: Any) -> frozenset[Any]:
    members = arguments[0] if arguments else []
    fits = len(arguments) <= 1 and isinstance(members, list)
    need(fits, "makes a set of something that is no list")
    return frozenset(map(key_of, members))


def key_of(value: Any) -> Any:
    """A member of a set or a dictionary's key: of kinds whose hashes nobody can make collide."""
    plain = isinstance(value, str | bytes | None) or (type(value) is int and abs(value) < 2**63)
    need(plain, "has a key that is neither a text nor a whole number")
    return value


def _not_called(*arguments: Any) -> NoReturn:
    raise RefusedError("it makes an array in an unusual way")


_NDARRAY = Known(make=_not_called)
NUMPY_NAMES: Mapping[str, Known] = {
    "numpy.core.multiarray._reconstruct": Known(make=_empty_array, build=_array),
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": Known(make=_dtype, build=_ordered),
}
"""What an array names in a pickle of NumPy 1."""
NEW_NUMPY_NAMES: Mapping[str, Known] = {
    **NUMPY_NAMES,
    "_codecs.encode": Known(make=_encoded),
    "__builtin__.bytes": Known(make=lambda: b""),
    "numpy._core.multiarray._reconstruct": NUMPY_NAMES["numpy.core.multiarray._reconstruct"],
    "numpy.core.multiarray.scalar": Known(make=_number),
    "numpy._core.multiarray.scalar": Known(make=_number),
}
"""What arrays and single numbers name in pickles of Python 3 with NumPy 1 or 2."""
MANO_NAMES: Mapping[str, Known] = {
    **NUMPY_NAMES,
    "__builtin__.set": Known(make=_set),
    **{
        name: shell(name)
        for name in (
            "scipy.sparse.csc.csc_matrix",
            "chumpy.reordering.Select",
            "chumpy.ch.Ch",
        )
    },
}
"""What the files of MANO name, and nothing else."""
