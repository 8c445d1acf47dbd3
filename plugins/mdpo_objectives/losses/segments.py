"""Losses that give segments of a response (edits, turns) different weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core import ByRow, Loss, PairLoss, Scores, TokenLogProbs, View
from mdpo_objectives.formulas.numerics import log_sigmoid
from mdpo_objectives.formulas.options import per_token

if TYPE_CHECKING:
    from torch import Tensor


def changed_tokens(ids: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """For each of two texts, which of its tokens have no counterpart in the other text, as bool ``(time,)``."""
    matcher = SequenceMatcher(None, ids.tolist(), other.tolist(), autojunk=False)
    changed, other_changed = ids.new_ones(len(ids)).bool(), other.new_ones(len(other)).bool()
    for start, other_start, size in matcher.get_matching_blocks():
        changed[start : start + size] = False
        other_changed[other_start : other_start + size] = False
    return changed, other_changed


class DDPO(PairLoss):
    """DPO that gives more weight to tokens that an edit has changed (dense DPO of RLHF-V, arXiv:2312.00849).

        -ls(beta (r'_w - r'_l))        r': the log-ratio, changed tokens times gamma, over n_same + gamma n_changed
        n: numbers of tokens

    A token is changed if it is outside the longest common blocks of the two responses. Without ``average`` there is no
    division, and the loss has the scale of DPO. The paper sets gamma to 5, its code to 3.
    """

    needs_tokens: ClassVar[bool] = True
    beta: ByRow = Field(default=0.5, gt=0, description="reward per nat of log-ratio")
    gamma: ByRow = Field(default=5.0, gt=0, description="factor of changed tokens")
    average: bool = Field(default=True, description="divide by the sum of all tokens' factors")

    def __call__(self, scores: Scores) -> Tensor:
        responses = zip(_scored_ids(scores, self.prefer), _scored_ids(scores, self.over), strict=True)
        changed = [changed_tokens(*pair) for pair in responses]
        preferred = self._log_ratio(scores, self.prefer, [in_preferred for in_preferred, _ in changed])
        other = self._log_ratio(scores, self.over, [in_other for _, in_other in changed])
        return -log_sigmoid(self.beta * (preferred - other))

    def _log_ratio(self, scores: Scores, view: View, changed: Sequence[Tensor]) -> Tensor:
        """The weighted log-ratio, ``(batch,)``; ``changed``: for each row, which scored tokens an edit has changed."""
        import torch

        values, mask = scores.policy_tokens[view]
        is_changed = torch.zeros_like(values)
        is_changed[mask] = torch.cat(tuple(changed)).to(values)
        weights = (1 + (per_token(self.gamma) - 1) * is_changed).where(mask, 0)
        total = ((values - scores.reference_tokens[view].values) * weights).sum(dim=1)
        return total / weights.sum(dim=1) if self.average else total


def _scored_ids(scores: Scores, view: View) -> list[Tensor]:
    ids, turns = scores.responses[view]
    return [ids_of_row[turns_of_row > 0] for ids_of_row, turns_of_row in zip(ids, turns, strict=True)]


class DMPO(PairLoss):
    """DPO for conversations; later turns have less weight (arXiv:2406.14868).

        -ls(beta (sum_t phi(t,T_w) r_t^w - sum_t phi(t,T_l) r_t^l))
        phi(t,T) = gamma^t (1 - gamma^(T-t)) / (1 - gamma^T), t = 0 .. T-1; (T - t) / T for gamma 1
        r_t: log-ratio of the tokens of turn t        T: number of turns

    The authors' code sets gamma to 0.7. Their token-wise variant is not implemented.
    """

    needs_tokens: ClassVar[bool] = True
    beta: ByRow = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    gamma: float = Field(default=0.7, gt=0, le=1, description="discount from turn to turn")

    def __call__(self, scores: Scores) -> Tensor:
        return -log_sigmoid(self.beta * (self._log_ratio(scores, self.prefer) - self._log_ratio(scores, self.over)))

    def _log_ratio(self, scores: Scores, view: View) -> Tensor:
        policy, reference = scores.policy_tokens[view], scores.reference_tokens[view]
        return ((policy.values - reference.values) * self._weights(policy, scores.responses[view].turns)).sum(dim=1)

    def _weights(self, tokens: TokenLogProbs, turns: Tensor) -> Tensor:
        """phi of each token's turn, ``(batch, time)``; 0 for tokens that are not scored."""
        turns, dtype = turns.to(tokens.values.device), tokens.values.dtype
        before, total = (turns - 1).to(dtype), turns.amax(dim=1, keepdim=True).to(dtype)
        if self.gamma == 1:
            weights = (total - before) / total
        else:
            weights = self.gamma**before * (1 - self.gamma ** (total - before)) / (1 - self.gamma**total)
        return weights.where(turns > 0, 0)


LOSSES: Mapping[str, type[Loss]] = {
    "ddpo": DDPO,
    "dmpo": DMPO,
}
