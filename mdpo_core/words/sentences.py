"""The sentences of a text."""

from __future__ import annotations

import re

# A number with a dot at the start of a line numbers a list: the sentence continues after it.
_SENTENCE_END = re.compile(
    r"(?<!^\d)(?<!^\d\d)(?:[.!?]+[\"')\]\u201d\u2019]*(?=\s|$)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019]*)|\n",
    re.MULTILINE,
)


def sentences(text: str) -> list[str]:
    """Split a text into sentences, each with the space after it.

    A sentence ends with a mark (. ! ?) before a space, or with its line. So an abbreviation also ends a sentence.
    """
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
        if text[start : match.end()].strip() and end > start:
            parts.append(text[start:end])
            start = end
    return [*parts, text[start:]] if start < len(text) else parts


def first_sentence(text: str) -> str:
    """The first sentence of a text, without the space after it."""
    return sentences(text)[0].rstrip() if text.strip() else ""


def ends_a_sentence(text: str) -> bool:
    """Whether a sentence ends anywhere in a text."""
    return _SENTENCE_END.search(text) is not None
