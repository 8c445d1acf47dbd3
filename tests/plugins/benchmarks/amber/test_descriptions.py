"""Descriptions: each noun is looked up on both sides, in the order of the official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amber import scored_at_once, written
from support.oracles.plain_amber import plain_amber

WORDS = ["sky", "dog", "puppy", "boat", "ship", "man", "light", "sea"]
SAFE = ["light", ""]
words = st.sampled_from(WORDS)
pairs = st.dictionaries(
    st.frozensets(words, min_size=2, max_size=2), st.sampled_from([0.3, 0.8, 0.80001, 1.0]), max_size=12
)
pictures = st.fixed_dictionaries(
    {
        "type": st.just("generative"),
        "truth": st.lists(words, min_size=1, max_size=4),
        "hallu": st.lists(words, min_size=1, max_size=4),
        "nouns": st.lists(st.sampled_from([*WORDS, "Sky", "image"]), max_size=8),
    }
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("amber")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(pictures, min_size=1, max_size=4),
    st.fixed_dictionaries({word: st.lists(words, max_size=3) for word in WORDS}),
    pairs,
    st.sampled_from([0.0, 0.5, 0.8, 1.0]),
)
def test_descriptions_are_scored_as_step_by_step(
    data: Path,
    drawn: list[dict[str, Any]],
    related: dict[str, list[str]],
    similar: dict[frozenset[str], float],
    threshold: float,
) -> None:
    rows = [{"id": place, **row} for place, row in enumerate(drawn, 1)]
    written(data, "annotations.json", rows)
    written(data, "relation.json", related)
    (data / "safe_words.txt").write_text("\n".join(SAFE))
    answers = [{"id": row["id"], "response": "", "nouns": row["nouns"]} for row in rows]
    table = written(data, "table.json", [[*pair, value] for pair, value in similar.items()])
    nouns = written(data, "nouns.json", {row["id"]: row["nouns"] for row in rows})
    score = scored_at_once(data, answers, task="g", similarity=f"table:{table}", threshold=threshold, nouns=nouns)
    printed, counters = plain_amber(rows, answers, related, SAFE, similar, threshold)
    assert score.metrics == {"Generative Task": printed["Generative Task"]}
    assert score.counts == {name: round(counters[name]) for name in score.counts}


def found_in(place: Path, nouns: list[str], similar: list[tuple[str, str, float]]) -> Any:
    written(place, "annotations.json", [{"id": 1, "type": "generative", "truth": ["sea"], "hallu": ["ship", "boat"]}])
    written(place, "relation.json", {word: [] for word in WORDS})
    (place / "safe_words.txt").write_text("\n".join(SAFE))
    files = {"nouns": written(place, "n.json", {1: nouns})}
    table = written(place, "t.json", similar)
    answers = [{"id": 1, "response": json.dumps(nouns)}]
    return scored_at_once(place, answers, task="g", similarity=f"table:{table}", **files).by_row[0]


def test_look_alike_before_the_equal_word_is_marked_besides_it(tmp_path: Path) -> None:
    row = found_in(tmp_path, ["boat"], [("boat", "ship", 0.9)])
    assert (row["likely"], row["hallucinated"]) == (["ship", "boat"], ["boat"])


def test_likely_word_that_is_similar_to_the_truth_is_on_both_sides(tmp_path: Path) -> None:
    row = found_in(tmp_path, ["boat"], [("boat", "sea", 0.9)])
    assert (row["likely"], row["covered"], row["hallucinated"]) == (["boat"], ["sea"], [])


def test_threshold_itself_is_not_similar_and_a_safe_word_only_counts(tmp_path: Path) -> None:
    row = found_in(tmp_path, ["puppy", "light", "Sky"], [("puppy", "sea", 0.8)])
    assert (row["counted"], row["hallucinated"], row["covered"]) == (["puppy", "light"], ["puppy"], [])
