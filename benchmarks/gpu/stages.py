"""Stages by the clock: each that fits the time left runs, and what it finds is written at once."""

from __future__ import annotations

import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.speed.job import SHAPES, Shape

GB = 1e9
Result = TypeVar("Result")
_CPU_SECONDS = 5.0  # that a stage of a rehearsal must find left


class Skipped(Exception):
    """A stage cannot run here; the text says why."""


class Bench:
    """The device, the shape and the folder of the measurements, and the file of their lines.

    ``failed``: whether something did.
    """

    def __init__(self, device: str, shape: str, budget: float, folder: Path, lines: Path) -> None:
        self.device, self.shape_name, self.folder = device, shape, folder
        self._end = time.monotonic() + budget
        self._lines = lines
        self._stage = ""
        self.failed = False

    @property
    def shape(self) -> Shape:
        return SHAPES[self.shape_name]

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.cuda else torch.float32

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def note(self, **found: Any) -> None:
        """Write a line about the stage that runs. It is on the disk when this returns, whatever happens next."""
        line = json.dumps({"stage": self._stage, "device": self.device, "shape": self.shape_name, **found}, default=str)
        print(line, flush=True)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def run(self, stage: Stage) -> None:
        """Run a stage, unless its time is up. An error is noted, and the next stages go on."""
        self._stage = stage.name
        needed = stage.seconds if self.cuda else _CPU_SECONDS
        if self.left < needed:
            self.note(skipped=f"needs about {needed:.0f} s, and {max(self.left, 0):.0f} s are left")
            return
        started = time.monotonic()
        try:
            stage.function(self)
        except Skipped as reason:
            self.note(skipped=str(reason))
        except Exception as error:  # what fails is what is asked
            self.failed = True
            self.note(failed=_first_line(error), where=traceback.format_exc()[-1500:])
        self.clear()
        self.note(took=round(time.monotonic() - started, 1))

    def tried(self, function: Callable[[], dict[str, Any]], **what: Any) -> dict[str, Any]:
        """Note what ``function`` finds, or why it fails; the stage goes on. Returns what it finds."""
        found = self.attempted(function, **what)
        if found is None:
            return {}
        self.note(**what, **found)
        return found

    def attempted(self, function: Callable[[], Result], **what: Any) -> Result | None:
        """What ``function`` gives, without a line; None if it fails, and a line says why. The stage goes on."""
        self.clear()
        try:
            return function()
        except Exception as error:
            self.failed = True
            self.note(**what, failed=_first_line(error))
            return None

    def clear(self) -> None:
        """Free the memory that nobody holds, and reset torch's peaks."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, float]:
        """The most GB since `clear`, as the card counts them."""
        if not self.cuda:
            return {}
        return {
            "allocated_gb": torch.cuda.max_memory_allocated() / GB,
            "reserved_gb": torch.cuda.max_memory_reserved() / GB,
        }

    def timed(self, function: Callable[[], Any], times: int, warm: int = 1) -> float:
        """Seconds of a call, the median."""
        seconds = []
        for _ in range(warm + times):
            started = time.perf_counter()
            function()
            if self.cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[warm:])


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:400]


@dataclass(frozen=True)
class Stage:
    """``seconds``: what it needs on an H200, by estimate."""

    name: str
    seconds: float
    function: Callable[[Bench], None]


def chosen(stages: Sequence[Stage], names: str | None) -> list[Stage]:
    """The stages of these names, with commas between them; all without names. Raises `ValueError` for another name."""
    if names is None:
        return list(stages)
    known = {stage.name: stage for stage in stages}
    wrong = [name for name in names.split(",") if name not in known]
    if wrong:
        raise ValueError(f"no stage is called {', '.join(wrong)}; there are {', '.join(known)}")
    return [known[name] for name in names.split(",")]
