"""The rate of a matrix product, measured before a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mdpo_core import component
from mdpo_core.training import matrix_rate
from mdpo_core.training.matrix_rate import matrix_rate_of


def test_the_rate_is_of_the_type_in_which_the_run_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[torch.dtype] = []
    product = torch.mm

    def watched(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        types.extend((left.dtype, right.dtype))
        return product(left[:2, :2], right[:2, :2])

    monkeypatch.setattr(torch, "mm", watched)
    for precision in ("fp32", "bf16_autocast"):
        assert matrix_rate_of(component("backend", "local", device="cpu", precision=precision), 0.0) > 0  # type: ignore[arg-type]
    assert set(types[: len(types) // 2]) == {torch.float32}
    assert set(types[len(types) // 2 :]) == {torch.bfloat16}


def test_random_numbers_of_a_run_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_rate, "_OTHER_SIZE", 16)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    matrix_rate.matrix_rate(torch.device("cpu"), torch.float32, 0.0)
    assert torch.get_rng_state().equal(before)


def test_the_rate_is_of_the_median_product_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_rate, "_OTHER_SIZE", 16)
    # The products take 50, 1, 4 and 2 seconds.
    times = iter([0, 50, 50, 51, 60, 64, 70, 72])
    monkeypatch.setattr(matrix_rate, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert matrix_rate.matrix_rate(torch.device("cpu"), torch.float32, 0.0) == 2 * 16**3 / 2
