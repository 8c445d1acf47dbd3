"""Strengths within the objective: each pair has its number, and the whole batch has one mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mdpo_core import BatchMean, ByRow, PairLoss, Pairs, PluginError, Scores, Strength, View, component
from mdpo_core.interfaces.term import Term
from mdpo_core.objective.objective import Objective, Outcome
from mdpo_core.processes.world import ALONE
from mdpo_core.types.scores import ByView

SIZE = 6


def term(name: str = "dpo", kind: str = "loss", **options: Any) -> Term:
    made = component(kind, name, **options)
    assert isinstance(made, Term)
    return made


def by(name: str, **options: Any) -> Any:
    return component("strength", name, **options)


def drawn(seed: int = 0, size: int = SIZE, views: tuple[str, ...] = ("chosen", "rejected")) -> Scores:
    draw = torch.Generator().manual_seed(seed)
    policy, reference = (
        {view: -30 * torch.rand(size, generator=draw, dtype=torch.float64) for view in views} for _ in range(2)
    )
    columns = {
        name: 4 * torch.rand(size, generator=draw, dtype=torch.float64) + 0.01
        for name in ("strength", "chosen_score", "rejected_score", "similarity_gap")
    }
    policy = {view: sums.requires_grad_() for view, sums in policy.items()}
    return Scores.from_sums(policy, reference, dict.fromkeys(views, torch.ones(size)), columns)


def part(scores: Scores, rows: slice) -> Scores:
    sides = {
        name: ByView({view: sums[rows] for view, sums in getattr(scores, name).items()})
        for name in ("policy", "reference", "num_tokens")
    }
    columns = {name: values[rows] for name, values in scores.columns.items()}
    return replace(scores, corruptible=scores.corruptible[rows], columns=columns, **sides)


def step(objective: Objective, micro_batches: list[Scores]) -> list[Outcome]:
    """A step as the trainer makes it."""
    for scores in micro_batches:
        objective.running.add_to_batch(objective.measured(scores))
    objective.running.finish_batch(ALONE)
    outcomes = [objective(scores) for scores in micro_batches]
    for outcome in outcomes:
        objective.running.add(outcome.running)
    objective.running.finish_step(ALONE)
    return outcomes


STRENGTHS = [
    ("column", {"column": "strength"}),
    ("mm_rlhf", {}),
    ("madpo", {}),
    ("beta_dpo", {}),
    ("dama", {"usual_gap": 0.1}),
]


@pytest.mark.parametrize("option", ["beta", "weight"])
@pytest.mark.parametrize(("name", "options"), STRENGTHS)
def test_each_pair_costs_what_its_number_says(name: str, options: dict[str, Any], option: str) -> None:
    scores, objective = drawn(), Objective({"text": term(**{option: by(name, **options)})})
    [outcome] = step(objective, [scores])
    numbers = outcome.values[f"strength/{option}/text"].tolist()
    for row, number in enumerate(numbers):
        alone = Objective({"text": term(**{option: number})})(part(scores, slice(row, row + 1)))
        assert float(outcome.loss[row].detach()) == pytest.approx(float(alone.loss.detach()), rel=1e-9)
        for metric in ("rewards/margin/text", "rewards/chosen", "rewards/rejected"):
            assert float(outcome.values[metric][row]) == pytest.approx(float(alone.values[metric]), rel=1e-9), metric


@pytest.mark.parametrize(("name", "options"), STRENGTHS)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=4))
def test_micro_batches_do_not_change_the_loss_or_the_next_step(
    name: str, options: dict[str, Any], cuts: list[int]
) -> None:
    bounds = [0, *sorted(set(cuts)), SIZE]
    whole, parts = (Objective({"text": term(beta=by(name, **options))}) for _ in range(2))
    for seed in range(3):
        scores = drawn(seed)
        [expected] = step(whole, [scores])
        found = step(parts, [part(scores, slice(*pair)) for pair in pairwise(bounds)])
        torch.testing.assert_close(torch.cat([each.loss for each in found]), expected.loss, rtol=1e-12, atol=0)
    state, other = whole.running.state(), parts.running.state()
    assert state.keys() == other.keys()
    assert all(state[key] == pytest.approx(other[key], rel=1e-12) for key in state)


@pytest.mark.parametrize(("name", "options"), STRENGTHS)
def test_no_gradient_flows_through_a_strength(name: str, options: dict[str, Any]) -> None:
    scores, objective = drawn(), Objective({"text": term(beta=by(name, **options))})
    [outcome] = step(objective, [scores])
    [found] = torch.autograd.grad(outcome.loss.sum(), [scores.policy["chosen"]], retain_graph=True)
    beta = outcome.values["strength/beta/text"]
    assert not beta.requires_grad
    logit = beta * scores.margin("chosen", "rejected").detach()
    torch.testing.assert_close(found, -beta * (-logit).sigmoid(), rtol=1e-9, atol=1e-12)


def test_three_steps_of_beta_dpo_are_those_of_plain_python() -> None:
    objective, threshold = Objective({"text": term(beta=by("beta_dpo", alpha=0.6, momentum=0.9))}), 0.0
    for seed in range(3):
        scores = drawn(seed)
        margins = scores.margin("chosen", "rejected").detach().tolist()
        mean = sum(margins) / len(margins)
        threshold = 0.9 * threshold + 0.1 * mean
        beta = max(0.001, 0.1 * (1 + 0.6 * (mean - threshold)))
        outcomes = step(objective, [part(scores, slice(0, 4)), part(scores, slice(4, SIZE))])
        losses = [math.log1p(math.exp(-beta * margin)) for margin in margins]
        assert torch.cat([each.loss for each in outcomes]).tolist() == pytest.approx(losses, rel=1e-9)


def test_three_steps_of_dama_are_those_of_plain_python() -> None:
    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    objective, usual = Objective({"text": term(beta=by("dama", usual_gap=0.7))}), 0.0
    for seed in range(3):
        scores = drawn(seed)
        margins = scores.margin("chosen", "rejected").detach().tolist()
        ratio = sum(map(s, margins)) / len(margins) / s(usual)
        usual = 0.9 * usual + 0.1 * sum(margins) / len(margins)
        betas = [max(0.001, 0.1 * s(gap) / s(0.7) * ratio) for gap in scores.columns["similarity_gap"].tolist()]
        [outcome] = step(objective, [scores])
        losses = [math.log1p(math.exp(-beta * margin)) for beta, margin in zip(betas, margins, strict=True)]
        assert outcome.loss.tolist() == pytest.approx(losses, rel=1e-9)


def test_means_continue_from_a_checkpoint_to_the_bit() -> None:
    objective = Objective({"text": term(beta=by("beta_dpo"))})
    for seed in range(2):
        step(objective, [drawn(seed)])
    resumed = Objective({"text": term(beta=by("beta_dpo"))})
    resumed.running.restore(dict(objective.running.state()))
    [one], [other] = (step(each, [drawn(7)]) for each in (objective, resumed))
    assert one.loss.tolist() == other.loss.tolist()
    assert objective.running.state() == resumed.running.state()


def test_in_an_evaluation_the_batch_is_the_last_one_that_trained() -> None:
    objective = Objective({"text": term(beta=by("beta_dpo", momentum=0.0))})
    before = objective(drawn(5)).values["strength/beta/text"]
    assert before.tolist() == [0.1] * SIZE  # as the means are 0
    step(objective, [drawn(0)])
    objective = Objective({"text": term(beta=by("beta_dpo"))})
    step(objective, [drawn(0)])
    one, other = (objective(scores).values["strength/beta/text"] for scores in (drawn(5), part(drawn(5), slice(2, 3))))
    assert one[0] == other[0]


def test_rows_that_do_not_count_are_in_no_mean_and_in_no_metric() -> None:
    scores = drawn(views=("chosen", "chosen@crop"))
    scores = replace(scores, corruptible=torch.tensor([True, False] * 3))
    objective = Objective({"picture": term(over="chosen@crop", beta=by("beta_dpo"))})
    [outcome] = step(objective, [scores])
    margins = scores.margin("chosen", "chosen@crop").detach()[scores.corruptible]
    assert objective.running.mean("picture:beta:batch") == pytest.approx(float(margins.mean()))
    assert len(outcome.metrics["strength/beta/picture"]) == 3


def test_a_row_that_does_not_count_may_have_any_column() -> None:
    scores = drawn(views=("chosen", "chosen@crop"))
    scores.columns["strength"][1] = -1.0  # type: ignore[index]
    scores = replace(scores, corruptible=torch.tensor([True, False] * 3))
    loss = Objective({"picture": term(over="chosen@crop", beta=by("column", column="strength"))})(scores).loss
    assert bool(loss.isfinite().all())


@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [("loss", "simpo", "gamma"), ("loss", "ipo", "tau"), ("anchor", "reward", "delta"), ("anchor", "sft", "weight")],
)
def test_margins_and_weights_of_other_terms_differ_by_row(kind: str, name: str, option: str) -> None:
    scores = drawn()
    outcome = Objective({"it": term(name, kind, **{option: by("column", column="strength")})})(scores)
    for row, number in enumerate(scores.columns["strength"].tolist()):
        alone = Objective({"it": term(name, kind, **{option: number})})(part(scores, slice(row, row + 1)))
        assert float(outcome.loss[row].detach()) == pytest.approx(float(alone.loss.detach()), rel=1e-9)


def test_running_means_of_a_term_see_its_numbers() -> None:
    scores = drawn()
    outcome = Objective({"bco": term("bco", beta=by("column", column="strength"))})(scores)
    rewards = scores.log_ratio("chosen") + scores.log_ratio("rejected")
    torch.testing.assert_close(outcome.running["bco:reward"], (scores.columns["strength"] * rewards / 2).detach())


class Odd(Strength):
    """Gives what a test says."""

    gives: ClassVar[Any] = None
    reads_margins: ClassVar[bool] = True

    def means(self) -> Mapping[str, BatchMean]:
        return {"odd": BatchMean(lambda pairs: pairs.margins)}

    def __call__(self, pairs: Pairs) -> Tensor:
        return type(self).gives(pairs)  # type: ignore[no-any-return]


class Loss(PairLoss):
    beta: ByRow = 0.1

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over)

    def __call__(self, scores: Scores) -> Tensor:
        return -self.beta * scores.margin(self.prefer, self.over)


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (
            lambda pairs: -pairs.margins.abs(),
            r"Odd of 'weight' in the term 'it' gives -\d.*'weight' must be finite",
        ),
        (lambda pairs: pairs.margins / 0, "gives -?inf; 'weight' must be finite"),
        (lambda pairs: 1.0, "must return one number a pair"),
        (lambda pairs: pairs.margins[:1], r"must return one number a pair, shape \(6,\)"),
        (lambda pairs: pairs.columns["x"], r"column 'x' was not declared in columns\(\)"),
        (lambda pairs: pairs.means["x"], r"batch mean 'x' was not declared in means\(\); declared: odd"),
    ],
)
def test_a_strength_that_gives_no_strengths_is_named(gives: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "gives", gives)
    objective = Objective({"it": Loss.of(weight=Odd())})
    with pytest.raises(PluginError, match=said):
        objective(drawn())


def test_third_party_terms_take_strengths_without_code_of_their_own() -> None:
    scores = drawn()
    outcome = Objective({"it": Loss.of(beta=by("column", column="strength"))})(scores)
    torch.testing.assert_close(outcome.loss, -scores.columns["strength"] * scores.margin("chosen", "rejected"))
