"""Attention over packed rows against attention that is written out, and FlexAttention's mask against a plain one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.effort import num_examples
from support.oracles.plain_attention import attend_as, mask_of, right
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask, flex_attention

from mdpo_core import Packed
from mdpo_core.scoring.attention import auto_attention, sdpa_attention
from mdpo_core.scoring.flex_attention import block_mask

branches = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
lengths = st.lists(branches, min_size=1, max_size=4).map(tuple)
heads = st.sampled_from([(1, 1), (2, 2), (4, 2), (6, 1)])
scales = st.sampled_from([None, 0.3])


def row(lengths: Any) -> Packed:
    time = sum(map(sum, lengths))
    return Packed(
        torch.zeros(1, time, dtype=torch.long), torch.zeros(1, time, dtype=torch.long), lengths, auto_attention
    )


def states(packed: Packed, heads: tuple[int, int], seed: int, **kind: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, with fewer heads for the last two."""
    torch.manual_seed(seed)
    time = packed.token_ids.shape[1]
    query, key, value = (torch.randn(1, number, time, 16) for number in (heads[0], heads[1], heads[1]))
    return tuple(part.to(**kind).requires_grad_() for part in (query, key, value))  # type: ignore[return-value]


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(lengths=lengths, heads=heads, scale=scales, seed=st.integers(0, 10**6))
def test_packed_attention_is_softmax_over_visible_tokens(
    lengths: Any, heads: tuple[int, int], scale: float | None, seed: int
) -> None:
    packed = row(lengths)
    parts = states(packed, heads, seed, dtype=torch.float64)
    ours, plain = packed.attend(*parts, scale), attend_as(right)(*parts, packed, scale)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)
    factors = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * factors).sum(), parts),
        torch.autograd.grad((plain * factors).sum(), parts),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(lengths)
def test_the_mask_for_flex_attention_is_the_plain_one(lengths: Any) -> None:
    packed = row(lengths)
    time = packed.token_ids.shape[1]
    assert create_mask(block_mask(packed).mask_mod, 1, 1, time, time, device="cpu")[0, 0].equal(mask_of(lengths))


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(lengths=lengths, heads=heads, data=st.data())
def test_nothing_attends_to_dropped_tokens(lengths: Any, heads: tuple[int, int], data: st.DataObject) -> None:
    # A prompt's first token is seen, so that every token sees something.
    drawn = st.lists(st.booleans(), min_size=max(map(max, lengths)), max_size=max(map(max, lengths)))
    dropped = tuple(
        torch.tensor([False, *data.draw(drawn)][:prompt]) if data.draw(st.booleans()) else None
        for prompt, *_ in lengths
    )
    packed = replace(row(lengths), dropped=dropped)
    sees, begin = mask_of(lengths), 0
    for part, whole in zip(dropped, map(sum, lengths), strict=True):
        if part is not None:
            sees[:, begin : begin + len(part)] &= ~part
        begin += whole
    time = packed.token_ids.shape[1]
    assert create_mask(block_mask(packed).mask_mod, 1, 1, time, time, device="cpu")[0, 0].equal(sees)
    query, key, value = states(packed, heads, 0, dtype=torch.float64)
    groups = heads[0] // heads[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = (query @ key.transpose(2, 3) / 4).masked_fill(~sees, -torch.inf).softmax(-1)
    torch.testing.assert_close(packed.attend(query, key, value), weights @ value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("lengths", [((200, 60, 10), (5, 300), (130, 1, 1, 1)), ((128, 128), (256, 3)), ((1, 1),)])
def test_its_blocks_are_those_in_which_some_token_sees_another(lengths: Any) -> None:
    packed = row(lengths)
    found = block_mask(packed)
    size = found.BLOCK_SIZE[0]
    time = packed.token_ids.shape[1]
    number = -(-time // size)
    whole = torch.zeros(number * size, number * size, dtype=torch.bool)
    whole[:time, :time] = mask_of(lengths)
    blocks = whole.view(number, size, number, size).transpose(1, 2).flatten(2)
    assert found.to_dense()[0, 0].bool().equal(blocks.any(-1))
    # What is marked full is computed without the mask.
    full = torch.zeros(number, number, dtype=torch.bool)
    for query, count in enumerate(found.full_kv_num_blocks[0, 0].tolist()):
        full[query, found.full_kv_indices[0, 0, query, :count].long()] = True
    assert full.equal(blocks.all(-1))


@settings(max_examples=10, deadline=None)
@given(lengths=lengths, heads=heads, scale=scales)
@example(lengths=((200, 60, 10), (5, 300)), heads=(4, 2), scale=None)
def test_flex_attention_equals_sdpa_in_forward(lengths: Any, heads: tuple[int, int], scale: float | None) -> None:
    """Without its compiler and on a CPU, where it has no backward."""
    packed = row(lengths)
    parts = [part.detach() for part in states(packed, heads, 0)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        flex: Any = flex_attention(*parts, block_mask=block_mask(packed), scale=scale, enable_gqa=heads[0] != heads[1])
    torch.testing.assert_close(flex, sdpa_attention(*parts, packed, scale), atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-2), (torch.bfloat16, 5e-2)])
def test_gpu_attention_and_gradients_match_the_cpu(
    heads: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    for lengths in (((130, 40, 7), (3, 1)), ((600, 90, 100), (600, 100), (20, 5))):
        packed = row(lengths)
        parts = states(packed, heads, 0, dtype=torch.float64)
        expected = sdpa_attention(*parts, packed)
        there = [part.detach().to("cuda", dtype).requires_grad_() for part in parts]
        found = packed.to(torch.device("cuda")).attend(*there)
        torch.testing.assert_close(found.cpu().double(), expected, atol=tolerance, rtol=0)
        ours = torch.autograd.grad(found.double().square().sum(), there)
        for one, other in zip(ours, torch.autograd.grad(expected.square().sum(), parts), strict=True):
            gap = (one.cpu().double() - other).abs().max() / other.abs().max()
            assert float(gap) <= tolerance
