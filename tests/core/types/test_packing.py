"""Prompts and responses side by side: nothing lost, nothing twice, every position its own."""

from __future__ import annotations

from itertools import takewhile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples
from torch import Tensor

from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.types.batch import Item
from mdpo_core.types.packing import common_beginning, joined, pack

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda found: torch.tensor(found))
images = st.lists(st.integers(0, 2), max_size=2).map(tuple)
# So few tokens that prompts and responses are often equal, or one begins like another.
items = st.lists(st.builds(Item, ids, images, ids, ids), min_size=1, max_size=10)
# Responses to few prompts, all with one beginning, which may be one of them.
alike = st.builds(
    lambda prompts, begin, rests: [
        Item(prompts[number % len(prompts)], (), torch.tensor([*begin, *rest]), rest)
        for number, rest in enumerate(rests)
    ],
    st.lists(ids, min_size=1, max_size=2),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=6),
)
rows = st.one_of(items, alike)

Key = tuple[tuple[int, ...], tuple[int, ...]]


def key(item: Item) -> Key:
    return tuple(item.prompt.tolist()), item.image_indices


def responses_by_prompt(items: list[Item]) -> dict[Key, set[tuple[int, ...]]]:
    found: dict[Key, set[tuple[int, ...]]] = {}
    for item in items:
        found.setdefault(key(item), set()).add(tuple(item.response.tolist()))
    return found


def in_common(responses: set[tuple[int, ...]]) -> int:
    """Token by token: how many all begin with, but not all of any of them."""
    if len(responses) == 1:
        return 0
    return len(
        [*takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(each[:-1] for each in responses), strict=False))]
    )


@settings(max_examples=num_examples(60, 200), deadline=None)
@given(rows)
def test_packed_items_have_stated_places_and_own_positions(items: list[Item]) -> None:
    """Each item is where the packing says, at the positions of a sequence of its own."""
    packing = pack(items, sdpa_attention)
    packed, common = packing.packed, {each: in_common(found) for each, found in responses_by_prompt(items).items()}
    tokens, positions = packed.token_ids[0], packed.position_ids[0]
    for item, parts in zip(items, packing.spans, strict=True):
        prompt_end, *others = joined(packing.predicting, parts).tolist()
        assert joined(packing.predicted, parts).equal(item.response)
        prompt = list(range(prompt_end + 1 - len(item.prompt), prompt_end + 1))
        assert tokens[prompt].equal(item.prompt)
        # A response's last token predicts nothing.
        assert tokens[others].equal(item.response[:-1])
        assert positions[[*prompt, *others]].tolist() == list(range(len(item.prompt) + len(others)))
        assert len(set(packed.groups[[*prompt, *others]].tolist())) == 1
        shared, own = others[: common[key(item)]], others[common[key(item)] :]
        # One behind another: what is in common behind the prompt, the rest in a branch.
        assert shared == list(range(prompt_end + 1, prompt_end + 1 + len(shared)))
        assert own == list(range(own[0], own[0] + len(own))) if own else len(item.response) == len(shared) + 1
        assert not packed.branches[[*prompt, *shared]].any()
        assert len(set(packed.branches[own].tolist())) <= 1
        assert packed.branches[own].all()
        assert not packed.responses[prompt].any()
        assert packed.responses[others].all()
    assert packed.read.tolist() == sorted(set(packing.predicting.tolist()))
    # As many readers as items have the token, so that all tokens of all items are read.
    assert int(packed.readers.sum()) == sum(len(item.prompt) + len(item.response) for item in items)


@settings(max_examples=num_examples(60, 200), deadline=None)
@given(rows)
def test_each_distinct_prompt_response_and_common_beginning_is_there_once(items: list[Item]) -> None:
    packing, by_prompt = pack(items, sdpa_attention), responses_by_prompt(items)
    packed = packing.packed
    assert packed.token_ids.shape == packed.position_ids.shape
    tokens, start, found = packed.token_ids[0].tolist(), 0, []
    for (length, *branches), common in zip(packed.lengths, packed.common, strict=True):
        prompt, start = tokens[start : start + length], start + length
        responses = set()
        for branch in branches:
            assert branch > 0
            responses.add((*prompt[length - common :], *tokens[start : start + branch]))
            start += branch
        found.append((tuple(prompt[: length - common]), responses))
    assert found == [(prompt, responses) for (prompt, _), responses in by_prompt.items()]
    assert packed.common == tuple(map(in_common, by_prompt.values()))
    again = sum(in_common(responses) * (len(responses) - 1) for responses in by_prompt.values())
    answers = sum(len(response) for responses in by_prompt.values() for response in responses)
    assert packed.token_ids.numel() == start == sum(len(prompt) for prompt, _ in by_prompt) + answers - again
    # The first token that differs is predicted once for each response.
    assert len(packing.predicted) == len(packing.predicting) == answers - again
    assert int(packed.responses.sum()) == answers - again
    assert packing.image_indices == [number for _, numbers in by_prompt for number in numbers]


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(rows, st.integers(1, 40))
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
@given(rows)
def test_spans_are_equal_for_equal_items_only(items: list[Item]) -> None:
    spans = pack(items, sdpa_attention).spans
    for one, span in zip(items, spans, strict=True):
        for other, another in zip(items, spans, strict=True):
            alike = key(one) == key(other) and one.response.equal(other.response)
            assert (span == another) == alike


@pytest.mark.parametrize(
    ("responses", "number"),
    [
        ([[1, 2, 3]], 0),
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [4, 2, 3]], 0),
        # One is the beginning of the other: its last token stays.
        ([[1, 2, 3], [1, 2, 3, 4]], 2),
        ([[1], [1, 2]], 0),
        ([[1, 2, 3, 4], [1, 5, 3, 4]], 1),
        ([[1, 2, 3], [1, 2, 4], [1, 5, 6]], 1),
    ],
)
def test_something_is_left_of_every_response(responses: list[list[int]], number: int) -> None:
    assert common_beginning([torch.tensor(each) for each in responses]) == number


def test_dropped_tokens_of_a_prompt_are_none_of_what_follows() -> None:
    prompt, dropped = torch.tensor([1, 2]), torch.tensor([True, False])
    answers = [torch.tensor([3, 4, 5]), torch.tensor([3, 4, 6])]
    packed = pack([Item(prompt, (), each, each, dropped) for each in answers], sdpa_attention).packed
    assert packed.lengths == ((4, 1, 1),)
    found: list[Tensor | None] = list(packed.dropped)
    assert [None if each is None else each.tolist() for each in found] == [[True, False, False, False]]
