"""A padded view: each row as it is, and what is masked."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples
from torch import Tensor

from mdpo_core.types.layout import pad_view

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda found: torch.tensor(found))


@settings(max_examples=num_examples(40, 100), deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=5))
def test_a_padded_view_holds_each_row_and_masks_the_rest(rows: list[tuple[Tensor, Tensor]]) -> None:
    padded = pad_view([prompt for prompt, _ in rows], [response for _, response in rows])
    assert padded.token_ids.shape == (len(rows), max(len(prompt) + len(response) for prompt, response in rows))
    for row, (prompt, response) in enumerate(rows):
        assert padded.token_ids[row][padded.attention_mask[row].bool()].equal(torch.cat([prompt, response]))
        assert padded.token_ids[row][padded.response_mask[row]].equal(response)
        assert not padded.token_ids[row][~padded.attention_mask[row].bool()].any()
