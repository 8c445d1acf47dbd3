"""Time and memory of phases, which may lie within one another."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import record_function

REST = "the rest"
MARK = "mdpo: "  # before the name of a phase in a trace
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Stopwatch:
    """Measures phases on the clock of a device, so that the host does not wait for it between two of them.

    Time within a phase counts for the innermost one; but nothing counts apart within a phase of `whole`.
    """

    def __init__(self, device: torch.device, whole: tuple[str, ...]) -> None:
        self._device, self._whole = device, whole
        self._open = [REST]
        self.restart()

    def restart(self) -> None:
        """Forget what was measured."""
        self._spans: list[tuple[str, Any, Any]] = []
        self._peaks: dict[str, float] = defaultdict(float)
        self._last = self._now()
        self._has_peaks = _forget_peak(self._device)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside it counts for this phase."""
        if any(each in self._whole for each in self._open):
            yield
            return
        self.split()
        self._open.append(name)
        try:
            with record_function(f"{MARK}{name}"):
                yield
        finally:
            self.split()
            self._open.pop()

    def split(self) -> None:
        """Count the time since the last call for the phase that runs now."""
        now, peak = self._now(), _peak(self._device) if self._has_peaks else None
        self._spans.append((self._open[-1], self._last, now))
        self._last = now
        if peak is not None:
            self._peaks[self._open[-1]] = max(peak, self._peaks[self._open[-1]])
            _forget_peak(self._device)

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase until now, in the order in which they ran."""
        self.split()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        found: dict[str, float] = defaultdict(float)
        for name, begin, end in self._spans:
            found[name] += begin.elapsed_time(end) / 1e3 if self._device.type == "cuda" else end - begin
        return dict(found)

    def peaks(self) -> dict[str, float]:
        """The most GB (1e9 bytes) in each phase: of tensors on CUDA, of the process on a CPU with Linux.

        Empty elsewhere, and where Linux does not reset a peak: then no phase has a peak of its own.
        """
        return dict(self._peaks)

    def _now(self) -> Any:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's
            event.record()
            return event
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()


def _peak(device: torch.device) -> float | None:
    """The peak since `_forget_peak`, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if device.type != "cpu" or not _STATUS.is_file():
        return None
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM:")), None)


def _forget_peak(device: torch.device) -> bool:
    """Reset the peak to what is held now. False if this machine cannot do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if device.type != "cpu":
        return False
    try:
        _FORGET.write_text("5")
    except OSError:  # another system than Linux, or a container that keeps the file from us
        return False
    return True
