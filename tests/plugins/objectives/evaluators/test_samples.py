"""The evaluator of sample answers, by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_objectives.evaluators.samples import Samples, found_words
from support.paths import RECIPES

from mdpo_core import DataError, Example, LazyRows, RecipeError, Sample, Turn, load_recipe

WORDS = ["dog", "traffic light", "cat", "St. Bernard", "naïve"]


class Answers:
    """A policy with these rows that always answers the same."""

    def __init__(self, held_out: Sequence[Example], trained_on: Sequence[Example], answer: str = "a dog") -> None:
        self.held_out, self.trained_on, self.answer = held_out, trained_on, answer
        self.kept: list[Sample] = []
        self.asked: list[tuple[int, float]] = []

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        self.asked.append((max_new_tokens, temperature))
        return [self.answer for _ in examples]

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        self.kept += samples


class Damaged(LazyRows):
    """Ten rows, of which the first two cannot be read."""

    def __len__(self) -> int:
        return 10

    def row(self, number: int) -> Example:
        if number < 2:
            raise DataError("a damaged row")
        return rows(10)[number]


def rows(number: int, chosen: str = "a cat") -> list[Example]:
    return [Example(f"{index}", "What?", {"chosen": chosen, "rejected": "a car"}) for index in range(number)]


def evaluated(policy: Answers, **options: Any) -> dict[str, float]:
    return dict(Samples(**options).evaluate(policy, Path("unused"), 0))  # type: ignore[arg-type]


def test_the_first_held_out_rows_are_asked_greedily() -> None:
    policy = Answers(rows(9), rows(20))
    assert evaluated(policy, rows=3, max_new_tokens=7) == {"words": 2.0}
    assert [(each.row.id, each.answer, each.held_out) for each in policy.kept] == [
        (f"{index}", "a dog", True) for index in range(3)
    ]
    assert policy.asked == [(7, 0.0)]


def test_rows_of_the_training_are_asked_where_none_are_held_out() -> None:
    policy = Answers((), rows(2))
    evaluated(policy, rows=4)
    assert [(each.row.id, each.held_out) for each in policy.kept] == [("0", False), ("1", False)]


def test_rows_that_cannot_be_read_are_passed_over() -> None:
    policy = Answers((), Damaged())
    evaluated(policy, rows=3)
    assert [each.row.id for each in policy.kept] == ["2", "3", "4"]


def test_listed_words_are_marked_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("dog\ncat\n\n  traffic   light \ndog\n")
    policy = Answers(rows(2), (), "A DOG, a traffic light and dogs")
    assert evaluated(policy, words=file) == {"words": 7.0, "listed": 2.0, "listed_not_chosen": 2.0}
    assert [each.words for each in policy.kept] == [("dog", "traffic light")] * 2
    same = Answers(rows(2, chosen="the dog"), (), "A DOG, a traffic light and dogs")
    assert evaluated(same, words=file)["listed_not_chosen"] == 1.0


def test_a_conversation_is_compared_by_what_the_assistant_says(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("dog\n")
    turns = (Turn("assistant", "A dog."), Turn("user", "Sure?"), Turn("assistant", "Yes."))
    policy = Answers([Example("1", "?", {"chosen": turns})], ())
    assert evaluated(policy, words=tmp_path / "words.txt") == {"words": 2.0, "listed": 1.0, "listed_not_chosen": 0.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the file does not exist"),
        (b"\n \n", "has no word; write one word or phrase a line"),
        (b"caf\xe9\n", "is not text in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_the_recipe(
    content: bytes | None, message: str, tmp_path: Path, changes: list[str]
) -> None:
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    evaluators = f"evaluators=[{{evaluator: samples, words: {tmp_path / 'words.txt'}}}]"
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, evaluators])
    assert "evaluators.0.words" in str(error.value)
    with pytest.raises(ValueError, match=message):
        Samples(words=tmp_path / "words.txt")


def test_a_folder_is_not_a_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        Samples(words=tmp_path)


@given(st.lists(st.sampled_from([*WORDS, "dogs", "a", "light", ",", "."]), max_size=8), st.sets(st.sampled_from(WORDS)))
def test_words_are_found_whole_in_any_case_each_once(parts: list[str], listed: set[str]) -> None:
    expected = tuple(word for word in WORDS if word in listed and word in parts)
    text = " ".join(part.upper() if index % 2 else part for index, part in enumerate(parts))
    assert sorted(found_words(text, [word for word in WORDS if word in listed])) == sorted(expected)
