"""A limit on the time that a program inside a model's folder may compute: a chat template, a pattern."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN = 1.0  # seconds until the error is raised again, if a library caught it


class TimeLimitError(Exception):
    """Something in a model's folder computes longer than a sound model does."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` if the code inside computes longer than ``seconds`` of this process's own time.

    Interrupts Python code, regular expressions and large integers, but no library that computes outside of Python. A
    signal does it, which only the main thread can receive: in another thread there is no limit. An outer limit waits
    until the inner one has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _interrupt)
    outer = signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *outer)
        signal.signal(signal.SIGVTALRM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise TimeLimitError("it computes without an end in sight")
