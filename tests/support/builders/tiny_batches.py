"""Hypothesis strategies for micro-batches of a tiny model: equal and different prompts, pictures and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from mdpo_core import Batch, EncodedPrompt, View
from mdpo_core.data.collation import collate
from mdpo_core.types.batch import EncodedRow
from support.builders.tiny_models import END, IMAGE_TOKEN, PATCH, Tiny

CONDITIONS = ("clean", "crop", "blank", "no_image")
VIEWS = tuple(View(response, condition) for response in ("chosen", "rejected") for condition in CONDITIONS)
BLANK = -1

token_ids = st.integers(IMAGE_TOKEN + 1, IMAGE_TOKEN + 6)
# So few words that prompts and responses are often equal.
texts = st.lists(token_ids, max_size=7)
beginnings = st.lists(token_ids, max_size=5)


class Drawn(NamedTuple):
    """A row: its pictures by number, and the texts around and after them."""

    pictures: tuple[int, ...]
    question: list[int]
    chosen: list[int]
    rejected: list[int]


# Answers of a row begin alike, and rows often have one prompt.
drawn_rows = st.lists(
    st.builds(
        lambda pictures, question, begin, chosen, rejected: Drawn(
            pictures, question, [*begin, *chosen], [*begin, *rejected]
        ),
        st.lists(st.integers(0, 2), max_size=2).map(tuple),
        st.lists(token_ids, min_size=1, max_size=4),
        beginnings,
        texts,
        texts,
    ),
    min_size=1,
    max_size=4,
)
some_views = st.lists(st.sampled_from(VIEWS), min_size=1, max_size=6, unique=True)


def build_batch(rows: list[Drawn], views: list[View] | tuple[View, ...], tiny: Tiny) -> Batch:
    """The rows under every condition of the views."""
    conditions = dict.fromkeys(view.condition for view in views)
    return collate([encode_row(number, row, conditions, tiny) for number, row in enumerate(rows)], views)


def encode_row(number: int, row: Drawn, conditions: Iterable[str], tiny: Tiny) -> EncodedRow:
    """One row under some conditions."""
    return EncodedRow(
        id=str(number),
        prompts={condition: _prompt(row, condition, tiny) for condition in conditions},
        responses={"chosen": torch.tensor([*row.chosen, END]), "rejected": torch.tensor([*row.rejected, END])},
        columns={},
        corruptible=bool(row.pictures),
    )


def _prompt(row: Drawn, condition: str, tiny: Tiny) -> EncodedPrompt:
    if condition == "no_image" or not row.pictures:
        return EncodedPrompt(torch.tensor([1, *row.question]))
    moved = {"clean": 0, "crop": 100}
    numbers = [BLANK if condition == "blank" else picture + moved[condition] for picture in row.pictures]
    marks = [IMAGE_TOKEN] * tiny.num_image_tokens
    # Some text before the first picture, and between two.
    ids = [1, *(token for _ in numbers for token in (*marks, row.question[0])), *row.question]
    return EncodedPrompt(torch.tensor(ids), tuple({"pixel_values": picture(each, tiny)} for each in numbers))


def picture(number: int, tiny: Tiny) -> Tensor:
    """Pixels ``(1, 3, side, side)`` of a picture, by its number."""
    shape = (1, 3, PATCH * tiny.side, PATCH * tiny.side)
    if number == BLANK:
        return torch.zeros(shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))
