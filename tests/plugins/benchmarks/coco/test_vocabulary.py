"""The words for COCO's objects."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from mdpo_benchmarks.coco.vocabulary import Vocabulary
from support.builders.coco_files import CHAIR

VOCABULARY = Vocabulary.of_chair()
PARTS = sorted({part for pair in VOCABULARY.pairs for part in pair.split()} | {"seat", "a", "dog", "person"})
WORDS = st.lists(st.sampled_from(PARTS), max_size=12)


def test_pairs_of_words_are_the_official_ones() -> None:
    assert VOCABULARY.pairs == CHAIR["double_word_dict"]


def test_blank_before_a_word_keeps_it_from_being_found() -> None:
    assert {" motor bike", " cheesecake"} <= VOCABULARY.categories.keys()
    assert VOCABULARY.mentions(["motor", "bike"]).found == []
    refined = Vocabulary.of_object_halbench()
    assert [each.category for each in refined.mentions(["motor", "bike", "cheesecake"]).found] == ["motorcycle", "cake"]


def test_list_of_object_halbench_is_chairs_without_blanks_and_with_four_words_more() -> None:
    refined = Vocabulary.of_object_halbench()
    more = refined.categories.keys() - {word.strip() for word in VOCABULARY.categories}
    assert more == {"brother", "pedestrian", "coffee table", "remote control"}
    assert set(refined.pairs) - set(VOCABULARY.pairs) == {"dining table", "coffee table", "remote control"}


@given(WORDS)
def test_pairs_are_joined_from_left_to_right(words: list[str]) -> None:
    # The oracle is a regular expression on the text, which also takes the first match from the left.
    pairs = "|".join(sorted(VOCABULARY.pairs, key=len, reverse=True))
    marked = re.sub(rf"(?<![^ ])({pairs})(?![^ ])", lambda match: match[1].replace(" ", "+"), " ".join(words))
    expected = [VOCABULARY.pairs.get(word.replace("+", " "), word) for word in marked.split()]
    joined, places = VOCABULARY.joined(words)
    assert joined == expected
    assert [words[place] for place in places] == [word.split("+")[0] for word in marked.split()]
    found = {VOCABULARY.pairs[word.replace("+", " ")] for word in marked.split() if "+" in word}
    assert set(VOCABULARY.pairs_among(words)) == found


@given(WORDS)
def test_seat_of_a_toilet_is_no_chair(words: list[str]) -> None:
    mentions = VOCABULARY.mentions(words)
    if "toilet" in mentions.words:
        assert "seat" not in {each.word for each in mentions.found}
    assert [each.word for each in mentions.found] == [
        word
        for word in mentions.words
        if word in VOCABULARY.categories and not (word == "seat" and "toilet" in mentions.words)
    ]
