"""The micro-batch of a run with the most tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mdpo_core.data.sampler import MicroBatch, Sampler
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.types.batch import Batch
from mdpo_core.types.layout import pack


def longest_micro_batch(recipe: Recipe, lengths: Sequence[int]) -> MicroBatch:
    """The micro-batch with the most tokens of all that the run's sampler will draw. ``lengths``: tokens of each row."""
    train = recipe.train
    sampler = Sampler(lengths, train.batch_size, train.epochs, train.seed, train.length_window)
    drawn = (
        micro_batch
        for step in range(sampler.num_steps)
        for micro_batch in sampler.micro_batches(step, train.micro_batch_size)
    )
    shares = recipe.shares_prefix()

    def num_tokens(micro_batch: MicroBatch) -> int:
        tokens = [lengths[row] for row in micro_batch.rows]
        return sum(tokens) if shares else len(tokens) * max(tokens)

    return max(drawn, key=num_tokens)


def num_tokens(recipe: Recipe, batch: Batch) -> int:
    """The tokens that the language model computes for a batch."""
    items = [item for of_view in batch.items.values() for item in of_view]
    if recipe.shares_prefix():
        return pack(items, sdpa_attention).packed.token_ids.numel()
    return sum(len(item.prompt) + len(item.response) for item in items)
