"""Pickles of others, read without running anything of theirs.

An interpreter of our own for the harmless part of the pickle machine: data, and things that the
caller allows by name, see `idhand.assets.pickle_names`. Nothing is imported, and memory is taken
only for bytes that are there. Source: the opcodes as Python's `pickletools` documents them.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from idhand.assets.pickle_names import (
    SHOWN,
    Known,
    RefusedError,
    Shell,
    bytes_text,
    key_of,
    need,
    text_of,
)
from idhand.files import existing_file

MAX_BYTES = 64 * 2**20
"""Of a pickle; MANO's have 4 MB."""
MAX_STEPS = 100_000
"""Opcodes of a pickle; MANO's have some hundreds."""


_STOP = ord(".")
_FORMS = {form: struct.Struct(form) for form in ("<b", "<B", "<H", "<i", "<I", "<Q", ">d")}


@dataclass(kw_only=True)
class _Unbuilt:
    """Something made that waits for its state, and where the memo has it."""

    known: Known
    value: Any
    places: list[int] = field(default_factory=list)


def read_pickle(
    path: Path,
    known: Mapping[str, Known],
    *,
    max_bytes: int = MAX_BYTES,
    max_steps: int = MAX_STEPS,
) -> Any:
    """What a pickle file holds; see `unpickled`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: As `unpickled`, or if the file has more than so many bytes.
    """
    size = existing_file(path).stat().st_size
    if size > max_bytes:
        raise ValueError(
            f"{path} has {bytes_text(size)}, but at most {bytes_text(max_bytes)} are read; name "
            "another file"
        )
    return unpickled(path.read_bytes(), known, path, max_steps=max_steps)


def unpickled(
    data: bytes | mmap.mmap,
    known: Mapping[str, Known],
    where: object,
    *,
    max_steps: int = MAX_STEPS,
) -> Any:
    """What a pickle holds; nothing of it is run.

    Args:
        data: The pickle or its mapped file, of protocol 2 or later; also of Python 2, whose texts
            are read as Latin-1.
        known: What it may name, by MODULE.NAME.
        where: What to call it in errors, usually its path.
        max_steps: How many opcodes it may have.

    Returns:
        Numbers, texts, bytes, tuples, lists, dictionaries, sets and what `known` makes.

    Raises:
        ValueError: If it is no pickle, is damaged, names anything else, claims more than its bytes
            hold, or uses a part of the pickle machine that data do not need.
    """
    machine = _Machine(data, known, max_steps)
    try:
        return machine.run()
    except RefusedError as error:
        fault = str(error)
    except (ValueError, TypeError, IndexError, KeyError, struct.error, OverflowError):
        fault = "it is damaged, or no pickle"
    raise ValueError(
        f"{where} is refused: {fault}; nothing of it was run; get it again from its publishers"
    )


