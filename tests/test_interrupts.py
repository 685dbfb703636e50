"""Signals wait until the block asks for them."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from idhand.interrupts import interrupts_between


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
