"""Words in their singular forms."""

from __future__ import annotations

import pytest
from mdpo_benchmarks.coco.normalizers import noun_lemmas, pattern_words, tagged_lemmas
from mdpo_benchmarks.coco.vocabulary import Vocabulary
from support.builders.coco_files import CHAIR
from support.small_nltk import small_nltk

VOCABULARY = Vocabulary.of_chair()
NAMED = {part for word in (*VOCABULARY.categories, *VOCABULARY.pairs) for part in word.split()}


def test_every_form_names_the_object_that_it_names_in_the_official_script() -> None:
    """Those that name none may differ, as "four", which pattern.en takes for the plural of "fmy"."""
    small_nltk()
    normalize = pattern_words()
    for form, singular in CHAIR["singularize"].items():
        if form == form.lower() and "'" not in form and form:
            [found] = normalize(form)
            assert found == singular or {found, singular}.isdisjoint(NAMED)


@pytest.mark.parametrize("lost", ["bus", "airbus", "minibus", "tennis", "ties", "canoes", "collies", "magpies"])
def test_words_that_pattern_loses_name_nothing(lost: str) -> None:
    small_nltk()
    assert not NAMED & set(pattern_words()(lost))


def test_lemmas_of_nouns_keep_men_and_people() -> None:
    small_nltk()
    assert noun_lemmas()("Two men, three women and People on buses") == [
        *("two", "men", ",", "three", "woman", "and", "people", "on", "bus"),
    ]


def test_lemmas_by_part_of_speech_take_only_nouns_for_nouns() -> None:
    small_nltk()
    # The small tagger takes "sits" for a verb, of which the small WordNet has none: it stays as it is.
    assert tagged_lemmas()("He sits near dogs") == ["he", "sits", "near", "dog"]
