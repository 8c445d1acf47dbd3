"""Losses that look at tokens, at pictures token by token, and at rows of several kinds, against plain Python."""

from __future__ import annotations

import math
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core import DataError, Example, Scores, View, component
from mdpo_core.data.checking import check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.testing import scores
from mdpo_core.testing.term_calls import values_of

PROPERTY = settings(deadline=None, max_examples=num_examples(15, 40))
BLIND = ("chosen", "rejected", "chosen@blind", "rejected@blind")


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return math.exp(log_sigmoid(x))


def made(kind: str, name: str, **options: Any) -> Any:
    return component(kind, name, **options)


def tokens(found: Scores, view: str, row: int) -> list[tuple[float, float, int, int]]:
    """Policy, reference, id and turn of each scored token of a row."""
    policy, reference = found.policy_tokens[view], found.reference_tokens[view]
    parts = (policy.values, reference.values, *found.responses[view])
    rows = zip(*(part[row].tolist() for part in parts), policy.mask[row].tolist(), strict=True)
    return [(p, q, token, turn) for p, q, token, turn, scored in rows if scored]


def log_ratios(found: Scores, view: str, row: int) -> list[float]:
    return [p - q for p, q, _, _ in tokens(found, view, row)]


@PROPERTY
@given(scores(("chosen", "rejected")), st.floats(0.01, 2), st.floats(0.1, 10), st.booleans())
def test_ddpo_weighs_tokens_that_an_edit_has_changed(found: Scores, beta: float, gamma: float, average: bool) -> None:
    values = values_of(made("loss", "ddpo", beta=beta, gamma=gamma, average=average), found)
    for row, value in enumerate(values.tolist()):
        sides = [tokens(found, view, row) for view in ("chosen", "rejected")]
        ids = [[token for _, _, token, _ in side] for side in sides]
        score = []
        edits = SequenceMatcher(None, *ids, autojunk=False).get_opcodes()
        equal = [places for tag, *places in edits if tag == "equal"]
        for side, place in zip(sides, (0, 2), strict=True):
            same = {token for places in equal for token in range(places[place], places[place + 1])}
            weights = [1.0 if place in same else gamma for place in range(len(side))]
            total = sum(weight * (p - q) for weight, (p, q, _, _) in zip(weights, side, strict=True))
            score.append(total / sum(weights) if average else total)
        assert value == pytest.approx(-log_sigmoid(beta * (score[0] - score[1])), rel=1e-9, abs=1e-12)


def test_ddpo_counts_a_changed_word_and_leaves_equal_ones_alone() -> None:
    """a b c d against a x c: b and d are new on one side, x on the other."""
    from mdpo_objectives.losses.segments import changed_tokens

    one, other = torch.tensor([5, 6, 7, 8]), torch.tensor([5, 9, 7])
    changed = [False, True, False, True], [False, True, False]
    assert tuple(side.tolist() for side in changed_tokens(one, other)) == changed
    assert tuple(side.tolist() for side in changed_tokens(other, one)) == changed[::-1]
    # So often that difflib would take it for junk, and not begin a block with it.
    begin, many = torch.tensor([[6], [7]]), torch.full((300,), 5)
    found = changed_tokens(torch.cat([begin[0], many]), torch.cat([begin[1], many]))
    assert [side.tolist() for side in found] == [[True] + [False] * 300] * 2


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_unchanged_tokens_of_two_responses_are_the_same(one: list[int], other: list[int]) -> None:
    from mdpo_objectives.losses.segments import changed_tokens

    sides = torch.tensor(one, dtype=torch.long), torch.tensor(other, dtype=torch.long)
    kept = [side[~changed].tolist() for side, changed in zip(sides, changed_tokens(*sides), strict=True)]
    assert kept[0] == kept[1]


@PROPERTY
@given(scores(("chosen", "rejected")), st.floats(0.01, 2), st.floats(0.05, 1))
def test_dmpo_discounts_turns(found: Scores, beta: float, gamma: float) -> None:
    values = values_of(made("loss", "dmpo", beta=beta, gamma=gamma), found)
    for row, value in enumerate(values.tolist()):
        score = []
        for view in ("chosen", "rejected"):
            side = tokens(found, view, row)
            last = max(turn for *_, turn in side)
            total = 0.0
            for turn in range(last):
                share = (last - turn) / last if gamma == 1 else (1 - gamma ** (last - turn)) / (1 - gamma**last)
                total += gamma**turn * share * sum(p - q for p, q, _, number in side if number == turn + 1)
            score.append(total)
        assert value == pytest.approx(-log_sigmoid(beta * (score[0] - score[1])), rel=1e-7, abs=1e-9)


