"""The micro-batch of a run with the most tokens."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from mdpo_core.data.sampler import MicroBatch, Sampler
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.types.batch import Batch
from mdpo_core.types.packing import pack

_TRIED = 8  # micro-batches
_STEPS = 20_000  # later steps draw the same rows in other orders


def longest_batch(
    recipe: Recipe, lengths: Sequence[int], keys: Sequence[bytes], build: Callable[[MicroBatch], Batch]
) -> Batch:
    """The batch with the most tokens of those that the run's sampler will draw.

    ``lengths``: tokens of each row, each response once. They propose some micro-batches; ``build`` builds them, and
    the tokens under all views decide. ``keys`` of each row: see `Sampler`.
    """
    return max(map(build, _longest(recipe, lengths, keys)), key=lambda batch: num_tokens(recipe, batch))


def _longest(recipe: Recipe, lengths: Sequence[int], keys: Sequence[bytes]) -> list[MicroBatch]:
    """The longest micro-batches by ``lengths``."""
    train = recipe.train
    sampler = Sampler.of(train, lengths, keys)
    drawn = (
        micro_batch
        for step in range(min(sampler.num_steps, _STEPS))
        for micro_batch in sampler.micro_batches(step, train.micro_batch_size)
    )
    shares = recipe.shares_prefix()

    def length(micro_batch: MicroBatch) -> int:
        tokens = [lengths[row] for row in micro_batch.rows]
        return sum(tokens) if shares else len(tokens) * max(tokens)

    return heapq.nlargest(_TRIED, drawn, key=length)


def num_tokens(recipe: Recipe, batch: Batch) -> int:
    """The tokens that the language model computes for a batch."""
    items = [item for of_view in batch.items.values() for item in of_view]
    if recipe.shares_prefix():
        return pack(items, sdpa_attention).packed.token_ids.numel()
    return sum(len(item.prompt) + len(item.response) for item in items)
