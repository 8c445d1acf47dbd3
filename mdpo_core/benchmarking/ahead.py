"""Computes items in order, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType


class Ahead:
    """Computes an item, and those that come after it: ``at_once`` at a time. A context manager.

    ``compute(number, stop)``: the item; it soon ends once ``stop`` is set, as when another one has failed.
    ``has_begun``: whether an item was asked for.
    """

    def __init__(self, compute: Callable[[int, Event], str], total: int, at_once: int) -> None:
        self._compute = compute
        self._total = total
        self._at_once = at_once
        self.stop = Event()
        self.has_begun = False
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")
        self._begun: dict[int, Future[str]] = {}

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop.set()
        self._pool.shutdown(cancel_futures=True)  # waits for those that were sent

    def __call__(self, number: int) -> str:
        """An item. Raises what ``compute`` raised for it."""
        self.has_begun = True
        for each in range(number, min(number + self._at_once, self._total)):
            if each not in self._begun:
                self._begun[each] = self._pool.submit(self._compute, each, self.stop)
        return self._begun.pop(number).result()
