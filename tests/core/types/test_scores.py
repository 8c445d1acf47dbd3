"""Scores: sums, log-ratios and margins, and what a term may see of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core import Loss, Probe, Scores, Statistic, View
from mdpo_core.testing import scores
from mdpo_core.types.scores import ScorerOutput, TokenLogProbs

CHOSEN, CROPPED, REJECTED = View("chosen"), View("chosen", "crop"), View("rejected")
PROPERTY = settings(deadline=None, max_examples=num_examples(20, 40))


def by_hand(**changes: Any) -> Scores:
    policy = {"chosen": torch.tensor([-1.0, -2.0]), "chosen@crop": torch.tensor([-5.0, -7.0])}
    reference = {"chosen": torch.tensor([-4.0, -4.0]), "chosen@crop": torch.tensor([-6.0, -6.0])}
    return Scores.from_sums(**{"policy": policy, "reference": reference, **changes})


@PROPERTY
@given(scores([CHOSEN, CROPPED, REJECTED]))
def test_sums_are_those_of_the_tokens_that_the_mask_counts(found: Scores) -> None:
    for sums, tokens in ((found.policy, found.policy_tokens), (found.reference, found.reference_tokens)):
        for view, (values, mask) in tokens.items():
            for row in range(len(found.corruptible)):
                counted = [value for value, counts in zip(values[row].tolist(), mask[row], strict=True) if counts]
                assert float(sums[view][row]) == pytest.approx(math.fsum(counted), rel=1e-12)
                assert int(found.num_tokens[view][row]) == len(counted)


def test_log_ratio_and_margin_are_the_documented_differences() -> None:
    """A log-ratio is policy minus reference, and a margin the difference of two log-ratios."""
    found = by_hand()
    assert found.log_ratio("chosen").tolist() == [3.0, 2.0]
    assert found.log_ratio(CROPPED).tolist() == [1.0, -1.0]
    assert found.margin("chosen", "chosen@crop").tolist() == [2.0, 3.0]


@PROPERTY
@given(scores([CHOSEN, REJECTED]))
def test_a_margin_changes_its_sign_when_its_views_change_places(found: Scores) -> None:
    assert found.margin("chosen", "rejected").equal(-found.margin("rejected", "chosen"))


@PROPERTY
@given(scores([CHOSEN, REJECTED], indifferent=True))
def test_a_policy_that_is_the_reference_has_no_log_ratio(found: Scores) -> None:
    assert not found.log_ratio("chosen").any()
    assert not found.margin("chosen", "rejected").any()


def test_a_view_is_found_by_its_text_and_by_itself() -> None:
    sums = by_hand().policy
    assert sums["chosen@crop"] is sums[CROPPED]
    assert CROPPED in sums
    assert REJECTED not in sums
    assert list(sums) == [CHOSEN, CROPPED]


def test_a_view_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"view 'rejected' was not declared in views\(\); declared: chosen, chosen@crop"):
        by_hand().policy["rejected"]
    with pytest.raises(KeyError, match="declared: none"):
        by_hand(reference=None).log_ratio("chosen")


@pytest.mark.parametrize("shape", [(3,), (2, 1), ()])
def test_sums_of_other_shapes_are_refused_and_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"sums of log-probs are \(batch,\), one shape for all views; found") as caught:
        by_hand(policy={"chosen": torch.zeros(2), "rejected": torch.zeros(shape)})
    assert str(shape) in str(caught.value)


class OfChosen(Loss):
    """Reads 'chosen', a column, a statistic and a probe."""

    def views(self) -> tuple[View, ...]:
        return (CHOSEN,)

    def columns(self) -> tuple[str, ...]:
        return ("weight",)

    def statistics(self) -> dict[str, Statistic]:
        return {"entropy": Statistic(lambda policy, _: policy[:, 0])}

    def probes(self) -> dict[str, Probe]:
        return {"value": Probe(lambda _, width: torch.nn.Linear(width, 1))}

    def __call__(self, scores: Scores) -> torch.Tensor:
        return scores.policy["chosen"]


@pytest.mark.parametrize(("reference", "tokens"), [(True, True), (True, False), (False, True), (False, False)])
@PROPERTY
@given(found=scores([CHOSEN, CROPPED, REJECTED], {"weight": st.floats(0, 1), "label": st.floats(0, 1)}))
def test_a_term_sees_what_it_declared_and_nothing_else(reference: bool, tokens: bool, found: Scores) -> None:
    cls = type("Declares", (OfChosen,), {"__module__": __name__, "needs_reference": reference, "needs_tokens": tokens})
    others = dict.fromkeys(("entropy", "value", "other"), found.policy)
    seen = replace(found, statistics=others).seen_by(cls(), {"shift": 2.0}, others)
    assert list(seen.policy) == list(seen.num_tokens) == [CHOSEN]
    assert list(seen.reference) == [CHOSEN] * reference
    assert list(seen.policy_tokens) == list(seen.responses) == [CHOSEN] * tokens
    assert list(seen.reference_tokens) == [CHOSEN] * (reference and tokens)
    assert seen.policy[CHOSEN] is found.policy[CHOSEN]
    assert list(seen.columns) == ["weight"]
    assert seen.running == {"shift": 2.0}
    for mapping, name in ((seen.statistics, "entropy"), (seen.probes, "value")):
        assert {name: list(values) for name, values in mapping.items()} == {name: [CHOSEN]}


@pytest.mark.parametrize(
    ("declared", "read", "message"),
    [
        ({"needs_reference": False}, "reference", "has no reference here: the term says needs_reference = False"),
        ({"needs_reference": False}, "reference_tokens", "has no tokens here: the term does not say needs_tokens"),
        (
            {"needs_reference": False, "needs_tokens": True},
            "reference_tokens",
            "has no reference here: the term says needs_reference = False",
        ),
        ({}, "policy_tokens", "has no tokens here: the term does not say needs_tokens = True"),
        ({}, "responses", "has no tokens here: the term does not say needs_tokens = True"),
    ],
)
def test_value_hidden_from_term_names_the_missing_declaration(
    declared: dict[str, bool], read: str, message: str
) -> None:
    term = type(
        "Declares", (OfChosen,), {"__module__": __name__, "statistics": no_more, "probes": no_more, **declared}
    )()
    seen = by_hand(columns={"weight": torch.ones(2)}).seen_by(term, {}, {})
    with pytest.raises(KeyError, match=message):
        getattr(seen, read)["chosen"]


def no_more(self: object) -> dict[str, Any]:
    return {}


def test_row_data_follows_scores_to_their_device() -> None:
    # The only other device that every machine has: it holds no numbers, and mixes with no other.
    tokens = TokenLogProbs(torch.zeros(2, 3, device="meta"), torch.ones(2, 3, dtype=torch.bool, device="meta"))
    found = Scores.from_tokens(
        ScorerOutput({CHOSEN: tokens}, {CHOSEN: tokens}, {}), torch.ones(2, dtype=torch.bool), {"weight": torch.ones(2)}
    )
    assert {found.corruptible.device.type, found.columns["weight"].device.type} == {"meta"}
    torch.where(found.corruptible, found.log_ratio(CHOSEN) * found.columns["weight"], 0)


def test_scores_by_hand_apply_to_every_row() -> None:
    assert by_hand().corruptible.tolist() == [True, True]
