"""Measures a run from outside: methods that a step calls are replaced, on their objects, by measured ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mdpo_core.profiling.stopwatch import Stopwatch
from mdpo_core.scoring.reference import Reference
from mdpo_core.training.learner import Learner
from mdpo_core.training.speed.arithmetic import Arithmetic
from mdpo_core.training.speed.throughput import Clock
from mdpo_core.types.batch import Batch

WAITING, REFERENCE, BACKWARD, UPDATE = "waiting for data", "reference", "backward", "update"
# Methods of a model.
_FORWARD = {
    "encode_images": "pictures",
    "packed_hidden_states": "language model forward",
    "hidden_states": "language model forward",
    "through_head": "head",
}
# A reference runs the same model, and backward may run layers again: what they call is theirs.
WHOLE = (REFERENCE, BACKWARD)


class Instruments:
    """Measures the phases of a learner's steps with ``watch``, and records one micro-batch with torch's profiler.

    ``again``: the operations that backward did again since it was set to 0, as far as they are known.
    """

    def __init__(self, learner: Learner, arithmetic: Arithmetic | None, watch: Stopwatch) -> None:
        self.watch = watch
        self.again = 0.0
        self._arithmetic = arithmetic
        self._recorder: profile | None = None
        self._records = False
        for name, phase in _FORWARD.items():
            self._measure(learner.model, name, phase)
        self._measure(learner.engine, "backward", BACKWARD)
        self._measure(learner.engine, "step", UPDATE)
        _replace(learner.engine, "forward", self._forward)
        _replace(learner.engine, "step", self._step)

    def measure_reference(self, reference: Reference) -> None:
        """Measure a reference, too."""
        self._measure(reference, "output", REFERENCE)

    def clock(self, matrix_rate: float) -> Clock:
        """A clock whose waiting is a phase. ``matrix_rate``: FLOP/s of the device."""
        clock = Clock(matrix_rate)
        _replace(clock, "waiting", self._waiting)
        return clock

    @contextmanager
    def recording(self) -> Iterator[profile]:
        """Record the last micro-batch of the step that runs inside, with its update."""
        # Otherwise torch's profiler writes its stages to standard error.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        self._recorder, self._records = profile(activities=activities), True
        yield self._recorder
        self._records = False

    def _measure(self, of: Any, name: str, phase: str) -> None:
        def measured(plain: Callable[..., Any], *args: Any, **options: Any) -> Any:
            with self.watch.phase(phase):
                return plain(*args, **options)

        _replace(of, name, measured)

    def _forward(self, plain: Callable[..., Any], batch: Batch, *, last: bool = True) -> Any:
        if self._records and last and self._recorder is not None:
            self._recorder.start()
        if self._arithmetic is not None:
            self.again += self._arithmetic.flops(batch).again
        return plain(batch, last=last)

    def _step(self, plain: Callable[..., float], learning_rate: float) -> float:
        norm = plain(learning_rate)
        if self._records and self._recorder is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._recorder.stop()
        return norm

    @contextmanager
    def _waiting(self, plain: Callable[..., Any]) -> Iterator[None]:
        with self.watch.phase(WAITING), plain():
            yield


def _replace(of: Any, name: str, by: Callable[..., Any]) -> None:
    """Let ``by(plain, ...)`` stand for a method of one object, where ``plain`` is that method."""
    plain = getattr(of, name)
    vars(of)[name] = lambda *args, **options: by(plain, *args, **options)
