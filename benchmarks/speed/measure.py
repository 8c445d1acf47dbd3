"""Time, memory and arithmetic of steps, and the arithmetic that the machine is capable of."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.speed.job import Job, Result

MATRIX = {"cpu": 2048, "cuda": 8192}


class Watch:
    """Measures the steps between `begin` and `end`: one to warm up, then the timed ones, then one to count.

    The numbers of terms of ``job`` take turns: ``terms`` is the number of the step that is next, or under way.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        timed = [num for _ in range(job.steps) for num in job.num_terms]
        self._plan = [*job.num_terms, *timed, *job.num_terms[: int(job.count_flops)]]
        self._first_timed, self._first_counted = len(job.num_terms), len(job.num_terms) + len(timed)
        self._seconds: dict[int, list[float]] = {num: [] for num in job.num_terms}
        self._counter: FlopCounterMode | None = None
        self._resident = self._peak = self._done = 0

    @property
    def num_steps(self) -> int:
        return len(self._plan)

    @property
    def terms(self) -> int:
        return self._plan[self._done]

    def begin(self) -> None:
        if self._done == 0:
            reset_peak(self._job.device)
            self._resident = resident(self._job.device)
        if self._done == self._first_counted:
            self._counter = flop_counter()
            self._counter.__enter__()  # type: ignore[no-untyped-call]  # torch's
        self._synchronize()
        self._started = time.perf_counter()

    def end(self) -> None:
        self._synchronize()
        elapsed = time.perf_counter() - self._started
        if self._first_timed <= self._done < self._first_counted:
            self._seconds[self.terms].append(elapsed)
        if self._done == self._first_counted - 1:
            self._peak = peak(self._job.device)
        if self._done == self._first_counted and self._counter is not None:
            self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._done += 1

    def result(self, **more: Any) -> Result:
        assert self._done == self.num_steps, (self._done, self.num_steps)
        flops = None if self._counter is None else self._counter.get_total_flops()
        return Result(seconds=self._seconds, resident=self._resident, peak=self._peak, flops=flops, **more)

    def _synchronize(self) -> None:
        if self._job.device == "cuda":
            torch.cuda.synchronize()


def resident(device: str) -> int:
    """Bytes that the process holds now: of the device, or of main memory."""
    return torch.cuda.memory_allocated() if device == "cuda" else _status("VmRSS")


def peak(device: str) -> int:
    """The most bytes held since `reset_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak(device: str) -> None:
    """Forget what loading the model took: its copies on the way would hide the peak of a small step."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def machine(device: str) -> str:
    """What runs the steps, with its threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, 'a CPU')}, {torch.get_num_threads()} threads"


def matrix_rate(device: str) -> float:
    """FLOP/s of the machine's own matrix product, fp32 on a CPU and bf16 on a GPU; the median of 15."""
    size = MATRIX[device]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(18):
        started = time.perf_counter()
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[3:])


def flop_counter() -> FlopCounterMode:
    """Counts what is executed: matrix products, convolutions, attention; a causal kernel does half of the scores.

    torch's own formulas leave out attention on a CPU, and count a causal kernel as if it did all of them. The scores
    that fused attention computes again in backward are counted; nothing else is computed again.
    """
    mapping: dict[Any, Callable[..., int]] = {}
    for kind in ("flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention"):
        forward = getattr(torch.ops.aten, f"_scaled_dot_product_{kind}")
        backward = getattr(torch.ops.aten, f"_scaled_dot_product_{kind}_backward")
        mapping[forward] = _attention_formula(forward, sdpa_flop_count, num_shapes=3)
        mapping[backward] = _attention_formula(backward, sdpa_backward_flop_count, num_shapes=4)
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    # Counts by module need hooks that fail on a view made without gradients of a tensor that has them.
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    return counter


class _NoModules(nullcontext[None]):
    parents = ("Global",)


def _attention_formula(operator: Any, formula: Callable[..., int], num_shapes: int) -> Callable[..., int]:
    place = [argument.name for argument in operator.default._schema.arguments].index("is_causal")

    def flops(*args: Any, **kwargs: Any) -> int:
        causal = args[place] if len(args) > place else kwargs.get("is_causal", False)
        return formula(*args[:num_shapes]) // (2 if causal else 1)

    return flops
