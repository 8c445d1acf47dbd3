"""Terms called as in a run: on the part of the scores that they declare, with statistics and running means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mdpo_core.errors import shown
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.plugin_calls import NO_GRADIENT, check_columns
from mdpo_core.interfaces.term import Term
from mdpo_core.interfaces.term_declarations import problems_of_declarations
from mdpo_core.scoring.probes import made_of, outputs_of
from mdpo_core.scoring.statistics import computed
from mdpo_core.testing.score_cases import case
from mdpo_core.testing.sentences import Broken, calling, name_of, raised, require
from mdpo_core.types.declared import Undeclared
from mdpo_core.types.scores import ByView, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor

_NONE_THERE = "; the reference's log-probs have no gradient, nor have the policy's in an evaluation"
# Shares in which the probability of all other tokens is split up, for statistics of whole distributions.
_OTHERS = (0.75, 0.25)


def check_declarations(term: Term) -> None:
    """What a term says that it reads is of the types that `Term` says."""
    with calling(term, "in saying what it reads"):
        wrong = list(problems_of_declarations(term))
    require(not wrong, "; ".join(wrong))


def try_columns(term: Term, found: Scores) -> None:
    """What a run asks of a term about each row before it trains."""
    for row in range(len(found.corruptible)):
        columns = {name: float(found.columns[name][row]) for name in term.columns()}
        with calling(term, f"in check_columns() at {columns}"):
            check_columns(term, Scores.of_columns("1", columns))


def values_of(term: Term, found: Scores) -> Tensor:
    """What a term gives in the first step of a run, ``(batch,)``."""
    return _reading(term, term, found, "")


def running_values(term: Term, found: Scores) -> dict[str, Tensor]:
    """What a term has running means taken of, ``(batch,)`` each."""
    return {name: _reading(term, value, found, f"for its running mean '{name}' ") for name, value in term.means.items()}


def gradients_of(term: Term, found: Scores) -> dict[View, Tensor]:
    """The gradients of the summed values by each view's policy tokens, those that there are."""
    import torch

    leaves = {view: tokens.values.clone().requires_grad_() for view, tokens in found.policy_tokens.items()}
    policy = {view: TokenLogProbs(leaves[view], tokens.mask) for view, tokens in found.policy_tokens.items()}
    values = values_of(
        term,
        Scores.from_tokens(
            ScorerOutput(policy, dict(found.reference_tokens)), found.corruptible, found.columns, found.responses
        ),
    )
    if not values.requires_grad:
        return {}
    with calling(term, f"in the backward of its values at {case(found)}"):
        gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    return {view: gradient for view, gradient in zip(leaves, gradients, strict=True) if gradient is not None}


def _reading(term: Term, function: Callable[[Scores], Tensor], found: Scores, what: str) -> Tensor:
    """``what`` is computed, for messages; nothing for a term's values."""
    import torch

    with calling(term, "in its statistics"):
        statistics = {name: _statistic(name, each, found, term) for name, each in term.statistics().items()}
    with calling(term, "in its probes"):
        probes = {name: _probed(name, each, found, term) for name, each in term.probes().items()}
    seen = replace(found, statistics=statistics).seen_by(term, dict.fromkeys(term.means, 0.0), probes)
    try:
        values: object = function(seen)
    except Undeclared as error:
        raise Broken(f"{name_of(term)} reads what it does not declare: {error.args[0]}") from error
    except Exception as error:
        hint = _NONE_THERE if isinstance(error, RuntimeError) and NO_GRADIENT in str(error) else ""
        raise raised(term, error, f"{what}at {case(found)}{hint}") from error
    if isinstance(values, torch.Tensor):
        return values
    wanted = f"a tensor of one number a pair, shape {tuple(found.corruptible.shape)}"
    raise Broken(f"{name_of(term)} returns {shown(values)} {what}at {case(found)}; it must return {wanted}")


def _statistic(name: str, statistic: Statistic, found: Scores, term: Term) -> ByView[Tensor]:
    """Of distributions over three tokens, of which the first is the response's."""
    return ByView(
        {
            view: _by_token(name, statistic, found.policy_tokens[view], found.reference_tokens[view])
            for view in dict.fromkeys(term.views())
        }
    )


def _probed(name: str, probe: Probe, found: Scores, term: Term) -> ByView[Tensor]:
    """Of a model with one layer, whose hidden state is a token's log-probs under policy and reference."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = made_of(name, probe, 1, 2).to(next(iter(found.policy.values())).dtype).requires_grad_(False)
    views = dict.fromkeys(term.views())
    sides = {view: (found.policy_tokens[view].values, found.reference_tokens[view].values) for view in views}
    states = {view: torch.stack(pair, dim=-1) for view, pair in sides.items()}
    return ByView(
        {
            view: outputs_of(name, module, each.flatten(0, 1)[:, None]).view(*each.shape[:2], -1)
            for view, each in states.items()
        }
    )


def _by_token(name: str, statistic: Statistic, policy: TokenLogProbs, reference: TokenLogProbs) -> Tensor:
    mask = policy.mask
    other = _distributions(reference.values[mask]).detach() if statistic.needs_reference else None
    found = computed(name, statistic, _distributions(policy.values[mask]), other)
    return policy.values.new_zeros(mask.shape).masked_scatter(mask, found)


def _distributions(log_probs: Tensor) -> Tensor:
    """Log-probs ``(tokens, 3)``."""
    import torch

    rest = torch.log(-torch.expm1(log_probs))
    return torch.stack([log_probs, *(rest + math.log(share) for share in _OTHERS)], dim=1)