@PROPERTY
@given(scores(BLIND), st.floats(0.01, 2), st.floats(0.1, 3), st.floats(0, 2) | st.just(1.0))
def test_v_dpo_guides_the_policy_by_the_picture(found: Scores, beta: float, guidance: float, bias: float) -> None:
    term = made("loss", "v_dpo", beta=beta, guidance=guidance, language_bias=bias, blank="blind")
    assert [str(view) for view in term.views()] == list(BLIND)
    values = values_of(term, found)
    for row, value in enumerate(values.tolist()):
        lp = {view: float(found.policy[view][row]) for view in BLIND}
        lq = {view: float(found.reference[view][row]) for view in BLIND}
        guided = [guidance * lp[v] - (guidance - 1) * lp[f"{v}@blind"] - lq[v] for v in ("chosen", "rejected")]
        seen = lp["chosen"] - lq["chosen"] - (lp["chosen@blind"] - lq["chosen@blind"])
        expected = -log_sigmoid(beta * (guided[0] - guided[1])) - bias * log_sigmoid(beta * seen)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@PROPERTY
@given(scores(BLIND), st.floats(0.01, 2), st.floats(0, 2))
def test_visual_tpo_weighs_tokens_by_what_the_picture_adds(found: Scores, beta: float, base: float) -> None:
    term = made("loss", "visual_tpo", beta=beta, base=base, noisy="blind")
    values = values_of(term, found)
    for row, value in enumerate(values.tolist()):
        score = []
        for view in ("chosen", "rejected"):
            shown, hidden = tokens(found, view, row), tokens(found, f"{view}@blind", row)
            matters = [sigmoid(p - noisy) for (p, *_), (noisy, *_) in zip(shown, hidden, strict=True)]
            weights = [base + (share if view == "chosen" else 1 - share) for share in matters]
            ratios = [p - q for p, q, *_ in shown]
            score.append(sum(weight * ratio for weight, ratio in zip(weights, ratios, strict=True)))
        assert value == pytest.approx(-log_sigmoid(beta * (score[0] - score[1])), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("term", "still"),
    [
        (made("loss", "v_dpo", guidance=1.5, language_bias=0.5), {"chosen@blank", "rejected@blank"}),
        (made("loss", "visual_tpo", base=0.5), {"chosen@noisy", "rejected@noisy"}),
    ],
)
def test_what_a_blind_policy_says_carries_no_gradient(term: Any, still: set[str]) -> None:
    policy = {str(view): torch.tensor([[-3.0, -4.0]], requires_grad=True) for view in term.views()}
    mask = torch.ones(1, 2, dtype=torch.bool)
    from mdpo_core import ScorerOutput, TokenLogProbs

    pairs = {View.parse(view): TokenLogProbs(values, mask) for view, values in policy.items()}
    others = {view: TokenLogProbs(tokens.values.detach() - 1, mask) for view, tokens in pairs.items()}
    term(Scores.from_tokens(ScorerOutput(pairs, others), torch.ones(1, dtype=torch.bool), {})).sum().backward()
    assert {view for view, values in policy.items() if values.grad is None or not values.grad.any()} == still


