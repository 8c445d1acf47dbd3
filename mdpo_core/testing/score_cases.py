"""Variants of drawn scores, and scores that random draws would hardly contain."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mdpo_core.types.scores import ResponseTokens, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor

_MANY_TOKENS = 1000
_MOST_SIDES = 12  # of views, each under policy and reference, whose combinations are all tried


def moved(scores: Scores, nats: dict[View, float]) -> Scores:
    """The scores with the policy's log-probs of each view raised by ``nats``, spread equally over its tokens."""
    policy = {}
    for view, (values, mask) in scores.policy_tokens.items():
        each = nats.get(view, 0.0) / mask.sum(dim=1, keepdim=True).to(values.dtype)
        policy[view] = TokenLogProbs(values + mask * each, mask)
    return Scores.from_tokens(
        ScorerOutput(policy, dict(scores.reference_tokens)), scores.corruptible, scores.columns, scores.responses
    )


def row(scores: Scores, row: int) -> Scores:
    """One pair as a batch of one, without padding."""

    def cut(tokens: TokenLogProbs) -> TokenLogProbs:
        length = int(tokens.mask[row].sum())
        return TokenLogProbs(tokens.values[row : row + 1, :length], tokens.mask[row : row + 1, :length])

    parts = [
        {view: cut(tokens) for view, tokens in side.items()} for side in (scores.policy_tokens, scores.reference_tokens)
    ]
    columns = {name: values[row : row + 1] for name, values in scores.columns.items()}
    responses = {
        view: ResponseTokens(*(part[row : row + 1, : parts[0][view].mask.shape[1]] for part in tokens))
        for view, tokens in scores.responses.items()
    }
    return Scores.from_tokens(ScorerOutput(parts[0], parts[1]), scores.corruptible[row : row + 1], columns, responses)


def backwards(scores: Scores) -> Scores:
    """The same pairs in reverse order."""
    parts = [
        {view: TokenLogProbs(tokens.values.flip(0), tokens.mask.flip(0)) for view, tokens in side.items()}
        for side in (scores.policy_tokens, scores.reference_tokens)
    ]
    columns = {name: values.flip(0) for name, values in scores.columns.items()}
    responses = {view: ResponseTokens(*(part.flip(0) for part in tokens)) for view, tokens in scores.responses.items()}
    return Scores.from_tokens(ScorerOutput(parts[0], parts[1]), scores.corruptible.flip(0), columns, responses)


def renamed(scores: Scores, names: dict[View, View]) -> Scores:
    """The scores with their views renamed."""
    sides = [
        {names.get(view, view): tokens for view, tokens in side.items()}
        for side in (scores.policy_tokens, scores.reference_tokens)
    ]
    responses = {names.get(view, view): tokens for view, tokens in scores.responses.items()}
    return Scores.from_tokens(ScorerOutput(sides[0], sides[1]), scores.corruptible, scores.columns, responses)


def level(views: Iterable[View], columns: dict[str, float]) -> Scores:
    """One pair in float64: each view has four tokens and -100 nats, under both policy and reference."""
    import torch

    tokens = TokenLogProbs(torch.full((1, 4), -25.0, dtype=torch.float64), torch.ones(1, 4, dtype=torch.bool))
    sums = dict.fromkeys(views, tokens)
    values = {name: torch.tensor([value], dtype=torch.float64) for name, value in columns.items()}
    return Scores.from_tokens(ScorerOutput(sums, dict(sums)), torch.ones(1, dtype=torch.bool), values)


def far_apart(views: Iterable[View], nats: float, columns: dict[str, float]) -> Scores:
    """Long answers in float32: a pair for each combination of likely and unlikely views under policy and reference.

    All answers have the same tokens, each token once. Of more than six views, all pairs would not fit into the
    memory, so a fixed seed draws some of them.
    """
    import torch

    views = list(views)
    sums = torch.tensor([[-1.0 - nats * bit for bit in bits] for bits in _combinations(2 * len(views))])
    mask = torch.ones(len(sums), _MANY_TOKENS, dtype=torch.bool)
    tokens = [TokenLogProbs(part[:, None].expand(mask.shape) / _MANY_TOKENS, mask) for part in sums.T]
    policy, reference = tokens[: len(views)], tokens[len(views) :]
    responses = ResponseTokens(torch.arange(_MANY_TOKENS).expand(mask.shape), mask.long())
    return Scores.from_tokens(
        ScorerOutput(dict(zip(views, policy, strict=True)), dict(zip(views, reference, strict=True))),
        mask[:, 0],
        {name: torch.full((len(sums),), value) for name, value in columns.items()},
        dict.fromkeys(views, responses),
    )


def _combinations(length: int) -> Iterable[Sequence[int]]:
    """All sequences of ``length`` zeros and ones; if they are too many for the memory, a part of them."""
    if length <= _MOST_SIDES:
        return itertools.product((0, 1), repeat=length)
    numbers = random.Random(length).sample(range(1, 2**length - 1), 2**_MOST_SIDES - 2)
    return [[number >> place & 1 for place in range(length)] for number in (0, 2**length - 1, *numbers)]


def flat(scores: Scores, copy: bool = True) -> list[Tensor]:
    """Every tensor of the scores."""
    sides = (scores.policy, scores.reference, scores.num_tokens, scores.columns)
    tensors = [value for side in sides for value in side.values()]
    tokens = [
        part for side in (scores.policy_tokens, scores.reference_tokens) for pair in side.values() for part in pair
    ]
    return [tensor.clone() if copy else tensor for tensor in (*tensors, *tokens, scores.corruptible)]


def case(scores: Scores) -> str:
    """The sums of a case as text that can be typed in again."""
    sides = [("policy", scores.policy), ("reference", scores.reference)]
    parts = [f"{side} {view} {_rounded(values)}" for side, sums in sides for view, values in sums.items()]
    return ", ".join(parts + [f"{name} {_rounded(values)}" for name, values in scores.columns.items()])


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same values."""
    return one.shape == other.shape and bool((one == other).all())


def nearly_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two float64 tensors differ by rounding only."""
    return bool((one - other).abs().max() <= 1e-9 * (1 + other.abs().max()))
