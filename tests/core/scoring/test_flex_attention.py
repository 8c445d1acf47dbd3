"""FlexAttention without a GPU: which types its kernel is given, its mask, and what happens if it does not compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.builders.tiny_batches import VIEWS, Drawn, build_batch
from support.builders.tiny_models import Tiny, build
from support.oracles.plain_attention import attend_as, right
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from mdpo_core import MdpoError, Packed
from mdpo_core.scoring import flex_attention as flex
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.hidden_states import packed_states
from mdpo_core.scoring.scorer import encode_images
from mdpo_core.types.layout import Attention

ROWS = [Drawn((0,), [5, 6], [7, 8, 9], [5, 9]), Drawn((1,), [5, 6], [7, 8], [9])]
BLOCKS = ("kv_num_blocks", "kv_indices", "q_num_blocks", "q_indices")


def row_of(lengths: tuple[tuple[int, ...], ...], dropped: tuple[Tensor | None, ...] = ()) -> Packed:
    ids = torch.zeros(1, sum(map(sum, lengths)), dtype=torch.long)
    return Packed(ids, ids, lengths, flex.flex_attention, dropped)


@st.composite
def rows(draw: st.DrawFn) -> Packed:
    """Rows of up to a few blocks; some prompts drop tokens."""
    sizes = st.one_of(st.integers(1, 9), st.integers(1, 300), st.sampled_from([127, 128, 129, 256]))
    lengths = draw(st.lists(st.lists(sizes, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dropped = tuple(
        torch.rand(prompt, generator=generator) < draw(st.sampled_from([0.05, 0.5, 1.0]))
        if draw(st.booleans())
        else None
        for prompt, *_ in lengths
    )
    return row_of(lengths, dropped)


@settings(max_examples=20, deadline=None)
@given(packed=rows())
@example(packed=row_of(((128, 128), (256, 3))))
@example(packed=row_of(((640, 130, 128),), (torch.arange(640) // 128 == 2,)))
def test_blocks_are_those_that_torch_finds_pair_by_pair(packed: Packed) -> None:
    found, time = flex.block_mask(packed), packed.token_ids.shape[1]
    expected = create_block_mask(found.mask_mod, None, None, time, time, device="cpu")
    assert found.seq_lengths == expected.seq_lengths
    assert found.BLOCK_SIZE == expected.BLOCK_SIZE
    for name in (*BLOCKS, *(f"full_{name}" for name in BLOCKS)):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        assert ours.equal(theirs), name


def forward(attention: Attention) -> Tensor:
    """Hidden states of a small model with float32 weights under bfloat16 autocast."""
    model = build(Tiny("grouped", "lora")).model
    batch = build_batch(ROWS, VIEWS, Tiny("grouped", "lora"))
    with torch.autocast("cpu", torch.bfloat16):
        return packed_states(model, batch, VIEWS, encode_images(model, batch), attention).hidden


def test_under_autocast_the_kernel_is_given_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """RoPE gives query and key in float32 beside a value in bfloat16; the kernel's backward refuses that."""
    given_types = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        given_types.append({query.dtype, key.dtype, value.dtype})
        return attend_as(right)(query, key, value, row, options["scale"])

    def attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
        nonlocal row
        row = packed
        return flex.flex_attention(query, key, value, packed, scale)

    row = row_of(((1,),))
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    hidden = forward(attention).detach()
    assert given_types == [{torch.bfloat16}] * 2
    assert float((hidden - forward(sdpa_attention).detach()).norm() / hidden.norm()) < 0.02


@pytest.fixture
def eager_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without its code generator, which would take a minute here."""
    compiler = torch.compile
    torch._dynamo.reset()
    flex._kernel.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiler(function, backend="eager", **options))
    yield
    torch._dynamo.reset()
    flex._kernel.cache_clear()


@pytest.mark.long
@pytest.mark.usefixtures("eager_compiler")
def test_too_many_compilations_are_an_error_not_a_slow_run() -> None:
    packed = row_of(((20, 5, 6),))

    def attend(heads: int, dtype: torch.dtype) -> None:
        states = torch.randn(1, heads, 31, 16, dtype=dtype)
        flex.flex_attention(states, states, states, packed)

    attend(2, torch.float32)
    with torch._dynamo.config.patch(recompile_limit=1), pytest.raises(MdpoError) as caught:
        attend(2, torch.bfloat16)
    assert str(caught.value).startswith("FlexAttention cannot be compiled here (")
    assert str(caught.value).endswith("); set scoring.attention: sdpa")
