"""The beginnings of a chosen answer that a model continues, and the new answer made from its continuations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from mdpo_core.words.sentences import first_sentence, sentences

if TYPE_CHECKING:
    import random

# The part of the chosen answer that a model sees: nothing, the beginning of each sentence, or a share of the words.
Keep: TypeAlias = "Literal['none', 'sentences'] | float"

# In scripts without spaces between words, each character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_OTHER = {"yes": "no", "no": "yes"}


class Beginning(NamedTuple):
    """A part of the chosen answer that a model continues.

    The model sees ``before`` and ``kept``. The new answer gets ``kept``, what the model adds, and ``after``.
    ``one_sentence``: only the first sentence that the model adds is taken.
    """

    before: str
    kept: str
    after: str = ""
    one_sentence: bool = False

    @property
    def beginning(self) -> str:
        """The text that the model continues, without a space at its end: tokenizers put it before the next word."""
        return (self.before + self.kept).rstrip(" ")

    def taken(self, added: str) -> str:
        """The part of the new answer made from this beginning and the model's words, ``added``."""
        more = first_sentence(added) if self.one_sentence else added
        if not self.kept and self.before.endswith(" "):
            more = more.lstrip(" ")  # ``before`` already ends with a space
        return self.kept + more + self.after if self.kept or more else ""


def beginnings_of(answer: str, keep: Keep, rng: random.Random) -> list[Beginning]:
    """The beginnings whose continuations together form a new answer.

    ``none`` keeps nothing; a number keeps that share of the words, rounded down (DropoutNTP, arXiv:2411.10442, keeps
    half); ``sentences`` cuts each sentence at a random word, after the true sentences before it (BDHS,
    arXiv:2407.02477). If the part that is cut off starts with yes or no, the other word replaces it in half of the
    cases.
    """
    if keep == "sentences":
        return _sentence_beginnings(answer, rng)
    if keep == "none":
        return [Beginning("", "")]
    words = _WORD.findall(answer)
    return [Beginning("", "".join(words[: int(keep * len(words))]))]


def _sentence_beginnings(answer: str, rng: random.Random) -> list[Beginning]:
    beginnings, before = [], ""
    for sentence in sentences(answer):
        text = sentence.rstrip()
        words = _WORD.findall(text)
        if words:
            num_kept = rng.randrange(len(words))
            kept, tail = "".join(words[:num_kept]), "".join(words[num_kept:])
            beginnings.append(Beginning(before, kept + _flipped(tail, rng), sentence[len(text) :], one_sentence=True))
        before += sentence
    return beginnings


def _flipped(tail: str, rng: random.Random) -> str:
    """The opposite of a yes or no at the start of a tail, in half of the cases; otherwise empty text."""
    match = _YES_OR_NO.match(tail)
    if match is None or rng.random() < 0.5:
        return ""
    word = match[1]
    other = _OTHER[word.lower()]
    as_written = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    return match[0][: -len(word)] + as_written


def assembled(beginnings: Sequence[Beginning], continuations: Sequence[str]) -> str:
    """The answer made from beginnings and their continuations, without white space at its end."""
    return "".join(each.taken(added) for each, added in zip(beginnings, continuations, strict=True)).rstrip()
