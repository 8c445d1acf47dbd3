"""Numbers from what torch's profiler recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mdpo_core.profiling.report import Operator, communication_of, operators_of


def span(name: str, start: float, end: float) -> Any:
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=end))


def recorded(*events: Any, averages: Any = ()) -> Any:
    return SimpleNamespace(events=lambda: list(events), key_averages=lambda: list(averages))


def test_exchanges_at_the_same_time_count_once() -> None:
    spans = [
        span("nccl:all_reduce", 5e6, 7e6),
        span("gloo:all_gather", 0, 2e6),
        span("c10d::allreduce_", 1e6, 3e6),
        span("gloo:all_gather", 0.5e6, 1e6),
        span("aten::mm", 3e6, 5e6),
    ]
    assert communication_of(recorded(*spans)) == 3 + 2


def test_without_exchanges_there_is_no_communication() -> None:
    assert communication_of(recorded(span("aten::mm", 0, 1))) == 0


def average(key: str, device: str, on_cpu: float, on_device: float) -> Any:
    kind = SimpleNamespace(name=device)
    return SimpleNamespace(
        key=key, device_type=kind, self_cpu_time_total=on_cpu, self_device_time_total=on_device, count=2
    )


def test_a_kernel_counts_for_its_operator_alone() -> None:
    averages = [
        average("aten::add", "CPU", 9e6, 1e6),
        average("aten::mm", "CPU", 1e6, 4e6),
        average("sm90_gemm", "CUDA", 0, 4e6),
        average("mdpo: head", "CPU", 5e6, 0),
    ]
    assert operators_of(recorded(averages=averages)) == [Operator("aten::mm", 4.0, 2), Operator("aten::add", 1.0, 2)]


def test_on_a_cpu_operators_have_the_time_of_the_cpu() -> None:
    averages = [average("aten::add", "CPU", 1e6, 0), average("aten::mm", "CPU", 3e6, 0)]
    assert [each.seconds for each in operators_of(recorded(averages=averages))] == [3.0, 1.0]
