"""Where the sentences of a text end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.words.sentences import ends_a_sentence, first_sentence, sentences

WORDS = st.sampled_from(["A", "cat,", "sits.", "No", "dogs!", "3.5", "1.", "\n", "(why?)", "猫", "です。"])
TEXTS = st.lists(WORDS, min_size=1, max_size=20).map(" ".join)


@given(st.one_of(TEXTS, st.text()))
def test_the_sentences_of_a_text_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A cat. No, 3.5 dogs!  Yes?", ["A cat. ", "No, 3.5 dogs!  ", "Yes?"]),
        ("1. One.\n2. Two.\n12. More", ["1. One.\n", "2. Two.\n", "12. More"]),
        ('He said "go." Then left', ['He said "go." ', "Then left"]),
        ("a title\n\nand a line", ["a title\n\n", "and a line"]),
        ("猫。犬です！", ["猫。", "犬です！"]),  # noqa: RUF001  # Japanese has these marks
        ("", []),
    ],
)
def test_a_sentence_ends_with_its_mark_or_its_line(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def test_first_sentence_of_continuation_keeps_leading_space() -> None:
    assert first_sentence(" red roof. And more.") == " red roof."
    assert first_sentence(" \n ") == ""
    assert not ends_a_sentence(" red roof")


@given(st.one_of(TEXTS, st.text()))
def test_the_first_sentence_begins_the_text_and_is_one_sentence(text: str) -> None:
    first = first_sentence(text)
    assert text.startswith(first)
    assert bool(first.strip()) == bool(text.strip())
    assert first_sentence(first) == first
