"""Models that count the positions of a whole batch otherwise when one row is long (RoPE: dynamic, longrope)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from mdpo_core import EncodedPrompt, current_world
from mdpo_vlm.files.config import ropes


def steady_positions(config: PreTrainedConfig) -> int | None:
    """The tokens up to which a sequence has the same positions in every batch; None: no length changes them."""
    text = config.get_text_config()
    before = getattr(text, "max_position_embeddings", None)
    limits = [
        before if rope["rope_type"] == "dynamic" else rope.get("original_max_position_embeddings", before)
        for rope in ropes(text)
        if rope.get("rope_type") in ("dynamic", "longrope")
    ]
    return min((limit for limit in limits if isinstance(limit, int)), default=None)


def batches_of_steady_positions(
    config: PreTrainedConfig, prompts: Sequence[EncodedPrompt], num_new: int
) -> list[Sequence[EncodedPrompt]]:
    """All prompts as one batch; each as its own if one of them may become so long that it changes the others.

    ``num_new``: the most tokens that are written after a prompt. All processes get as many batches as the one with
    the most prompts; the others repeat their last prompt.
    """
    steady = steady_positions(config)
    if steady is None:
        return [prompts]
    longest = current_world().max_over_processes(max(len(prompt.token_ids) for prompt in prompts))
    if longest + num_new <= steady:
        return [prompts]
    last = len(prompts) - 1
    return [[prompts[min(number, last)]] for number in range(current_world().max_over_processes(len(prompts)))]


def becomes_long(config: PreTrainedConfig, prompts: Sequence[EncodedPrompt], num_new: int) -> bool:
    """Whether an answer may reach positions that change those before it.

    What a cache holds of these is wrong then; Phi-4's forgets the whole prompt.
    """
    steady = steady_positions(config)
    return steady is not None and any(
        len(prompt.token_ids) <= steady < len(prompt.token_ids) + num_new for prompt in prompts
    )


def forget_long_rows(base: PreTrainedModel) -> None:
    """Take back what a long row changed: with dynamic positions, transformers keeps it for the rows that follow."""
    if steady_positions(base.config) is None:
        return
    for module in base.modules():
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            kind = name.removesuffix("max_seq_len_cached")
            setattr(module, name, module.original_max_seq_len)
            with torch.no_grad():
                getattr(module, f"{kind}inv_freq").copy_(getattr(module, f"{kind}original_inv_freq"))
