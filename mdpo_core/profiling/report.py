"""What a profile found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch.profiler import profile

from mdpo_core.profiling.stopwatch import MARK

_LIBRARIES = ("nccl", "gloo", "c10d::")  # what processes talk through


class Operator(NamedTuple):
    """An operator's own seconds in the recorded micro-batch, and how often it ran."""

    name: str
    seconds: float
    calls: int


@dataclass(frozen=True)
class Profile:
    """The numbers of some steps.

    ``seconds[phase]`` and ``peaks[phase]`` are of the main process: seconds a step, and GB at most. ``rates`` are those
    of `metrics.jsonl`, over all processes: tokens_per_second, and tflops and mfu if they are known.
    ``tflops_with_repeats`` adds what backward computes again. ``matrix_rate``: FLOP/s of a device. ``operators`` and
    ``communication``, its seconds, are of one micro-batch and its update. Communication may overlap with computing;
    None: there is one process.
    """

    num_steps: int
    num_pairs: int
    num_processes: int
    device: str
    arithmetic: str
    seconds: Mapping[str, float]
    peaks: Mapping[str, float]
    rates: Mapping[str, float]
    tflops_with_repeats: float | None
    matrix_rate: float
    operators: Sequence[Operator]
    communication: float | None

    @property
    def seconds_per_step(self) -> float:
        """Seconds of a step, all phases together."""
        return sum(self.seconds.values())


def operators_of(recorded: profile) -> list[Operator]:
    """All operators, the longest first: by their time on the device if one was recorded, else on the CPU."""
    # A kernel is an event of its own, too; its time also counts for the operator that started it.
    operators = [each for each in recorded.key_averages() if each.device_type.name == "CPU"]
    averages = [each for each in operators if not each.key.startswith(MARK)]
    on_device = any(each.self_device_time_total for each in averages)
    found = [
        Operator(each.key, (each.self_device_time_total if on_device else each.self_cpu_time_total) / 1e6, each.count)
        for each in averages
    ]
    return sorted(found, key=lambda each: each.seconds, reverse=True)


def communication_of(recorded: profile) -> float:
    """The seconds in which at least one exchange between processes was under way."""
    spans = sorted(
        (each.time_range.start, each.time_range.end)
        for each in recorded.events()  # type: ignore[no-untyped-call]  # torch's
        if any(library in each.name for library in _LIBRARIES)
    )
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6
