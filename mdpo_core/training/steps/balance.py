"""The load-balancing loss of routers, in the loss of a step."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mdpo_core.objective.objective import Outcome


def with_balance(outcome: Outcome, router_aux_loss: Tensor | None, weight: float | None) -> Outcome:
    """The outcome with ``weight`` times the loss of the routers, a number, in the loss of each pair.

    So the mean over the pairs of a step weighs micro-batches by their pairs.
    """
    if router_aux_loss is None or weight is None:
        return outcome
    loss = outcome.loss + weight * router_aux_loss
    balance = router_aux_loss.detach().expand(len(loss))
    return replace(outcome, loss=loss, values={**outcome.values, "loss": loss.detach(), "router_aux_loss": balance})
