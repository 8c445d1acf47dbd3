"""Calls terms as a run does: with the scores that they declare, and with statistics, probes and means.

A worked example. The contract draws scores of one pair: ``chosen`` has two tokens with policy log-probs -1 and -2, and
the reference's are -1 and -3. A term declares ``views() = (chosen,)`` and a statistic ``entropy``. Then `values_of`

1. computes the statistic: it makes a distribution over three tokens for each response token, such as
   (e^-1, 0.75 (1 - e^-1), 0.25 (1 - e^-1)) for the first, and gives it to the statistic's function;
2. restricts the scores to what the term declares (`Scores.seen_by`): ``scores.log_ratio("chosen")`` is 1,
   ``scores.statistics["entropy"]["chosen"]`` has the shape (1, 2), and ``scores.policy["rejected"]`` is an error;
3. calls the term, and turns any exception into one sentence about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mdpo_core.data.term_checks import check_columns
from mdpo_core.errors import shown
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.plugin_results import NO_GRADIENT
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.checks.declarations import problems_of_declarations
from mdpo_core.scoring.probes import made_of, outputs_of
from mdpo_core.scoring.statistics import computed
from mdpo_core.testing.score_cases import case
from mdpo_core.testing.sentences import Broken, calling, name_of, raised, require
from mdpo_core.types.declared import Undeclared
from mdpo_core.types.scores import ByView, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from torch import Tensor

_NO_GRADIENT_HINT = "; the reference's log-probs have no gradient, and in an evaluation the policy's have none either"
# How the two other tokens share the rest of the probability, for statistics of distributions.
_OTHERS = (0.75, 0.25)


def check_declarations(term: Term) -> None:
    """Check that what a term declares has the types that `Term` asks for."""
    with calling(term, "when it declares what it reads"):
        wrong = list(problems_of_declarations(term))
    require(not wrong, "; ".join(wrong))


def try_columns(term: Term, scores: Scores) -> None:
    """Let the term check the columns of each row, as a run does before it trains."""
    for row in range(len(scores.corruptible)):
        columns = {name: float(scores.columns[name][row]) for name in term.columns()}
        with calling(term, f"in check_columns() at {columns}"):
            check_columns(term, Scores.of_columns("1", columns))


def values_of(term: Term, scores: Scores) -> Tensor:
    """The values of a term in the first step of a run, ``(batch,)``."""
    return _called(term, term, scores)


def running_values(term: Term, scores: Scores) -> dict[str, Tensor]:
    """The values whose running means a term declares, by name, ``(batch,)`` each."""
    return {
        name: _called(term, function, scores, f"for its running mean '{name}' ")
        for name, function in term.means.items()
    }


def gradients_of(term: Term, scores: Scores) -> dict[View, Tensor]:
    """Gradients of the summed values with respect to the policy's tokens, for each view that the values depend on."""
    import torch

    leaves = {view: tokens.values.clone().requires_grad_() for view, tokens in scores.policy_tokens.items()}
    policy = {view: TokenLogProbs(leaves[view], tokens.mask) for view, tokens in scores.policy_tokens.items()}
    values = values_of(
        term,
        Scores.from_tokens(
            ScorerOutput(policy, dict(scores.reference_tokens)), scores.corruptible, scores.columns, scores.responses
        ),
    )
    if not values.requires_grad:
        return {}
    with calling(term, f"in the backward of its values at {case(scores)}"):
        gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    return {view: gradient for view, gradient in zip(leaves, gradients, strict=True) if gradient is not None}


def _seen_by(term: Term, scores: Scores) -> Scores:
    """The scores as a term sees them in the first step of a run, when each running mean is 0."""
    with calling(term, "in its statistics"):
        statistics = {name: _statistic(name, each, scores, term) for name, each in term.statistics().items()}
    with calling(term, "in its probes"):
        probes = {name: _probed(name, each, scores, term) for name, each in term.probes().items()}
    return replace(scores, statistics=statistics).seen_by(term, dict.fromkeys(term.means, 0.0), probes)


def _called(term: Term, function: Callable[[Scores], Tensor], scores: Scores, purpose: str = "") -> Tensor:
    """The result of a function of a term. ``purpose``: for messages; empty for the term's own values."""
    import torch

    seen = _seen_by(term, scores)
    try:
        values: object = function(seen)
    except Undeclared as error:
        raise Broken(f"{name_of(term)} reads something that it does not declare: {error.args[0]}") from error
    except Exception as error:
        hint = _NO_GRADIENT_HINT if isinstance(error, RuntimeError) and NO_GRADIENT in str(error) else ""
        raise raised(term, error, f"{purpose}at {case(scores)}{hint}") from error
    if isinstance(values, torch.Tensor):
        return values
    expected = f"a tensor with one number for each pair, shape {tuple(scores.corruptible.shape)}"
    raise Broken(f"{name_of(term)} returns {shown(values)} {purpose}at {case(scores)}; it must return {expected}")


def _statistic(name: str, statistic: Statistic, scores: Scores, term: Term) -> ByView[Tensor]:
    """A statistic of distributions over three tokens; the first token is the response's."""
    return ByView(
        {
            view: _by_token(name, statistic, scores.policy_tokens[view], scores.reference_tokens[view])
            for view in dict.fromkeys(term.views())
        }
    )


def _probed(name: str, probe: Probe, scores: Scores, term: Term) -> ByView[Tensor]:
    """The outputs of a probe on a model with one layer: a token's hidden state is its two log-probs."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = made_of(name, probe, 1, 2).to(next(iter(scores.policy.values())).dtype).requires_grad_(False)
    views = dict.fromkeys(term.views())
    sides = {view: (scores.policy_tokens[view].values, scores.reference_tokens[view].values) for view in views}
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
    values = computed(name, statistic, _distributions(policy.values[mask]), other)
    return policy.values.new_zeros(mask.shape).masked_scatter(mask, values)


def _distributions(log_probs: Tensor) -> Tensor:
    """Log-probs of three tokens, ``(tokens, 3)``; the first column is ``log_probs``."""
    import torch

    rest = torch.log(-torch.expm1(log_probs))
    return torch.stack([log_probs, *(rest + math.log(share) for share in _OTHERS)], dim=1)
