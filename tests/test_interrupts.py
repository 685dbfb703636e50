"""Signals wait until the block asks for them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from idhand.interrupts import interrupts_between, results


@pytest.fixture(autouse=True)
def ctrl_c_as_in_a_terminal() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_where_it_is_asked_for() -> None:
    passed = []

    def work() -> None:
        with interrupts_between() as check:
            check()
            os.kill(os.getpid(), signal.SIGINT)
            passed.append("after the signal")
            check()
            passed.append("after the question")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert passed == ["after the signal"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_nobody_asked_for_comes_at_the_end() -> None:
    passed = []

    def work() -> None:
        with interrupts_between():
            os.kill(os.getpid(), signal.SIGINT)
            passed.append("whole")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert passed == ["whole"]


def test_an_error_of_the_block_goes_first() -> None:
    def work() -> None:
        with interrupts_between():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_without_a_handler_of_ours_keep_their_effect() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with interrupts_between():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_other_threads_are_left_alone() -> None:
    seen = []

    def work() -> None:
        with interrupts_between() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def twice(number: int) -> int:
    if number < 0:
        os._exit(1)
    return 2 * number


def test_results_come_with_their_numbers() -> None:
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    assert dict(results(pool, twice, [(k,) for k in range(5)])) == {k: 2 * k for k in range(5)}
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(twice, 1)


def test_a_process_that_dies_is_named() -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pytest.raises(ChildProcessError, match="a worker process died, perhaps because memory"):
        list(results(pool, twice, [(1,), (-1,)]))


def test_an_interrupt_ends_the_pool() -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    seen = []

    def work() -> None:
        for number, _ in results(pool, twice, [(k,) for k in range(5)]):
            seen.append(number)
            if len(seen) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen, "it came after a result"
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(twice, 1)
