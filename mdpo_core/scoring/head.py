"""Computes log-probs from the language-model head, with a limited number of logits in memory."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mdpo_core.interfaces.model import Head

# A chunk reads the whole head, in forward and in backward: on a GPU, more tokens must pay for that. In float32, with
# gradient and copy, 2**26 logits take 0.7 GB.
ON_CPU, ON_GPU = 2**23, 2**26


def logits_at_once(max_logits: int | Literal["auto"] | None, device_type: str) -> int | None:
    """The logits that may be in memory at once on a device, from `Scoring.max_logits`; None: no limit."""
    if max_logits != "auto":
        return max_logits
    return ON_CPU if device_type == "cpu" else ON_GPU


def token_log_probs(head: Head, hidden_states: Tensor, token_ids: Tensor, max_logits: int | None) -> Tensor:
    """Log-probs ``(tokens,)`` of ``token_ids (tokens,)`` as ``hidden_states (tokens, hidden)`` predict them.

    Computed at least in float32. Forward and backward hold at most ``max_logits`` logits at once, unless one token
    has more; None: no limit.
    """
    if max_logits is None:
        return log_probs(head(hidden_states), token_ids)
    size = chunk_size(head, hidden_states, max_logits)
    if not torch.is_grad_enabled():
        return torch.cat(_by_chunk(head, hidden_states, token_ids, size))
    if _trains(head, hidden_states):
        return torch.cat(
            [
                checkpoint(_log_probs_of, head, states, ids, use_reentrant=False)
                for states, ids in zip(torch.split(hidden_states, size), torch.split(token_ids, size), strict=True)
            ]
        )
    values: Tensor = _FrozenHead.apply(hidden_states, token_ids, head, size)  # type: ignore[no-untyped-call]  # torch's
    return values


def log_probs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log-probs ``(tokens,)`` of ``token_ids (tokens,)`` under ``logits (tokens, vocab)``, at least in float32."""
    return distributions(logits).gather(-1, token_ids[:, None]).squeeze(-1)


def distributions(logits: Tensor) -> Tensor:
    """Log-probs ``(tokens, vocab)``, at least in float32.

    One formula for all paths: equal logits give policy and reference equal bits.
    """
    return logits.log_softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def chunk_size(head: Head, hidden_states: Tensor, max_logits: int | None) -> int:
    """The number of tokens whose logits may be in memory at once."""
    if max_logits is None:
        return len(hidden_states)
    with torch.no_grad():
        vocab = head(hidden_states[:1]).shape[-1]
    return max(1, max_logits // vocab)


def _log_probs_of(head: Head, hidden_states: Tensor, token_ids: Tensor) -> Tensor:
    return log_probs(head(hidden_states), token_ids)


def _by_chunk(head: Head, hidden_states: Tensor, token_ids: Tensor, size: int) -> list[Tensor]:
    chunks = zip(torch.split(hidden_states, size), torch.split(token_ids, size), strict=True)
    return [_log_probs_of(head, states, ids) for states, ids in chunks]


def _trains(head: Head, hidden_states: Tensor) -> bool:
    """Whether parameters of the head train."""
    return head(hidden_states[:1].detach()).requires_grad


def _with_gradient(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """`log_probs`, and their gradient with respect to the logits, ``onehot(y) - p``.

    Works in place and in few passes, because logits are the largest tensor of a step.
    """
    all_log_probs = distributions(logits)
    values = all_log_probs.gather(-1, token_ids[:, None])
    gradient = all_log_probs.exp_().neg_()
    gradient.scatter_add_(-1, token_ids[:, None], torch.ones_like(values))
    return values.squeeze(-1), gradient.to(logits.dtype)


class _FrozenHead(torch.autograd.Function):
    """Log-probs whose gradient is computed in forward, chunk by chunk, so that backward needs no logits.

    For token ``y`` with hidden state ``h``, ``logits = head(h)`` and ``p = softmax(logits)``:

        log p_y              = logits_y - logsumexp(logits)
        d log p_y / d logits = onehot(y) - p
        d log p_y / d h      = J^T (onehot(y) - p),  J = d logits / d h

    Each token has its own hidden state, so backward only multiplies the last line by the incoming gradient of
    that token. A head that trains sums over tokens, so it would need that gradient here.
    """

    @staticmethod
    def forward(ctx: Any, hidden_states: Tensor, token_ids: Tensor, head: Head, size: int) -> Tensor:
        values: list[Tensor] = []
        hidden_gradients: list[Tensor] = []
        for states, ids in zip(torch.split(hidden_states, size), torch.split(token_ids, size), strict=True):
            leaf = states.detach().requires_grad_()
            with torch.enable_grad():
                logits = head(leaf)
            log_probs_of_chunk, logit_gradient = _with_gradient(logits.detach(), ids)
            hidden_gradients += torch.autograd.grad(logits, leaf, logit_gradient)
            values.append(log_probs_of_chunk)
        ctx.save_for_backward(torch.cat(hidden_gradients))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (hidden_gradients,) = ctx.saved_tensors
        return (gradients[0][:, None] * hidden_gradients).to(hidden_gradients.dtype), None, None, None
