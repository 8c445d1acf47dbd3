"""The rate of a matrix product, measured before a run."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from mdpo_core import Backend, component
from mdpo_core.processes import devices
from mdpo_core.processes.world import World
from mdpo_core.training.speed import matrix_rate
from mdpo_core.training.speed.matrix_rate import matrix_rate_of


def backend(name: str, **options: Any) -> Backend:
    return cast(Backend, component("backend", name, **options))


@pytest.fixture(autouse=True)
def as_a_new_process() -> Iterator[None]:
    """No device is measured yet, and what a test measures is not kept for others."""
    matrix_rate._measured.cache_clear()
    yield
    matrix_rate._measured.cache_clear()


@pytest.mark.parametrize(
    ("name", "options", "device"),
    [("fsdp", {}, "cuda:1"), ("local", {"device": "cpu"}, "cpu")],
)
def test_the_rate_is_of_the_device_that_computes(
    name: str, options: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FSDP loads a model on the CPU, and computes elsewhere."""
    asked: list[torch.device] = []

    def watched(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
        asked.append(device)
        return 1.0

    monkeypatch.setattr(devices, "_accelerator", lambda: "cuda")
    monkeypatch.setattr(devices, "_num_devices", lambda: 2)
    monkeypatch.setattr(matrix_rate, "matrix_rate", watched)
    for function in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, function, lambda *device: None)
    matrix_rate_of(backend(name, **options), World(rank=1, size=2, local_rank=1, local_size=2), 0.0)
    assert asked == [torch.device(device)]


@pytest.mark.parametrize(("device", "size"), [("cpu", 1024), ("cuda", 8192), ("xpu", 8192)])
def test_fast_devices_multiply_large_matrices(device: str, size: int) -> None:
    assert matrix_rate.size_on(device) == size


def test_the_rate_is_of_the_type_in_which_the_run_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[torch.dtype] = []
    product = torch.mm

    def watched(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        types.extend((left.dtype, right.dtype))
        return product(left[:2, :2], right[:2, :2])

    monkeypatch.setattr(torch, "mm", watched)
    for precision in ("fp32", "bf16_autocast"):
        assert matrix_rate_of(backend("local", device="cpu", precision=precision), World(), 0.0) > 0
    assert set(types[: len(types) // 2]) == {torch.float32}
    assert set(types[len(types) // 2 :]) == {torch.bfloat16}


def test_random_numbers_of_a_run_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_rate, "_SIZE", 16)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    matrix_rate.matrix_rate(torch.device("cpu"), torch.float32, 0.0)
    assert torch.get_rng_state().equal(before)


def test_the_rate_is_of_the_median_product_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_rate, "_SIZE", 16)
    # The products take 50, 1, 4 and 2 seconds.
    times = iter([0, 50, 50, 51, 60, 64, 70, 72])
    monkeypatch.setattr(matrix_rate, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert matrix_rate.matrix_rate(torch.device("cpu"), torch.float32, 0.0) == 2 * 16**3 / 2


def test_a_process_measures_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([3.0, 4.0])
    monkeypatch.setattr(matrix_rate, "matrix_rate", lambda device, dtype, seconds: next(rates))
    run = backend("local", device="cpu", precision="fp32")
    assert [matrix_rate_of(run, World(), 0.1) for _ in range(3)] == [3.0] * 3
    assert matrix_rate_of(backend("local", device="cpu", precision="bf16_autocast"), World(), 0.1) == 4.0
