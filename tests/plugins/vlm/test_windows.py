"""Attention of packed rows with a sliding window, against each sequence alone, token by token."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mdpo_vlm.forward import attention
from mdpo_vlm.forward.windows import attend_in_window, reaches_beyond
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.oracles.plain_vlms import NATS, examples, gap
from torch import Tensor

from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.types.layout import Packed

HEADS, DIM = 4, 3
PROMPTS = st.lists(
    st.tuples(st.integers(1, 7), st.lists(st.integers(1, 5), max_size=3), st.integers(0, 3)), min_size=1, max_size=3
)


def packed_row(prompts: list[tuple[int, list[int], int]]) -> Packed:
    lengths = tuple((prompt, *branches) for prompt, branches, _ in prompts)
    dropped = tuple(torch.arange(prompt) < min(number, prompt - 1) for prompt, _, number in prompts)
    ids = torch.zeros(1, sum(map(sum, lengths)), dtype=torch.long)
    return Packed(ids, ids, lengths, sdpa_attention, dropped)


def alone(query: Tensor, key: Tensor, value: Tensor, hidden: list[bool], window: int) -> Tensor:
    """``(heads, time, dim)``: each token's weighted mean of what it sees, written out."""
    rows = []
    for place in range(query.shape[1]):
        seen = [
            other
            for other in range(max(0, place - window + 1), place + 1)
            if not hidden[other] or (other == place and hidden[place])
        ]
        weights = (query[:, place, None] * key[:, seen]).sum(-1).div(math.sqrt(DIM)).softmax(-1)
        rows.append((weights[..., None] * value[:, seen]).sum(1))
    return torch.stack(rows, dim=1)


@given(prompts=PROMPTS, window=st.integers(1, 8), seed=st.integers(0, 99))
def test_each_branch_sees_its_own_past_up_to_the_window(
    prompts: list[tuple[int, list[int], int]], window: int, seed: int
) -> None:
    packed, generator = packed_row(prompts), torch.Generator().manual_seed(seed)
    time = packed.token_ids.shape[1]
    query = torch.randn(1, HEADS, time, DIM, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(1, HEADS // 2, time, DIM, generator=generator, dtype=torch.float64) for _ in range(2))
    found = attend_in_window(query, key, value, packed, None, window)[0]
    many = [states[0].repeat_interleave(HEADS // states.shape[1], dim=0) for states in (query, key, value)]
    start = 0
    for number, (prompt, *branches) in enumerate(packed.lengths):
        of_prompt = list(range(start, start + prompt))
        start += prompt
        hidden = packed.dropped[number].tolist()  # type: ignore[union-attr]
        for length in branches or [0]:
            places = of_prompt + list(range(start, start + length))
            expected = alone(*(states[:, places] for states in many), hidden + [False] * length, window)
            kept = [place for place, is_hidden in enumerate(hidden + [False] * length) if not is_hidden]
            torch.testing.assert_close(found[:, [places[each] for each in kept]], expected[:, kept])
            start += length


@given(prompts=PROMPTS, seed=st.integers(0, 99))
def test_a_window_that_nothing_reaches_changes_nothing(prompts: list[tuple[int, list[int], int]], seed: int) -> None:
    packed, generator = packed_row(prompts), torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 1, HEADS, packed.token_ids.shape[1], DIM, generator=generator)
    longest = max(lengths[0] + max(lengths[1:], default=0) for lengths in packed.lengths)
    assert not reaches_beyond(packed, longest)
    assert reaches_beyond(packed, longest - 1)
    kept = ~packed.dropped_on_cpu
    found, expected = attend_in_window(query, key, value, packed, None, longest), packed.attend(query, key, value)
    torch.testing.assert_close(found[:, :, kept], expected[:, :, kept], atol=1e-5, rtol=1e-5)


@NIGHTLY
def test_a_model_whose_window_is_forgotten_would_be_noticed(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = build_vlm("lfm3_vl", tmp_path), examples("lfm3_vl", photographs)
    assert gap("lfm3_vl", folder, data, Scoring()) <= NATS
    monkeypatch.setattr(attention, "reaches_beyond", lambda *_: False)
    assert gap("lfm3_vl", folder, data, Scoring()) > 10 * NATS