@PROPERTY
@given(
    scores(("chosen", "rejected"), {"scope": st.sampled_from([0.0, 1.0, 2.0])}),
    st.floats(0.01, 2),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_c3po_prefers_in_scope_and_keeps_answers_elsewhere(
    found: Scores, beta: float, general: float, near: float
) -> None:
    values = values_of(made("loss", "c3po", beta=beta, general=general, near=near), found)
    for row, value in enumerate(values.tolist()):
        sides = [log_ratios(found, view, row) for view in ("chosen", "rejected")]
        nll = -sum(p for p, *_ in tokens(found, "chosen", row)) / len(sides[0])
        expected = [-log_sigmoid(beta * (sum(sides[0]) - sum(sides[1]))), general * nll, near * nll]
        assert value == pytest.approx(expected[int(found.columns["scope"][row])], rel=1e-9, abs=1e-12)


def test_c3po_divergence_is_that_of_softened_distributions() -> None:
    from mdpo_objectives.losses.scoped_feedback import TemperedDivergence

    policy, reference = torch.tensor([[0.7, 0.2, 0.1]]).double(), torch.tensor([[0.5, 0.3, 0.2]]).double()
    for temperature in (1.0, 2.0):
        p, q = ([each ** (1 / temperature) for each in row[0].tolist()] for row in (policy, reference))
        p, q = ([each / sum(part) for each in part] for part in (p, q))
        expected = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        found = TemperedDivergence(temperature)(policy.log(), reference.log())
        assert found.item() == pytest.approx(expected, rel=1e-9)
    kept = made("loss", "c3po", k=0.5, temperature=2.0, general=0.25)
    [name] = kept.statistics()
    assert kept.statistics() == made("loss", "c3po", k=1, temperature=2.0).statistics()
    assert not made("loss", "c3po", k=0).statistics()
    from mdpo_core.types.scores import ByView

    sums = {"chosen": torch.tensor([-6.0]), "rejected": torch.tensor([-9.0])}
    tokens_ = {"chosen": torch.tensor([3]), "rejected": torch.tensor([5])}
    base = Scores.from_sums(sums, sums, tokens_, {"scope": torch.tensor([1.0])})
    from dataclasses import replace

    found = kept(replace(base, statistics={name: ByView({"chosen": torch.tensor([[0.3, 0.6, 0.0]])})}))
    assert found.item() == pytest.approx(0.25 * (0.5 * 2 + 0.5 * 4 * 0.3))


@PROPERTY
@given(scores(("chosen",), {"advantage": st.floats(-20, 20)}), st.floats(0.5, 5))
def test_hpo_is_likelihood_by_the_exponential_of_the_advantage(found: Scores, alpha: float) -> None:
    values = values_of(made("anchor", "hpo", weight=1, alpha=alpha), found)
    for row, value in enumerate(values.tolist()):
        weight = math.exp(float(found.columns["advantage"][row]) / alpha)
        assert value == pytest.approx(-weight * float(found.policy["chosen"][row]), rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "name", "options", "column", "value", "message"),
    [
        ("loss", "c3po", {}, "scope", 3.0, "a scope must be 0"),
        ("loss", "bco_unpaired", {}, "label", 0.5, "a label must be 0 or 1"),
        ("loss", "kto", {}, "label", -1.0, "a label must be 0 or 1"),
        ("loss", "spa", {}, "low_confidence", 2.0, "a label must be 0 or 1"),
        ("loss", "soft_dpo", {}, "preference_probability", 1.5, "a probability must be from 0 to 1"),
        ("loss", "sppo", {}, "chosen_probability", -0.1, "a probability must be from 0 to 1"),
        ("loss", "odpo", {}, "chosen_score", 0.0, "odpo needs scores that differ"),
        ("loss", "odpo", {}, "chosen_score", -1.0, "odpo with .* needs a chosen_score above the rejected_score"),
        ("loss", "odpo", {"offset": "linear"}, "chosen_score", 0.0, "odpo needs scores that differ"),
        ("loss", "gpo", {}, "rejected_score", math.inf, "must be a finite number, found"),
        ("loss", "wpo", {"weights": "columns"}, "chosen_weight", -1.0, "wpo needs finite weights of at least 0"),
        ("anchor", "hpo", {"weight": 1, "alpha": 1.0}, "advantage", math.nan, "must be a finite number, found"),
    ],
)
def test_senseless_column_is_refused_naming_the_example(
    kind: str, name: str, options: dict[str, Any], column: str, value: float, message: str
) -> None:
    term = made(kind, name, **options)
    columns = dict.fromkeys(term.columns(), 0.0) | {column: value}
    with pytest.raises(DataError, match=f"example 'row-7': {message}"):
        term.check_columns(Scores.of_columns("row-7", columns))


def test_tie_is_found_before_training_and_can_be_quarantined(llava: Path) -> None:
    rows = [
        Example(
            str(number), "What?", {"chosen": "A.", "rejected": "B."}, (), {"chosen_score": score, "rejected_score": 1}
        )
        for number, score in enumerate((2.0, 1.0, 3.0))
    ]
    encoder = made("adapter", "llava", path=str(llava), unusual_texts="keep").encoder()
    builder = BatchBuilder.for_terms([made("loss", "odpo")], {}, encoder, 2048, seed=0)
    checked = check_data(rows, builder, lambda done, total: None)
    assert checked.rows == [0, 2]
    assert "example '1': odpo needs scores that differ, found chosen_score = 1" in str(checked.bad[1][0])
    with pytest.raises(DataError, match="example '1': odpo needs scores that differ"):
        checked.require_valid(quarantine=False)


def test_metrics_of_rewards_are_about_pairs_in_scope() -> None:
    """A row out of scope has a rejected answer that nothing looks at."""
    sums = {"chosen": torch.tensor([-1.0, -9.0]), "rejected": torch.tensor([-9.0, -1.0])}
    still = {view: torch.full((2,), -5.0) for view in sums}
    tokens_ = {view: torch.full((2,), 3) for view in sums}
    found = Scores.from_sums(sums, still, tokens_, {"scope": torch.tensor([0.0, 1.0])})
    metrics = Objective({"c3po": made("loss", "c3po")})(found).metrics
    assert metrics["rewards/accuracy/c3po"].tolist() == [1.0]
    assert metrics["loss/c3po"].shape == (2,)
