"""Prompts and responses side by side: nothing lost, nothing twice, every position its own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdpo_core.attention import sdpa_attention
from mdpo_core.batch import Item
from mdpo_core.layout import pack, pad_view

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda found: torch.tensor(found))
images = st.lists(st.integers(0, 2), max_size=2).map(tuple)
# So few tokens that prompts and responses are often equal, or one begins like another.
items = st.lists(st.builds(Item, ids, images, ids, ids), min_size=1, max_size=10)


def key(item: Item) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(item.prompt.tolist()), item.image_indices


@settings(max_examples=200, deadline=None)
@given(items)
def test_each_item_is_where_the_packing_says_at_the_positions_of_a_sequence_of_its_own(items: list[Item]) -> None:
    packing = pack(items, sdpa_attention)
    tokens, positions = packing.packed.token_ids[0], packing.packed.position_ids[0]
    predicting = set()
    for item, (prompt_end, begin) in zip(items, packing.starts, strict=True):
        prompt = slice(prompt_end + 1 - len(item.prompt), prompt_end + 1)
        response = slice(begin, begin + len(item.response))
        assert tokens[prompt].equal(item.prompt)
        assert tokens[response].equal(item.response)
        assert [*positions[prompt], *positions[response]] == list(range(len(item.prompt) + len(item.response)))
        groups, branches = packing.packed.groups, packing.packed.branches
        assert len({*groups[prompt].tolist(), *groups[response].tolist()}) == 1
        assert not branches[prompt].any()
        assert len(set(branches[response].tolist())) == 1
        assert branches[begin] > 0
        predicting |= {prompt_end, *range(begin, begin + len(item.response) - 1)}
    assert packing.packed.read.tolist() == sorted(predicting)


@settings(max_examples=200, deadline=None)
@given(items)
def test_each_distinct_prompt_and_response_to_it_is_there_once(items: list[Item]) -> None:
    packing = pack(items, sdpa_attention)
    prompts = {key(item): len(item.prompt) for item in items}
    responses = {(key(item), tuple(item.response.tolist())): len(item.response) for item in items}
    assert packing.packed.token_ids.shape == packing.packed.position_ids.shape
    assert packing.packed.token_ids.numel() == sum(prompts.values()) + sum(responses.values())
    assert [sizes[0] for sizes in packing.packed.lengths] == list(prompts.values())
    assert sum(len(sizes) - 1 for sizes in packing.packed.lengths) == len(responses)
    assert packing.image_indices == [number for _, numbers in prompts for number in numbers]


@settings(max_examples=100, deadline=None)
@given(items)
def test_places_are_equal_for_equal_items_only(items: list[Item]) -> None:
    starts = pack(items, sdpa_attention).starts
    for one, place in zip(items, starts, strict=True):
        for other, elsewhere in zip(items, starts, strict=True):
            alike = key(one) == key(other) and one.response.equal(other.response)
            assert (place == elsewhere) == alike


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=5))
def test_a_padded_view_holds_each_row_and_masks_the_rest(rows: list[tuple[Tensor, Tensor]]) -> None:
    padded = pad_view([prompt for prompt, _ in rows], [response for _, response in rows])
    assert padded.token_ids.shape == (len(rows), max(len(prompt) + len(response) for prompt, response in rows))
    for row, (prompt, response) in enumerate(rows):
        assert padded.token_ids[row][padded.attention_mask[row].bool()].equal(torch.cat([prompt, response]))
        assert padded.token_ids[row][padded.response_mask[row]].equal(response)
        assert not padded.token_ids[row][~padded.attention_mask[row].bool()].any()
