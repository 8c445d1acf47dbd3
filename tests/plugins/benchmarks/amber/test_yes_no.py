"""Yes/no questions: the counters and their roundings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amber import scored_at_once, written
from support.oracles.plain_amber import plain_amber

KINDS = [
    "discriminative-attribute-state",
    "discriminative-attribute-number",
    "discriminative-attribute-action",
    "discriminative-hallucination",
    "discriminative-relation",
    "relation",
]
NAMES = {
    "de": ["Exsitence"],
    "da": ["Attribute", "State", "Number", "Action"],
    "dr": ["Relation"],
    "d": ["Descriminative Task", "Exsitence", "Attribute", "State", "Number", "Action", "Relation"],
}
questions = st.fixed_dictionaries(
    {
        "type": st.sampled_from(KINDS),
        "truth": st.sampled_from(["yes", "no"]),
        "response": st.sampled_from(["Yes", "No", "no", "Yes.", "NO", "", "Maybe"]),
        "times": st.integers(1, 90),
    }
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("amber")


@settings(max_examples=50, deadline=None)
@given(st.lists(questions, min_size=1, max_size=15), st.sampled_from(list(NAMES)))
def test_questions_are_scored_as_step_by_step(data: Path, drawn: list[dict[str, Any]], task: str) -> None:
    asked = [each for each in drawn for _ in range(each["times"])]
    rows = [{"id": place, **each} for place, each in enumerate(asked, 1)]
    written(data, "annotations.json", rows)
    score = scored_at_once(data, rows, task=task)
    printed, counters = plain_amber(rows, rows, {}, [], {}, 0.8)
    assert list(score.metrics.items()) == [(name, printed[name]) for name in NAMES[task]]
    assert score.counts == {name: round(counters[name]) for name in score.counts}


@pytest.mark.parametrize("right", [119, 759])  # in both cases the exact F1 ends in 5 behind the rounded digit
def test_f1_is_rounded_as_the_official_script_computes_it(right: int, data: Path) -> None:
    rows = [
        {"id": i, "type": KINDS[3], "truth": "no", "response": "No" if i <= right else "Yes"} for i in range(1, 1001)
    ]
    written(data, "annotations.json", rows)
    printed, _ = plain_amber(rows, rows, {}, [], {}, 0.8)
    assert scored_at_once(data, rows, task="de").metrics["Exsitence"] == printed["Exsitence"]
