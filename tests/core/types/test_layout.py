"""Prompts and responses side by side: nothing lost, nothing twice, every position its own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples
from torch import Tensor

from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.types.batch import Item
from mdpo_core.types.layout import pack, pad_view

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda found: torch.tensor(found))
images = st.lists(st.integers(0, 2), max_size=2).map(tuple)
# So few tokens that prompts and responses are often equal, or one begins like another.
items = st.lists(st.builds(Item, ids, images, ids, ids), min_size=1, max_size=10)


def key(item: Item) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(item.prompt.tolist()), item.image_indices


@settings(max_examples=num_examples(60, 200), deadline=None)
@given(items)
def test_packed_items_have_stated_places_and_own_positions(items: list[Item]) -> None:
    """Each item is where the packing says, at the positions of a sequence of its own."""
    packing = pack(items, sdpa_attention)
    tokens, positions = packing.packed.token_ids[0], packing.packed.position_ids[0]
    groups, branches = packing.packed.groups, packing.packed.branches
    for item, span in zip(items, packing.spans, strict=True):
        prompt_end, *others = packing.predicting[span].tolist()
        assert packing.predicted[span].equal(item.response)
        prompt = slice(prompt_end + 1 - len(item.prompt), prompt_end + 1)
        assert tokens[prompt].equal(item.prompt)
        # One behind another; a response's last token predicts nothing.
        assert others == list(range(others[0], others[0] + len(others))) if others else len(item.response) == 1
        assert tokens[others].equal(item.response[:-1])
        assert [*positions[prompt], *positions[others]] == list(range(len(item.prompt) + len(others)))
        assert len({*groups[prompt].tolist(), *groups[others].tolist()}) == 1
        assert not branches[prompt].any()
        assert len(set(branches[others].tolist())) <= 1
        assert branches[others].all()
    assert packing.packed.read.tolist() == sorted(set(packing.predicting.tolist()))
    # As many readers as items have the token, so that all tokens of all items are read.
    assert int(packing.packed.readers.sum()) == sum(len(item.prompt) + len(item.response) for item in items)


@settings(max_examples=num_examples(60, 200), deadline=None)
@given(items)
def test_each_distinct_prompt_and_response_to_it_is_there_once(items: list[Item]) -> None:
    packing = pack(items, sdpa_attention)
    prompts = {key(item): len(item.prompt) for item in items}
    responses = {(key(item), tuple(item.response.tolist())): len(item.response) for item in items}
    packed = packing.packed
    assert packed.token_ids.shape == packed.position_ids.shape
    tokens, positions, start, found = packed.token_ids[0], packed.position_ids[0], 0, []
    for length, *branches in packed.lengths:
        prompt = slice(start, start + length)
        start += length
        for branch in branches:
            response = slice(start, start + branch)
            start += branch
            assert [*positions[prompt], *positions[response]] == list(range(length + branch))
            assert len({*packed.groups[prompt].tolist(), *packed.groups[response].tolist()}) == 1
            assert len(set(packed.branches[response].tolist())) == 1
            assert packed.branches[response].all()
            found.append((tuple(tokens[prompt].tolist()), tuple(tokens[response].tolist())))
    assert sorted(found) == sorted((prompt, response) for (prompt, _), response in responses)
    assert packing.packed.token_ids.numel() == sum(prompts.values()) + sum(responses.values())
    assert [sizes[0] for sizes in packing.packed.lengths] == list(prompts.values())
    assert sum(len(sizes) - 1 for sizes in packing.packed.lengths) == len(responses)
    assert packing.image_indices == [number for _, numbers in prompts for number in numbers]


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(items, st.integers(1, 40))
def test_padding_is_a_prompt_of_its_own_behind_everything_else(items: list[Item], multiple: int) -> None:
    plain, padded = pack(items, sdpa_attention), pack(items, sdpa_attention, multiple)
    length, missing = plain.packed.token_ids.numel(), -plain.packed.token_ids.numel() % multiple
    assert padded.packed.token_ids.shape == padded.packed.position_ids.shape == (1, length + missing)
    assert padded.packed.token_ids[:, :length].equal(plain.packed.token_ids)
    assert padded.packed.position_ids[:, :length].equal(plain.packed.position_ids)
    assert padded.packed.lengths == plain.packed.lengths + ((missing,),) * (missing > 0)
    assert (padded.packed.token_ids[0, length:] == plain.packed.token_ids[0, -1]).all()
    assert padded.predicting.equal(plain.predicting)
    assert (padded.spans, padded.image_indices) == (plain.spans, plain.image_indices)


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(items)
def test_spans_are_equal_for_equal_items_only(items: list[Item]) -> None:
    spans = pack(items, sdpa_attention).spans
    for one, span in zip(items, spans, strict=True):
        for other, another in zip(items, spans, strict=True):
            alike = key(one) == key(other) and one.response.equal(other.response)
            assert (span == another) == alike


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=5))
def test_a_padded_view_holds_each_row_and_masks_the_rest(rows: list[tuple[Tensor, Tensor]]) -> None:
    padded = pad_view([prompt for prompt, _ in rows], [response for _, response in rows])
    assert padded.token_ids.shape == (len(rows), max(len(prompt) + len(response) for prompt, response in rows))
    for row, (prompt, response) in enumerate(rows):
        assert padded.token_ids[row][padded.attention_mask[row].bool()].equal(torch.cat([prompt, response]))
        assert padded.token_ids[row][padded.response_mask[row]].equal(response)
        assert not padded.token_ids[row][~padded.attention_mask[row].bool()].any()