class _Machine:
    """Stacks, memo and position of one pickle."""

    def __init__(self, data: bytes | mmap.mmap, known: Mapping[str, Known], max_steps: int):
        self.data, self.at = data, 0
        self.known, self.max_steps = known, max_steps
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """The stacks under the marks."""
        self.memo: dict[int, Any] = {}
        self.copied = 0
        """Numbers and members that were copied out of the pickle's bytes."""

    def run(self) -> Any:
        """Follow the opcodes to the end; what is then on the stack."""
        data, steps = self.data, {ord(code): step for code, step in _STEPS.items()}
        for _ in range(self.max_steps):
            if self.at == len(data):
                self.take(1)  # which is refused
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.stack.pop()
            step = steps.get(code)
            if step is None:
                opcode = bytes([code])
                other = (
                    f"has the opcode {opcode!r}, which no data need: it is damaged, or no pickle"
                )
                raise RefusedError(f"it {_FORBIDDEN.get(opcode, other)}")
            step(self)
        raise RefusedError(f"it has more than {self.max_steps} steps")

    def take(self, number: int) -> bytes:
        """The next bytes."""
        end = self.at + number
        if number < 0 or end > len(self.data):
            raise RefusedError(
                f"it is cut short, or no pickle: {bytes_text(number)} should follow, "
                f"{bytes_text(len(self.data) - self.at)} are there"
            )
        start, self.at = self.at, end
        return self.data[start:end]

    def number(self, form: str) -> Any:
        """The next number of a form of `struct`."""
        form_of = _FORMS[form]
        return form_of.unpack(self.take(form_of.size))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        rest = self.data[self.at : self.at + 1000]
        length = rest.index(b"\n")
        self.at += length + 1
        return rest[:length].decode("utf-8")

    def mark(self) -> None:
        """Begin a list of things."""
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """The things since the last mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def remember(self, place: int) -> None:
        """Put what is on top into the memo."""
        value = self.stack[-1]
        if isinstance(value, _Unbuilt):
            value.places.append(place)
        self.memo[place] = value

    def name(self, module: Any, name: Any) -> None:
        """Put what a name stands for onto the stack."""
        full = f"{text_of(module)}.{text_of(name)}"
        need(full in self.known, f"names {full[:SHOWN]!r}, which is no part of such a file")
        self.stack.append(self.known[full])

    def call(self) -> None:
        """Make what a name stands for of arguments."""
        arguments, thing = self.stack.pop(), self.stack.pop()
        need(isinstance(thing, Known), "calls something that has no name")
        need(isinstance(arguments, tuple), "calls something without arguments")
        made = self.counted(thing.make(*arguments))
        self.stack.append(made if thing.build is None else _Unbuilt(known=thing, value=made))

    def build(self) -> None:
        """Give what was made its state; the memo then has what came of it."""
        state, made = self.stack.pop(), self.stack.pop()
        if isinstance(made, Shell):
            plain = isinstance(state, dict) and all(isinstance(key, str) for key in state)
            need(plain and not made.attributes, f"gives a {made.name} no plain attributes")
            made.attributes = state
            self.stack.append(made)
            return
        if not isinstance(made, _Unbuilt) or made.known.build is None:
            raise RefusedError("it changes the attributes of something that has none")
        built = self.counted(made.known.build(made.value, state))
        for place in made.places:
            self.memo[place] = built
        self.stack.append(built)

    def counted(self, value: Any) -> Any:
        """The value, if no bytes of the pickle were used twice for it: bombs are made so."""
        if isinstance(value, np.ndarray | frozenset | bytes):
            self.copied += value.nbytes if isinstance(value, np.ndarray) else len(value)
        need(self.copied <= len(self.data), "makes many things of the same bytes")
        return value

    def top(self, kind: type) -> Any:
        """What is on top, which must be of that kind."""
        value = self.stack[-1]
        if type(value) is not kind:
            raise RefusedError(f"it puts things into something that is no {kind.__name__}")
        return value

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        self.top(dict).update(zip(map(key_of, items[::2]), items[1::2], strict=True))

    def pair(self) -> None:
        """Put one key and value into the dictionary below them."""
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append(self) -> None:
        """Put one thing into the list below it."""
        value = self.stack.pop()
        self.top(list).append(value)

    def tuple_of(self, number: int) -> None:
        """Take so many things into a tuple."""
        need(len(self.stack) >= number, "is damaged, or no pickle")
        things = tuple(self.stack[len(self.stack) - number :])
        del self.stack[len(self.stack) - number :]
        self.stack.append(things)


def _push(read: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        value = read(machine)  # which may end a list and so change the stack
        machine.stack.append(value)

    return step


def _sized(form: str, encoding: str | None) -> Callable[[_Machine], None]:
    """Bytes after their number, or the text that they are."""

    def read(machine: _Machine) -> bytes | str:
        data = machine.take(machine.number(form))
        return data if encoding is None else data.decode(encoding, "surrogatepass")

    return _push(read)


def _whole(form: str) -> Callable[[_Machine], None]:
    """A whole number of any size."""
    return _push(lambda m: int.from_bytes(m.take(m.number(form)), "little", signed=True))


def _placed(form: str) -> tuple[Callable[[_Machine], None], Callable[[_Machine], None]]:
    """To the memo, and from it."""
    return (
        lambda m: m.remember(m.number(form)),
        _push(lambda m: m.memo[m.number(form)]),
    )


def _stack_name(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


_STEPS: Mapping[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # the protocol
    b"\x95": lambda m: m.take(8),  # a frame
    b"(": _Machine.mark,
    b"0": lambda m: m.stack.pop(),
    b"1": _Machine.since_mark,
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"J": _push(lambda m: m.number("<i")),
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"G": _push(lambda m: m.number(">d")),
    b"\x8a": _whole("<B"),
    b"\x8b": _whole("<i"),
    b"T": _sized("<i", "latin-1"),
    b"U": _sized("<B", "latin-1"),
    b"X": _sized("<I", "utf-8"),
    b"\x8c": _sized("<B", "utf-8"),
    b"\x8d": _sized("<Q", "utf-8"),
    b"B": _sized("<I", None),
    b"C": _sized("<B", None),
    b"\x8e": _sized("<Q", None),
    b")": _push(lambda m: ()),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"]": _push(lambda m: []),
    b"l": _push(_Machine.since_mark),
    b"a": _Machine.append,
    b"e": lambda m: _appended(m, m.since_mark()),
    b"}": _push(lambda m: {}),
    b"s": _Machine.pair,
    b"u": lambda m: m.set_items(m.since_mark()),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": _stack_name,
    b"R": _Machine.call,
    b"\x81": _Machine.call,
    b"b": _Machine.build,
    b"q": _placed("<B")[0],
    b"h": _placed("<B")[1],
    b"r": _placed("<I")[0],
    b"j": _placed("<I")[1],
    b"\x94": lambda m: m.remember(len(m.memo)),
}
"""What each opcode of the harmless part does."""


def _appended(machine: _Machine, things: list[Any]) -> None:
    machine.top(list).extend(things)


_FORBIDDEN: Mapping[bytes, str] = {
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), "asks for an extension of copyreg's"),
    **dict.fromkeys((b"P", b"Q"), "asks for an object that is kept outside it"),
    **dict.fromkeys((b"i", b"o", b"\x92"), "makes objects in a way that data do not need"),
    **dict.fromkeys((b"\x96", b"\x97", b"\x98"), "has bytes that can change"),
    **dict.fromkeys((b"I", b"L", b"F", b"S", b"V", b"p", b"g"), "is of pickle's text protocol"),
}
"""Why an opcode is refused; the others are none."""
