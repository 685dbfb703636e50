"""Ctrl-C only where it is safe: a lock that is being taken when it comes stays taken for ever."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_between() -> Iterator[Callable[[], None]]:
    """Let signals interrupt the block only where it asks for them.

    Processes share locks with their parent, and waiting for them takes more. A `KeyboardInterrupt`
    that falls between taking a lock and the `try` that gives it back leaves all others waiting, so
    that the end of the processes never comes.

    Signals that end the process at once still do, and outside of the main thread, which alone hears
    of signals, nothing changes.

    Yields:
        To be called at safe places: does what the signals would have done that came since.
    """
    came: list[int] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    def check() -> None:
        while came:
            number = came.pop(0)
            handlers[number](number, None)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, note)
    try:
        yield check
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    check()
