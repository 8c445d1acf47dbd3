"""Terms of third parties that do what terms must not do: named in the first step, before anything is updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.paths import RECIPES
from torch import Tensor, nn

from mdpo_core import (
    Component,
    MdpoError,
    PairLoss,
    PluginError,
    Probe,
    Scores,
    Statistic,
    TokenLogProbs,
    View,
    hookimpl,
    load_recipe,
    run,
)
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.term_checks import check_row
from mdpo_core.objective.objective import Objective
from mdpo_core.registry.discovery import Registry, current_registry, use_registry
from mdpo_core.scoring.probes import made_of, outputs_of
from mdpo_core.scoring.statistics import token_statistics
from mdpo_core.testing import check_loss
from mdpo_core.types.scores import ScorerOutput

Formula = Callable[[Any, Scores], Any]


def term(formula: Formula, **methods: Any) -> Any:
    return type("Wrong", (PairLoss,), {"__module__": __name__, "__call__": formula, **methods})


def dpo(term: PairLoss, scores: Scores) -> Tensor:
    return -scores.margin(term.prefer, term.over)


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
    "a number": (lambda *_: 0.5, r"it returned the float 0.5"),
    "whole numbers": (lambda _, s: (s.policy["chosen"] > 0).long(), r"it returned torch.int64 \(2,\)"),
    "nothing": (lambda *_: None, r"it returned None"),
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
    "a gradient of the reference": (through_the_reference, r"a gradient that does not exist: the reference's log-p"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_term_must_not_do_is_named(what: str) -> None:
    formula, message = WRONG[what]
    policy = {name: torch.tensor([-3.0, -4.0], requires_grad=True) for name in ("chosen", "rejected", "chosen@crop")}
    reference = {name: torch.tensor([-3.0, -4.0]) for name in policy}
    scores = Scores.from_sums(policy, reference, columns={"label": torch.ones(2)})
    with pytest.raises(PluginError, match=rf"term '0:wrong' \(Wrong\).*{message}"):
        Objective({"0:wrong": term(formula)()})(scores)


def tokens(*sums: float, **options: Any) -> TokenLogProbs:
    values = torch.tensor([[each / 2, each / 2] for each in sums], **options)
    return TokenLogProbs(values, torch.ones_like(values, dtype=torch.bool))


class OfNothing(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.mean()


# By what is overridden: what it gives, and how that is told.
DECLARED: dict[str, tuple[str, Any, str]] = {
    "a mean of a scalar": (
        "running_means",
        lambda _: {"shift": lambda s: s.policy["chosen"].mean()},
        r"the running mean 'shift' of term '0:wrong' \(Wrong\) must return one number a pair, shape \(2,\); .* \(\)",
    ),
    "a mean of an undeclared view": (
        "step_means",
        lambda _: {"shift": lambda s: s.policy["chosen@crop"]},
        r"the running mean 'shift' of term '0:wrong' \(Wrong\): view 'chosen@crop' was not declared",
    ),
    "no comparison": (
        "compares",
        lambda *_: None,
        r"compares\(\) of term '0:wrong' \(Wrong\) must return a bool for each pair, shape \(2,\); it returned None",
    ),
    "one comparison": (
        "compares",
        lambda _, s: s.corruptible.all(),
        r"a bool for each pair, .* it returned torch.bool \(\)",
    ),
}


@pytest.mark.parametrize("what", DECLARED)
def test_what_else_a_term_gives_is_looked_at_as_its_values_are(what: str) -> None:
    method, formula, message = DECLARED[what]
    loss = term(dpo, **{method: formula})
    views = {name: tokens(-3.0, -4.0, requires_grad=True) for name in ("chosen", "rejected", "chosen@crop")}
    scored = ScorerOutput({View.parse(name): each for name, each in views.items()}, {})
    scores = Scores.from_tokens(scored._replace(reference=scored.policy), torch.ones(2, dtype=torch.bool), {})
    with pytest.raises(PluginError, match=message):
        Objective({"0:wrong": loss()})(scores)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda policy, _: policy.mean(),
            r"it returned torch.float32 \(\)",
        ),
        (lambda policy, _: policy, r"it returned torch.float32 \(2, 5\)"),
        (lambda policy, _: policy.argmax(dim=1), r"it returned torch.int64 \(2,\)"),
        (lambda *_: 1, r"it returned the int 1"),
    ],
)
def test_a_statistic_that_is_no_number_a_token_is_named(function: Any, message: str) -> None:
    head, states = nn.Linear(4, 5), torch.zeros(2, 4)
    with pytest.raises(
        PluginError, match=rf"the statistic 'entropy' must return one number a token, shape \(2,\); {message}"
    ):
        token_statistics({"entropy": Statistic(function)}, head, states, None, None)


def test_probe_that_is_no_module_or_gives_no_numbers_is_named() -> None:
    """A probe that is no module, or gives no numbers for each token, is named."""
    with pytest.raises(
        PluginError, match=r"make\(\) of the probe 'value' must return a torch.nn.Module; it returned None"
    ):
        made_of("value", Probe(lambda *_: None), 1, 4)  # type: ignore[arg-type,return-value]
    with pytest.raises(PluginError, match=r"the module of the probe 'value' must return some numbers for each token"):
        outputs_of("value", OfNothing(), torch.zeros(2, 1, 4))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda _, s: s.columns["other"],
            r"check_columns\(\) of Wrong: column 'other' was not declared in columns\(\)",
        ),
        (
            lambda *_: False,
            r"check_columns\(\) of Wrong must raise DataError or return nothing; .* a value of type bool",
        ),
    ],
)
def test_a_wrong_check_of_columns_is_named_where_rows_are_read(check: Any, message: str, small: list[str]) -> None:
    loss = term(dpo, columns=lambda _: ("score",), check_columns=check)()
    recipe = load_recipe(RECIPES / "llava_dpo.yaml", small)
    builder = BatchBuilder.for_terms([loss], {}, recipe.model.encoder(), 100, 0)
    example = replace(recipe.data.open()[0], columns={"score": 0.5})
    with pytest.raises(PluginError, match=message):
        builder.encode(example, [example], epoch=0)
    with pytest.raises(AssertionError, match=message.partition(":")[0].partition(" must")[0]):
        check_loss(loss)


def test_a_column_of_numbers_that_a_term_does_not_read_is_named() -> None:
    loss = term(dpo, columns=lambda _: ("score",), number_columns=lambda _: ("rank",))()
    with pytest.raises(PluginError, match=r"number_columns\(\) of Wrong names 'rank', which is none of its"):
        check_row(loss, "1", {"score": 0.5})


def test_an_error_of_a_term_s_own_is_passed_on() -> None:
    def fails(_: Any, scores: Scores) -> Tensor:
        raise RuntimeError("mine")

    policy = {name: torch.tensor([-3.0], requires_grad=True) for name in ("chosen", "rejected")}
    with pytest.raises(RuntimeError, match=r"^mine\n\(in term '0:wrong' \(Wrong\)\)$"):
        Objective({"0:wrong": term(fails)()})(Scores.from_sums(policy, dict(policy)))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            term(lambda _, s: s.policy["chosen"] * float("nan")),
            r"step 1: the loss of example '\d+'.* \(in loss/0:wrong\); check the term and these rows",
        ),
        (term(lambda _, s: s.policy["chosen"].mean()), r"term '0:wrong' \(Wrong\) must return one number a pair"),
        (term(lambda _, s: s.reference["chosen"]), r"term '0:wrong' \(Wrong\) does not depend on the policy"),
        (
            term(dpo, running_means=lambda _: {"shift": lambda s: s.policy["chosen"] * float("nan")}),
            r"step 1: a value of the running mean '0:wrong:shift' is not finite; check what the term gives for it$",
        ),
    ],
)
def test_a_run_stops_before_its_first_update(loss: type[Component], message: str, small: list[str]) -> None:
    before = current_registry()
    registry = Registry.discover()
    registry.register(Plugin(loss), "own")
    use_registry(registry)
    try:
        recipe = load_recipe(RECIPES / "llava_dpo.yaml", [*small, "objective=[{loss: wrong}]"])
        with pytest.raises(MdpoError, match=message):
            run(recipe)
    finally:
        use_registry(before)
    assert not list(recipe.output.dir.glob("checkpoints/*"))
