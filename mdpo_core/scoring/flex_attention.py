"""FlexAttention over packed rows: one kernel for CUDA, compiled on first use, and the mask that it reads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.nn.attention import flex_attention as torch_flex

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.types.layout import Packed

_BLOCK = 128  # the kernel's tokens to a block, of queries and of keys


def flex_attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
    """The same as `sdpa_attention`, in one FlexAttention kernel for CUDA, which is compiled on first use."""
    # Under autocast, rotary embeddings leave query and key in float32. Autocast does not know this kernel, whose
    # backward refuses mixed types.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if "blocks" not in packed.masks:
        packed.masks["blocks"] = block_mask(packed)
    fewer_keys = query.shape[1] != key.shape[1]
    try:
        attended = _kernel()(query, key, value, block_mask=packed.masks["blocks"], scale=scale, enable_gqa=fewer_keys)
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        raise MdpoError(
            f"FlexAttention cannot be compiled here ({first_line(error)}); set scoring.attention: sdpa"
        ) from error
    return cast(Tensor, attended)


@lru_cache(maxsize=1)
def _kernel() -> Any:
    """The compiled kernel. Dynamic, because lengths change with each batch.

    Without compilation it would hold a number for every pair of tokens. After too many compilations torch would
    go on without, but not with ``fullgraph``: then it raises an error.
    """
    return torch.compile(torch_flex.flex_attention, dynamic=True, fullgraph=True)


def block_mask(packed: Packed) -> torch_flex.BlockMask:
    """FlexAttention's mask of a row, on the row's device.

    The blocks that it lists follow from the row's lengths. `create_block_mask` would try every pair of tokens.
    """
    seen = _seen_pairs(packed)
    full = seen == _BLOCK * _BLOCK
    partial_count, partial_indices = _listed((seen > 0) & ~full)
    full_count, full_indices = _listed(full)
    time = packed.token_ids.shape[1]
    mask = torch_flex.BlockMask.from_kv_blocks(
        partial_count,
        partial_indices,
        full_count,
        full_indices,
        BLOCK_SIZE=_BLOCK,
        mask_mod=_sees(packed),
        seq_lengths=(time, time),
    )
    return mask.to(packed.token_ids.device)


def _sees(packed: Packed) -> Any:
    """Whether a token of a row sees another, as FlexAttention asks it: by batch, head, query and key."""
    groups, branches = packed.groups, packed.branches
    # As keys, dropped tokens belong to no prompt. Rows without such tokens need no kernel of their own.
    groups_of_keys = groups.masked_fill(packed.dropped_on_cpu.to(groups.device), -1)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_branch = (branches[key] == 0) | (branches[key] == branches[query])
        return (groups[query] == groups_of_keys[key]) & same_branch & (query >= key)

    return sees


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of ``blocks`` (rows, columns) bool: how many are true, and the columns, the true ones first."""
    count = blocks.sum(1, dtype=torch.int32)
    indices = blocks.int().argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return count[None, None], indices[None, None]


def _seen_pairs(packed: Packed) -> Tensor:
    """For each block of queries and of keys, ``(blocks, blocks)``: the pairs in which the query sees the key.

    A token sees two stretches of keys: those of its prompt up to itself, and those of its branch up to itself.
    """
    prompts, branches = _stretches(packed)
    time = len(prompts)
    num_blocks = -(-time // _BLOCK)
    edges = torch.arange(num_blocks + 1).mul(_BLOCK).clamp(max=time)
    kept_before = torch.cat([torch.zeros(1, dtype=torch.long), (~packed.dropped_on_cpu).cumsum(0)])
    seen = torch.zeros(num_blocks * _BLOCK, num_blocks, dtype=torch.long)
    for stretch in (prompts, branches):
        inside = edges[None].clamp(stretch[:, :1], stretch[:, 1:])
        seen[:time] += kept_before[inside].diff(dim=1)
    return seen.view(num_blocks, _BLOCK, num_blocks).sum(1)


def _stretches(packed: Packed) -> tuple[Tensor, Tensor]:
    """The keys that each token may see, in its prompt and in its branch: begin and end, both ``(time, 2)``."""
    sizes, begins, ends = packed.sizes, [], []
    first = 0
    for prompt, *branches in packed.lengths:
        begins += [first] * (1 + len(branches))
        ends += [first + prompt] * (1 + len(branches))
        first += prompt + sum(branches)
    repeats = torch.tensor(sizes)
    place = torch.arange(sum(sizes))
    starts = (repeats.cumsum(0) - repeats).repeat_interleave(repeats)
    begin, end = (torch.tensor(each).repeat_interleave(repeats) for each in (begins, ends))
    # A prompt has no branch of its own: its second stretch is empty.
    in_branch = torch.where(starts == begin, place + 1, starts)
    return torch.stack([begin, torch.minimum(end, place + 1)], 1), torch.stack([in_branch, place + 1], 1)
