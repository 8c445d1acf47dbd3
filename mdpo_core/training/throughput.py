"""Throughput, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mdpo_core.processes.world import ALONE, World


class Clock:
    """Counts pairs, tokens and waiting between two readings."""

    def __init__(self) -> None:
        self._restart()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside this as waiting for data."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def count(self, pairs: int, tokens: int) -> None:
        """Add pairs and tokens that this process has trained on."""
        self._pairs += pairs
        self._tokens += tokens

    def read(self, world: World = ALONE) -> dict[str, float]:
        """Rates since the last reading, per second, summed over processes; the largest share of time spent waiting."""
        elapsed = time.perf_counter() - self._start
        mine = {
            "pairs_per_second": self._pairs / elapsed,
            "tokens_per_second": self._tokens / elapsed,
            "data_wait": self._waited / elapsed,
        }
        of_processes = world.gather(mine)
        rates = {name: sum(each[name] for each in of_processes) for name in mine}
        rates["data_wait"] = max(each["data_wait"] for each in of_processes)
        self._restart()
        return rates

    def _restart(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._pairs = self._tokens = 0
