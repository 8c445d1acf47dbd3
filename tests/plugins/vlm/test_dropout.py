"""LoRA's dropout: which numbers it drops, and a layer with it against the plain formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_vlm.parts import dropout as dropout_module
from mdpo_vlm.parts.dropout import draw_dropped, drop_, without
from mdpo_vlm.parts.lora_linear import _AddAdapter
from support.kept_bytes import kept_bytes
from torch import Tensor

FEW = st.sampled_from([0.01, 0.05, 0.125])
MANY = st.sampled_from([0.3, 0.5, 0.9])
sizes = st.lists(st.integers(0, 40), min_size=1, max_size=3).map(tuple)


def dropped_of(shape: tuple[int, ...], share: float, seed: int) -> Tensor:
    """1 where a number is dropped."""
    torch.manual_seed(seed)
    return 1 - without(torch.ones(shape), draw_dropped(torch.ones(shape), share, on_cpu=True))


@settings(max_examples=60, deadline=None)
@given(sizes, FEW | MANY, st.integers(0, 10**6))
def test_dropped_numbers_become_zero_and_the_others_stay(shape: tuple[int, ...], share: float, seed: int) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 1
    before = values.clone()
    mask = dropped_of(shape, share, seed)
    torch.manual_seed(seed)
    dropped = draw_dropped(values, share, on_cpu=True)
    assert dropped_of(shape, share, seed).equal(mask)  # a function of the seed alone
    assert without(values, dropped).equal(values * (1 - mask))
    assert values.equal(before)
    assert drop_(values, dropped).equal(before * (1 - mask))


@pytest.mark.parametrize("share", [*(pytest.param(each, marks=pytest.mark.long) for each in (0.01, 0.05)), 0.125, 0.3])
def test_each_number_is_dropped_by_itself_with_the_given_share(share: float) -> None:
    rounds, shape = 4000, (3, 7)
    masks = torch.stack([dropped_of(shape, share, seed).flatten() for seed in range(rounds)])
    error = 5 * math.sqrt(share * (1 - share) / rounds)
    assert (masks.mean(dim=0) - share).abs().max() < error  # at every place, so at the first and the last, too
    centred = masks - share
    together = (centred.T @ centred / rounds / (share * (1 - share))).fill_diagonal_(0)
    assert together.abs().max() < 6 / math.sqrt(rounds)  # no two places are correlated


def test_a_draw_that_was_too_short_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = dropout_module._next_places
    calls: list[int] = []

    def two_at_a_time(last: int, number: int, share: float) -> Tensor:
        calls.append(last)
        return drawn(last, 2, share)

    monkeypatch.setattr(dropout_module, "_next_places", two_at_a_time)
    places = draw_dropped(torch.ones(2000), 0.1, on_cpu=True)
    assert len(calls) > 50
    assert 150 < len(places) < 250
    assert (places[1:] > places[:-1]).all()
    assert places[-1] < 2000


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    share=FEW,
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_are_those_of_the_plain_formula(
    rows: int, share: float, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs, down, up = (
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in ((rows, 6), (3, 6), (5, 3))
    )
    base = torch.randn(rows, 5, generator=generator, dtype=dtype)
    kept = 1 - dropped_of((rows, 6), share, seed).to(dtype)
    truth = base + (inputs * kept / (1 - share)) @ down.T @ up.T * 1.7
    wanted = torch.autograd.grad((truth * base).sum(), (inputs, down, up))
    torch.manual_seed(seed)
    found = _AddAdapter.apply(base.clone(), inputs, down, up, 1.7, share, True)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, truth)
    got = torch.autograd.grad((found * base).sum(), (inputs, down, up))
    torch.testing.assert_close(got, wanted)


def test_few_dropped_numbers_take_four_bytes_each_and_many_a_bit_for_each_number() -> None:
    inputs, weights = torch.randn(500, 40, requires_grad=True), [torch.zeros(2, 40), torch.zeros(5, 2)]

    def kept(share: float, on_cpu: bool = True) -> int:
        torch.manual_seed(0)
        return kept_bytes(lambda x: _AddAdapter.apply(torch.zeros(500, 5), x, *weights, 1.0, share, on_cpu), inputs)  # type: ignore[no-untyped-call]

    plain, count = kept(0.0), inputs.numel()
    expected = 0.05 * count
    assert 4 * expected < kept(0.05) - plain <= 4 * (expected + 6 * math.sqrt(expected) + 2)
    assert kept(0.3) - plain == kept(0.05, on_cpu=False) - plain == count / 8
