"""What of a reference answer a model is given to go on from, and what of its words is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import random

# What of the chosen answer a model is given: nothing, the beginning of each sentence, or this share of the words.
Keep: TypeAlias = "Literal['none', 'sentences'] | float"

# Where no spaces stand between words, each character is one.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
# A number with a dot that begins a line is one of a list, and a sentence goes on behind it.
_SENTENCE_END = re.compile(
    r"(?<!^\d)(?<!^\d\d)(?:[.!?]+[\"')\]\u201d\u2019]*(?=\s|$)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019]*)|\n",
    re.MULTILINE,
)
_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_OTHER = {"yes": "no", "no": "yes"}


class Beginning(NamedTuple):
    """A model goes on behind ``beginning``; ``kept``, what it adds and ``after`` are taken.

    ``one_sentence``: only to the end of the sentence.
    """

    before: str
    kept: str
    after: str = ""
    one_sentence: bool = False

    @property
    def beginning(self) -> str:
        """What stands before, without the space at its end: tokenizers have that at the beginning of the next word."""
        return (self.before + self.kept).rstrip(" ")

    def taken(self, added: str) -> str:
        """What the answer gets of this piece, with what a model added to it."""
        more = first_sentence(added) if self.one_sentence else added
        if not self.kept and self.before.endswith(" "):
            more = more.lstrip(" ")  # which is there already
        return self.kept + more + self.after if self.kept or more else ""


def beginnings_of(answer: str, keep: Keep, rng: random.Random) -> list[Beginning]:
    """The pieces whose continuations, one behind the other, are another answer.

    ``none`` keeps nothing; a number keeps that share of the words, rounded down (DropoutNTP, arXiv:2411.10442, keeps
    half); ``sentences`` cuts each at a random word, behind the true ones before it (BDHS, arXiv:2407.02477), and turns
    a leading yes or no that is cut off into the other in half of the cases.
    """
    if keep == "sentences":
        return _sentence_beginnings(answer, rng)
    if keep == "none":
        return [Beginning("", "")]
    words = _WORD.findall(answer)
    return [Beginning("", "".join(words[: int(keep * len(words))]))]


def _sentence_beginnings(answer: str, rng: random.Random) -> list[Beginning]:
    found, before = [], ""
    for sentence in sentences(answer):
        text = sentence.rstrip()
        words = _WORD.findall(text)
        if words:
            num_kept = rng.randrange(len(words))
            kept, tail = "".join(words[:num_kept]), "".join(words[num_kept:])
            found.append(Beginning(before, kept + _flipped(tail, rng), sentence[len(text) :], one_sentence=True))
        before += sentence
    return found


def _flipped(tail: str, rng: random.Random) -> str:
    """The other word, in half of the cases where a tail begins with yes or no; else nothing."""
    match = _YES_OR_NO.match(tail)
    if match is None or rng.random() < 0.5:
        return ""
    word = match[1]
    other = _OTHER[word.lower()]
    as_written = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    return match[0][: -len(word)] + as_written


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the space behind it; together they are the text.

    A sentence ends with its mark (. ! ?) before a space, or with its line. Abbreviations are not known.
    """
    found, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
        if text[start : match.end()].strip() and end > start:
            found.append(text[start:end])
            start = end
    return [*found, text[start:]] if start < len(text) else found


def first_sentence(text: str) -> str:
    """A text up to where its first sentence ends, without the space behind."""
    return sentences(text)[0].rstrip() if text.strip() else ""


def ends_a_sentence(text: str) -> bool:
    """Whether a sentence ends anywhere in it."""
    return _SENTENCE_END.search(text) is not None


def assembled(pieces: Sequence[Beginning], continuations: Sequence[str]) -> str:
    """The answer that pieces and what a model added to each give."""
    return "".join(piece.taken(added) for piece, added in zip(pieces, continuations, strict=True)).strip()
