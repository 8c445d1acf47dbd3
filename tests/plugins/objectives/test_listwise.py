"""The loss of a list against the formula written out, and what a row's own order means."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.one_row import refused

from mdpo_core import DataError, Loss, RecipeError, Scores, View, component, load_recipe

VIEWS = ("chosen", "rejected", "chosen@crop", "rejected@crop")
REWARDS = st.lists(st.floats(-50, 50), min_size=2, max_size=4)


def listwise(number: int, **options: Any) -> Loss:
    made = component("loss", "listwise", order=VIEWS[:number], **options)
    assert isinstance(made, Loss)
    return made


def scores(rewards: list[list[float]], **columns: list[float]) -> Scores:
    """``rewards``: one list for each row, in the order of `VIEWS`."""
    values = torch.tensor(rewards, dtype=torch.float64)
    views = [View.parse(name) for name in VIEWS[: values.shape[1]]]
    policy = {view: values[:, place] for place, view in enumerate(views)}
    reference = {view: torch.zeros(len(rewards), dtype=torch.float64) for view in views}
    return Scores(
        policy,
        reference,
        {view: torch.ones(len(rewards)) for view in views},
        corruptible=torch.ones(len(rewards), dtype=torch.bool),
        columns={name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()},
        ids=tuple(str(row) for row in range(len(rewards))),
    )


def plackett_luce(rewards: list[float], beta: float) -> float:
    """The formula, written out: the negative log-prob of drawing the views in this order."""
    total = 0.0
    for place in range(len(rewards) - 1):
        most = max(rewards[place:])
        mass = sum(math.exp(beta * (each - most)) for each in rewards[place:])
        total -= beta * (rewards[place] - most) - math.log(mass)
    return total


@given(REWARDS, st.floats(0.01, 2))
def test_it_is_the_formula(rewards: list[float], beta: float) -> None:
    value = float(listwise(len(rewards), beta=beta)(scores([rewards])))
    assert value == pytest.approx(plackett_luce(rewards, beta), rel=1e-9, abs=1e-9)


@given(REWARDS)
def test_the_likelihoods_of_all_orders_sum_to_one(rewards: list[float]) -> None:
    loss = listwise(len(rewards), beta=0.1)
    assert sum(math.exp(-float(loss(scores([list(order)])))) for order in permutations(rewards)) == pytest.approx(1)


@given(REWARDS, st.floats(0.01, 2))
def test_the_softmax_form_is_softmax_dpo(rewards: list[float], beta: float) -> None:
    given_scores = scores([rewards])
    softmax: Any = component("loss", "softmax_dpo", beta=beta, over=VIEWS[1 : len(rewards)])
    value = listwise(len(rewards), beta=beta, form="softmax")(given_scores)
    torch.testing.assert_close(value, softmax(given_scores))


@given(st.data())
def test_ranks_order_the_views_of_each_row(data: st.DataObject) -> None:
    number = data.draw(st.integers(2, 4))
    rewards = data.draw(
        st.lists(st.lists(st.floats(-50, 50), min_size=number, max_size=number), min_size=1, max_size=3)
    )
    orders = [data.draw(st.permutations(range(number))) for _ in rewards]  # views from the best to the worst
    columns = {f"rank_{view}": [1.0 + order.index(view) for order in orders] for view in range(number)}
    loss = listwise(number, ranks=tuple(columns))
    expected = [plackett_luce([row[view] for view in order], 0.1) for row, order in zip(rewards, orders, strict=True)]
    assert loss(scores(rewards, **columns)).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("views", "found"), [("[chosen]", r"\['chosen'\]"), ("[]", r"\[\]")])
def test_a_list_of_one_view_is_refused_in_plain_words(views: str, found: str) -> None:
    with pytest.raises(RecipeError, match=rf"objective.0.order: needs at least 2 items, found {found}$"):
        load_recipe("quickstart", [f"objective.0={{loss: listwise, order: {views}}}"])


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("[chosen, [rejected]]", "order.1: a view is text such as 'chosen' or 'chosen@crop', found ['rejected']"),
        ("[chosen, null]", "order.1: a view is text such as 'chosen' or 'chosen@crop', found null"),
        ("[chosen, {a: b}]", "order.1: a view is text such as 'chosen' or 'chosen@crop', found {'a': 'b'}"),
        ("[chosen, '']", "order.1: '' is not a valid name of a response or condition; write 'chosen' or 'chosen@crop'"),
    ],
)
def test_a_view_that_is_none_is_the_only_problem_of_its_list(order: str, told: str) -> None:
    """The list is long enough, although pydantic counts only its valid items."""
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [f"objective.0={{loss: listwise, order: {order}}}"])
    assert str(caught.value).strip().endswith(f"objective.0.{told}")
    assert len(caught.value.problems) == 1


def test_a_short_list_of_a_view_that_is_none_has_two_problems() -> None:
    with pytest.raises(RecipeError, match="needs at least 2 items") as caught:
        load_recipe("quickstart", ["objective.0={loss: listwise, order: [[chosen]]}"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (
            1.0,
            "'1': listwise needs an order without ties (mend the ranks, or remove the row), found the ranks a = 1",
        ),
        (math.nan, "must be a fin"),
    ],
)
def test_rows_without_an_order_are_named(second: float, told: str) -> None:
    loss = listwise(2, ranks=("a", "b"))
    with pytest.raises(DataError) as caught:
        loss.check_columns(scores([[0, 0], [0, 0]], a=[1, 1], b=[2, second]))
    assert told in str(caught.value)


def test_the_softmax_form_needs_only_one_best_view() -> None:
    loss = listwise(3, form="softmax", ranks=("a", "b", "c"))
    tied = scores([[0.5, 0.2, -0.3]], a=[2], b=[1], c=[2])
    rewards = 0.1 * torch.tensor([0.5, 0.2, -0.3], dtype=torch.float64)
    torch.testing.assert_close(loss(tied), -rewards.log_softmax(-1)[1:2])
    with pytest.raises(DataError, match="listwise needs one best view"):
        loss.check_columns(scores([[0, 0, 0]], a=[1], b=[1], c=[2]))


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        ({"a": 1}, "the column 'b' is missing"),
        ({"a": 1, "b": None}, "rows.jsonl row 1: b: must be a finite number, found None"),
        ({"a": 1, "b": "second"}, "rows.jsonl row 1: b: must be a finite number, found 'second'"),
        ({"a": 1, "b": math.nan}, "rows.jsonl row 1: b: must be a finite number, found nan"),
        ({"a": 1, "b": [2]}, "rows.jsonl row 1: b: must be a finite number, found [2]"),
    ],
)
def test_ranks_that_are_no_numbers_are_refused_by_the_row(ranks: dict[str, Any], told: str, tmp_path: Path) -> None:
    row = {"prompt": "?", "chosen": "Yes.", "rejected": "No.", **ranks}
    assert told in refused(tmp_path, row, image=None, columns=["a", "b"])


def test_ranks_may_have_gaps() -> None:
    """Only their order counts: 2, 30 and 5 are the first, the last and the one between them."""
    loss, rewards = listwise(3, ranks=("a", "b", "c")), [[1.0, -2.0, 0.5]]
    gaps, none = (loss(scores(rewards, a=[a], b=[b], c=[c])) for a, b, c in ((2, 30, 5), (1, 3, 2)))
    assert gaps.equal(none)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("order: [chosen, rejected, chosen]", "a view has one place in the order; found chosen, rejected, chosen"),
        ("order: [chosen, rejected], ranks: [a, b]", r"needs the column 'a' .* data.columns: \[a\]"),
        ("order: [chosen, rejected], ranks: a", "objective.0.ranks: input should be a list, found 'a'"),
        ("order: [chosen, nochosen]", "needs the response 'nochosen'; did you mean 'chosen'"),
        ("order: [chosen, rejected], ranks: [a]", "ranks needs one column for each of the 2 views, found 1"),
        ("order: chosen", "objective.0.order: input should be a list, found 'chosen'"),
    ],
)
def test_lists_that_do_not_fit_are_refused_before_a_row_is_read(options: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe("quickstart", [f"objective.0={{loss: listwise, {options}}}"])
