"""Throughput, the rate of arithmetic, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mdpo_core.processes.world import ALONE, World

_TERA = 1e12


class Clock:
    """Counts pairs, tokens, operations and waiting between two readings.

    ``matrix_rate``: FLOP/s of this process's device, for the share of it that a run reaches; None: not known.
    """

    def __init__(self, matrix_rate: float | None = None) -> None:
        self._matrix_rate = matrix_rate
        self._restart()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside this as waiting for data."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def count(self, pairs: int, tokens: int, flops: float = 0) -> None:
        """Add pairs and tokens that this process has trained on, and the operations that they need (0: not known)."""
        self._pairs += pairs
        self._tokens += tokens
        self._flops += flops

    def read(self, world: World = ALONE) -> dict[str, float]:
        """Rates since the last reading, per second, summed over processes; the largest share of time spent waiting.

        ``tflops`` (1e12 operations a second) and ``mfu``, their share of what the devices are capable of, are there if
        they are known.
        """
        elapsed = time.perf_counter() - self._start
        mine = {
            "pairs_per_second": self._pairs / elapsed,
            "tokens_per_second": self._tokens / elapsed,
            "data_wait": self._waited / elapsed,
            "tflops": self._flops / elapsed / _TERA,
            "capable": (self._matrix_rate or 0) / _TERA,
        }
        of_processes = world.gather(mine)
        rates = {name: sum(each[name] for each in of_processes) for name in mine}
        rates["data_wait"] = max(each["data_wait"] for each in of_processes)
        capable = rates.pop("capable")
        if not rates["tflops"]:
            del rates["tflops"]
        elif capable:
            rates["mfu"] = rates["tflops"] / capable
        self._restart()
        return rates

    def _restart(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._pairs = self._tokens = 0
        self._flops = 0.0
