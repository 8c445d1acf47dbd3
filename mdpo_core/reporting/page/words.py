"""The words in which two answers differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 3000  # the comparison takes the square of their number


class Words(NamedTuple):
    """A piece of an answer, and whether the other answer has it in the same place."""

    text: str
    differs: bool


def differences(one: str, other: str) -> tuple[list[Words], list[Words]]:
    """Both texts in pieces; joined, the pieces are the text. Very long texts count as equal after their first words."""
    first, second = _WORD.findall(one), _WORD.findall(other)
    matcher = SequenceMatcher(None, first[:_MOST_WORDS], second[:_MOST_WORDS], autojunk=False)
    left: list[Words] = []
    right: list[Words] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        left.append(Words("".join(first[a:b]), kind != "equal"))
        right.append(Words("".join(second[c:d]), kind != "equal"))
    left.append(Words("".join(first[_MOST_WORDS:]), False))
    right.append(Words("".join(second[_MOST_WORDS:]), False))
    return [each for each in left if each.text], [each for each in right if each.text]
