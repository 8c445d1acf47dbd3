"""The words of a caption, each in its singular form: in the three ways that scripts make them, and without NLTK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from mdpo_benchmarks.nltk_parts import lemmatizer, tagger, tokenizer

SINGULAR_FORMS = Path(__file__).parent / "coco_singular_forms.json"
Normalizer = Callable[[str], list[str]]
_WORD_OR_MARK = re.compile(r"\w+(?:[-/]\w+)*|'\w+|[^\w\s]")
# WordNet's parts of speech by the first letter of the Penn Treebank's tags.
_PARTS = {"J": "a", "V": "v", "N": "n", "R": "r"}

# What pattern.en makes of words that name no object, and of endings.
_NO_OBJECTS = {
    **{word: word for word in ("cookies", "doggies", "news", "zombies")},
    "data": "datum",
    "four": "fmy",
    "passers-by": "passer-by",
    "'s": "'",
}
_ENDINGS = [
    (re.compile("'$"), "'s"),
    (re.compile("(?<=[^aeiouy])ies$"), "y"),
    (re.compile("(?<=x)es$"), ""),
    (re.compile("(?<=..)s$"), ""),
]


def pattern_words() -> Normalizer:
    """The words as pattern.en makes them singular: the official CHAIR script's.

    COCO's words come from a table of what pattern.en gives. A word that is not there names no object of COCO: it gets
    the ending that pattern.en gives to most such words, unless a word of COCO's would come out.
    """
    return _singulars(tokenizer())


def plain_words() -> Normalizer:
    """As `pattern_words`, but NLTK does not find the words: they are letters and digits, and each mark is one.

    A hyphen or a slash between letters belongs to the word; an apostrophe begins a word. NLTK also knows abbreviations.
    """
    return _singulars(_WORD_OR_MARK.findall)


def _singulars(tokenize: Callable[[str], list[str]]) -> Normalizer:
    forms: dict[str, str] = json.loads(SINGULAR_FORMS.read_text())["forms"]
    singulars = set(forms.values())

    @cache
    def singular(word: str) -> str:
        bare = _NO_OBJECTS.get(word) or _without_ending(word)
        return forms.get(word) or (word if bare in singulars else bare)

    return lambda caption: [singular(word) for word in tokenize(caption.lower())]


def _without_ending(word: str) -> str:
    for ending, instead in _ENDINGS:
        if ending.search(word):
            return ending.sub(instead, word)
    return word


def noun_lemmas() -> Normalizer:
    """Each word's lemma in WordNet, as if it were a noun: Object HalBench's."""
    tokenize, lemmatize = tokenizer(), lemmatizer()
    return lambda caption: [lemmatize(word, "n") for word in tokenize(caption.lower())]


def tagged_lemmas() -> Normalizer:
    """Each word's lemma in WordNet as the part of speech that it has here; a noun if it has none of WordNet's."""
    tokenize, lemmatize, tag = tokenizer(), lemmatizer(), tagger()

    def words(caption: str) -> list[str]:
        return [lemmatize(word, _PARTS.get(mark[:1], "n")) for word, mark in tag(tokenize(caption.lower()))]

    return words
