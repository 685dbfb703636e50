"""Ctrl-C only where it is safe: a lock that is being taken when it comes stays taken for ever."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.25
"""How long a signal waits at most while processes work."""
Result = TypeVar("Result")


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


def results(
    pool: ProcessPoolExecutor, function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[int, Result]]:
    """What a function makes of many arguments in the pool's processes, as they finish.

    Args:
        pool: Is shut down in the end, however that comes.
        function: What to call.
        jobs: The arguments of each call.

    Yields:
        The number of the job, and its result.

    Raises:
        ChildProcessError: If a process dies.
    """
    with interrupts_between() as check:
        try:
            numbers = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
            waiting = set(numbers)
            while waiting:
                done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
                yield from ((numbers[task], task.result()) for task in done)
                check()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a worker process died, perhaps because memory ran out; run the same again to go "
                "on, with fewer workers if memory is short"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
