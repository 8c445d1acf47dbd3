"""The pairs of a step: random words and pictures with exact token counts, the same for all contestants."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import PIL.Image

from benchmarks.speed.job import CROP, TERMS, Shape
from mdpo_core import Batch, Encoder, Example, Term, component
from mdpo_core.data.encoding import BatchBuilder

BEGIN, END = "<s>", "</s>"


def make_examples(shape: Shape, encoder: Encoder) -> list[Example]:
    """Pairs whose prompts and responses have exactly the tokens that the shape says, end token included."""
    words = _single_token_words(encoder)

    def text(seed: str, num_tokens: int) -> str:
        return "".join(random.Random(seed).choices(words, k=num_tokens))

    return [
        Example(
            str(row),
            "<image>" + text(f"prompt {row}", shape.prompt_tokens - 1),
            {name: text(f"{name} {row}", shape.response_tokens - 1) for name in ("chosen", "rejected")},
            (_picture(row, shape.image_size),),
        )
        for row in range(shape.num_pairs)
    ]


def make_batch(shape: Shape, encoder: Encoder) -> Batch:
    """The step's micro-batch, with one crop of each picture."""
    batch = make_builder(encoder).build(make_examples(shape, encoder), range(shape.num_pairs), epoch=0)
    for item in (item for items in batch.items.values() for item in items):
        assert len(item.prompt) == shape.image_tokens + shape.prompt_tokens, len(item.prompt)
        assert len(item.response) == shape.response_tokens, len(item.response)
    return batch


def make_builder(encoder: Encoder) -> BatchBuilder:
    crop: Any = component("corruption", "random_crop", **CROP)
    return BatchBuilder.for_terms(make_terms(len(TERMS)), {"crop": crop}, encoder, 2048, seed=0)


def make_terms(num_terms: int) -> list[Term]:
    terms: Any = [component(kind, name, **options) for kind, name, options in TERMS[:num_terms]]
    return list(terms)


def make_encoder(folder: Path) -> Encoder:
    encoder: Encoder = component("adapter", "llava", path=str(folder)).encoder()  # type: ignore[attr-defined]
    return encoder


def _single_token_words(encoder: Encoder) -> list[str]:
    tokenizer = encoder.processor.tokenizer  # type: ignore[attr-defined]
    words = [f" {piece[1:]}" for piece in sorted(tokenizer.get_vocab()) if piece[0] == "Ġ" and piece[1:].isalpha()]
    found = [word for word in words if len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1]
    assert len(found) > 10, found
    return found


def _picture(row: int, size: int) -> PIL.Image.Image:
    return PIL.Image.frombytes("RGB", (size, size), random.Random(row).randbytes(3 * size * size))
