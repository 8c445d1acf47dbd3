"""Terms of third parties that do what terms must not do: named in the first step, before anything is updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdpo_core import Component, MdpoError, PairLoss, PluginError, Scores, hookimpl, load_recipe, run
from mdpo_core.objective import Objective
from mdpo_core.registry import Registry, current_registry, use_registry

RECIPES = Path(__file__).parent.parent / "recipes"
Formula = Callable[[Any, Scores], Any]


def term(formula: Formula) -> Any:
    return type("Wrong", (PairLoss,), {"__module__": __name__, "__call__": formula})


class Plugin:
    """Offers one loss."""

    def __init__(self, loss: type[Component]) -> None:
        self._loss = loss

    @hookimpl
    def mdpo_components(self) -> Mapping[str, type[Component]]:
        return {"wrong": self._loss}


def through_the_reference(self: Any, scores: Scores) -> Tensor:
    [gradient] = torch.autograd.grad(scores.reference["chosen"].sum(), [scores.policy["chosen"]])
    return scores.margin(self.prefer, self.over) * gradient


WRONG: dict[str, tuple[Formula, str]] = {
    "a scalar": (lambda _, s: s.policy["chosen"].mean(), r"must return one number a pair, shape \(2,\); .* \(\)"),
    "another shape": (lambda _, s: s.policy["chosen"][:, None], r"it returned torch.float32 \(2, 1\)"),
    "a number": (lambda *_: 0.5, r"it returned float"),
    "whole numbers": (lambda _, s: (s.policy["chosen"] > 0).long(), r"it returned torch.int64 \(2,\)"),
    "nothing": (lambda *_: None, r"it returned NoneType"),
    "an undeclared view": (lambda _, s: s.policy["chosen@crop"], r"view 'chosen@crop' was not declared in views\(\)"),
    "an undeclared column": (
        lambda _, s: s.policy["chosen"] * s.columns["label"],
        r"column 'label' was not declared in columns\(\); declared: none",
    ),
    "undeclared tokens": (
        lambda _, s: s.policy_tokens["chosen"].values.sum(1),
        r"view 'chosen' has no tokens here: the term does not say needs_tokens = True",
    ),
    "an undeclared statistic": (
        lambda _, s: s.statistics["entropy"]["chosen"].sum(1),
        r"statistic 'entropy' was not declared in statistics\(\); declared: none",
    ),
    "an undeclared mean": (
        lambda _, s: s.policy["chosen"] - s.running["reward"],
        r"mean 'reward' was not declared in running_means\(\) or step_means\(\); declared: none",
    ),
    "an undeclared probe": (
        lambda _, s: s.probes["value"]["chosen"][:, 0, 0],
        r"probe 'value' was not declared in probes\(\); declared: none",
    ),
    "the reference alone": (lambda _, s: s.reference["chosen"] * 2, r"does not depend on the policy's log-probs"),
    "a detached policy": (lambda _, s: s.policy["chosen"].detach(), r"does not depend on the policy's log-probs"),
    "a gradient of the reference": (through_the_reference, r"a gradient that is not there: the reference's log-probs"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_term_must_not_do_is_named(what: str) -> None:
    formula, message = WRONG[what]
    policy = {name: torch.tensor([-3.0, -4.0], requires_grad=True) for name in ("chosen", "rejected", "chosen@crop")}
    reference = {name: torch.tensor([-3.0, -4.0]) for name in policy}
    scores = Scores.from_sums(policy, reference, columns={"label": torch.ones(2)})
    with pytest.raises(PluginError, match=rf"term '0:wrong' \(Wrong\).*{message}"):
        Objective({"0:wrong": term(formula)()})(scores)


def test_an_error_of_a_term_s_own_is_passed_on() -> None:
    def fails(_: Any, scores: Scores) -> Tensor:
        raise RuntimeError("mine")

    policy = {name: torch.tensor([-3.0], requires_grad=True) for name in ("chosen", "rejected")}
    with pytest.raises(RuntimeError, match=r"^mine\n\(in term '0:wrong' \(Wrong\)\)$"):
        Objective({"0:wrong": term(fails)()})(Scores.from_sums(policy, dict(policy)))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda _, s: s.policy["chosen"] * float("nan"), r"step 1: the loss of example '\d+'.* \(in loss/0:wrong\)"),
        (lambda _, s: s.policy["chosen"].mean(), r"term '0:wrong' \(Wrong\) must return one number a pair"),
        (lambda _, s: s.reference["chosen"], r"term '0:wrong' \(Wrong\) does not depend on the policy"),
    ],
)
def test_a_run_stops_before_its_first_update(formula: Formula, message: str, small: list[str]) -> None:
    before = current_registry()
    registry = Registry.discover()
    registry.register(Plugin(term(formula)), "own")
    use_registry(registry)
    try:
        recipe = load_recipe(RECIPES / "llava_dpo.yaml", [*small, "objective=[{loss: wrong}]"])
        with pytest.raises(MdpoError, match=message):
            run(recipe)
    finally:
        use_registry(before)
    assert not list(recipe.output.dir.glob("checkpoints/*"))
