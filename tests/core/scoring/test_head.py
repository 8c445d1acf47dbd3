"""The head in chunks: the same numbers, and never more logits than asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mdpo_core.scoring.head import logits_at_once, token_log_probs

HIDDEN = 6


class Case(NamedTuple):
    head: nn.Linear
    states: Tensor
    token_ids: Tensor
    factors: Tensor


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A head with or without bias, frozen or not, and 1 to 23 tokens; every token counts otherwise in the gradient."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    vocab, tokens = draw(st.integers(2, 40)), draw(st.integers(1, 23))
    # Gradients are compared to the last bits but one; in float32 that would be a matter of the order of sums.
    head = nn.Linear(HIDDEN, vocab, bias=draw(st.booleans()), dtype=torch.float64)
    head.requires_grad_(draw(st.booleans()))
    states = torch.randn(tokens, HIDDEN, dtype=torch.float64, requires_grad=True)
    return Case(head, states, torch.randint(vocab, (tokens,)), torch.randn(tokens, dtype=torch.float64))


class Recorder:
    """A head that notes how many logits it makes at a time."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.sizes: list[int] = []

    def __call__(self, states: Tensor) -> Tensor:
        logits: Tensor = self.head(states)
        self.sizes.append(logits.numel())
        return logits


def by_hand(case: Case) -> tuple[Tensor, list[Tensor]]:
    """Log-probs and gradients by log-softmax over whole logits."""
    logits = case.head(case.states).log_softmax(-1)
    values = logits[torch.arange(len(case.token_ids)), case.token_ids]
    return values.detach(), gradients(case, values)


def gradients(case: Case, values: Tensor) -> list[Tensor]:
    trained = [case.states, *(value for value in case.head.parameters() if value.requires_grad)]
    return list(torch.autograd.grad((values * case.factors).sum(), trained))


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(case=cases(), max_logits=st.one_of(st.none(), st.integers(1, 2000)))
def test_values_and_gradients_are_those_of_whole_logits(case: Case, max_logits: int | None) -> None:
    values = token_log_probs(case.head, case.states, case.token_ids, max_logits)
    expected, wanted = by_hand(case)
    torch.testing.assert_close(values.detach(), expected, atol=1e-12, rtol=0)
    for ours, theirs in zip(gradients(case, values), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    with torch.no_grad():
        again = token_log_probs(case.head, case.states, case.token_ids, max_logits)
    assert not again.requires_grad
    torch.testing.assert_close(again, expected, atol=1e-12, rtol=0)


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(case=cases(), max_logits=st.integers(1, 2000))
def test_head_makes_no_more_logits_than_asked_or_one_token_needs(case: Case, max_logits: int) -> None:
    """No more logits are made at once than asked for, unless one token has more."""
    limit = max(max_logits, case.head.out_features)
    recorder = Recorder(case.head)
    values = token_log_probs(recorder, case.states, case.token_ids, max_logits)
    in_forward = len(recorder.sizes)
    gradients(case, values)
    trains = case.head.weight.requires_grad
    # A head that trains needs its logits in backward once more, a frozen one has made its gradient already.
    assert (len(recorder.sizes) > in_forward) == trains
    assert max(recorder.sizes) <= limit
    recorder.sizes.clear()
    with torch.no_grad():
        token_log_probs(recorder, case.states, case.token_ids, max_logits)
    assert max(recorder.sizes) <= limit


@dataclass(frozen=True, eq=False)
class Kept:
    """A tensor that backward holds."""

    value: Tensor


@pytest.mark.parametrize("trains", [True, False])
def test_no_logits_are_kept_for_backward(trains: bool) -> None:
    head = nn.Linear(HIDDEN, 1000)
    head.requires_grad_(trains)
    states, token_ids = torch.randn(20, HIDDEN, requires_grad=True), torch.randint(1000, (20,))

    def largest(max_logits: int | None) -> int:
        kept: list[ReferenceType[Kept]] = []

        def pack(value: Tensor) -> Kept:
            holder = Kept(value)
            kept.append(ref(holder))
            return holder

        with saved_tensors_hooks(pack, lambda holder: holder.value):
            values = token_log_probs(head, states, token_ids, max_logits)
        # What a gradient that is made in forward has saved for itself is gone by now.
        alive = [holder.value for holder in (each() for each in kept) if holder is not None]
        assert values.requires_grad
        weights = {value.untyped_storage().data_ptr() for value in head.parameters()}
        return max((value.numel() for value in alive if value.untyped_storage().data_ptr() not in weights), default=0)

    assert largest(None) == 20 * 1000
    assert largest(3000) <= 20 * HIDDEN


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
@pytest.mark.parametrize("trains", [True, False])
def test_log_probs_are_at_least_float32_and_gradients_keep_type(
    dtype: torch.dtype, expected: torch.dtype, trains: bool
) -> None:
    """Log-probs are float32 at least, and gradients have the type of the hidden states."""
    torch.manual_seed(0)
    head = nn.Linear(HIDDEN, 300, dtype=dtype).requires_grad_(trains)
    states, token_ids = torch.randn(7, HIDDEN, dtype=dtype, requires_grad=True), torch.randint(300, (7,))
    found: dict[int | None, Any] = {}
    for max_logits in (None, 700):
        values = token_log_probs(head, states, token_ids, max_logits)
        (gradient,) = torch.autograd.grad(values.sum(), states)
        assert (values.dtype, gradient.dtype) == (expected, dtype)
        found[max_logits] = values.detach(), gradient
    # The logits are the same, rounded once; all that follows is in float32.
    torch.testing.assert_close(found[700][0], found[None][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[700][1], found[None][1], atol=2 * torch.finfo(dtype).eps, rtol=1e-2)


def test_log_probs_far_from_0_stay_finite() -> None:
    head = nn.Linear(1, 3, bias=False).requires_grad_(False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4], [0.0], [-1e4]]))
    states = torch.ones(3, 1, requires_grad=True)
    values = token_log_probs(head, states, torch.tensor([0, 1, 2]), 3)
    (gradient,) = torch.autograd.grad(values.sum(), states)
    assert values.tolist() == [0.0, -1e4, -2e4]
    assert gradient.flatten().tolist() == [0.0, -1e4, -2e4]


def test_a_gpu_holds_more_logits_at_once() -> None:
    """A GPU would read a head of 1.2 GB twice for each 55 tokens of a vocabulary of 152,000."""
    assert logits_at_once("auto", "cpu") == 2**23
    assert logits_at_once("auto", "cuda") == logits_at_once("auto", "xpu") == 2**26
    assert logits_at_once(700, "cuda") == 700
    assert logits_at_once(None, "cuda") is None
