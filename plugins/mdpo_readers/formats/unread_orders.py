"""Columns that say which answer is better, and that nothing reads: they must not contradict the answers' order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

_PREFERENCE = {
    *("preference", "preferences", "preferred", "label", "labels", "winner", "winners", "choice", "better", "best"),
    *("safer", "vote", "votes", "verdict", "judgment", "judgement", "rank", "ranks", "ranking", "overall", "chosen"),
}
_RATING = {"score", "scores", "rating", "ratings", "reward", "rewards", "rank", "preference", "votes"}
_SCORES = {"score", "rating", "reward"}  # a higher one is better
_NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<which>\d+|[ab]|left|right|first|second|one|two)$", re.IGNORECASE)
# What the name of an answer's column says beside the name of the answer: model_a_response.
_ANSWER = re.compile(r"[ _.-](response|answer|output|completion|reply|text)$", re.IGNORECASE)
_TIES = {"tie", "ties", "draw", "both", "neither", "equal", "same", "both_bad", "tie (bothbad)", "bothbad (tie)"}


def is_unordered(answers: Sequence[str]) -> bool:
    """Whether only a number or a letter tells the columns of the answers apart."""
    return bool(_numbers(tuple(answers)))


@lru_cache(maxsize=4096)
def is_preference(column: str, answers: tuple[str, ...]) -> bool:
    """Whether a column says which of unordered answers is better, by its name."""
    numbers = _numbers(answers)
    match = _NUMBERED.fullmatch(column)
    if numbers and match and match["which"].lower() in numbers and match["stem"].lower().rstrip("_") in _RATING:
        return True
    return bool(numbers) and says_preference(column)


@lru_cache(maxsize=4096)
def may_order(column: str, answers: tuple[str, ...]) -> bool:
    """Whether a column may say something about the order of the answers, by its name."""
    if len(answers) < 2:
        return False
    is_of_answer = any(_rest(column, answer) is not None for answer in answers)
    return is_of_answer or says_preference(column) or is_preference(column, answers)


def contradiction(column: str, value: Any, answers: tuple[str, ...], values: Mapping[str, Any]) -> str | None:
    """What a column says against the order of the answers, of which the first is the better one; None: nothing."""
    if not may_order(column, answers):
        return None
    if isinstance(value, str) and says_preference(column):
        said = value.strip().casefold()
        if said in _TIES and "label" not in column.lower():
            return f"says {value!r}, so no answer is better"
        better, *others = (set(_names(answer, values)) for answer in answers)
        if said not in better and any(said in names for names in others):
            return f"prefers {value!r}, and the recipe prefers '{answers[0]}'"
    return _lower_score(column, value, answers, values)


def _lower_score(column: str, value: Any, answers: Sequence[str], values: Mapping[str, Any]) -> str | None:
    """That the score of the better answer, in ``column``, is the lower one."""
    word = _rest(column, answers[0])
    score = _number(value)
    if word not in _SCORES or score is None:
        return None
    for answer in answers[1:]:
        for other, found in values.items():
            lower = _number(found) if _rest(other, answer) == word else None
            if lower is not None and score < lower:
                return f"is {score:g}, lower than '{other}' ({lower:g}), and the recipe prefers '{answers[0]}'"
    return None


def _names(answer: str, values: Mapping[str, Any]) -> Iterator[str]:
    """What a preference may call an answer: its column, or the model that wrote it."""
    yield from (answer.casefold(), _ANSWER.sub("", answer).casefold())
    for column, value in values.items():
        if isinstance(value, str) and _rest(column, answer) == "model":
            yield value.strip().casefold()


@lru_cache(maxsize=4096)
def _rest(column: str, answer: str) -> str | None:
    """``score`` for the column chosen_score or score_chosen of the answer chosen; None for a column of another kind."""
    words, own = ([word for word in re.split(r"[^a-z0-9]+", name.lower()) if word] for name in (column, answer))
    rest = [word for word in words if word not in own]
    return rest[0] if len(rest) == 1 and len(words) == len(own) + 1 else None


@lru_cache(maxsize=4096)
def says_preference(column: str) -> bool:
    """Whether a column says something of a preference, by its name."""
    return not _PREFERENCE.isdisjoint(re.split(r"[^a-z]+", column.lower()))


@lru_cache(maxsize=256)
def _numbers(answers: tuple[str, ...]) -> frozenset[str]:
    """``{1, 2}`` for answers that only a number or a letter tells apart; empty for answers that have names."""
    found = [_NUMBERED.fullmatch(_ANSWER.sub("", name)) for name in answers]
    matches = [match for match in found if match is not None]
    if len(answers) < 2 or len(matches) < len(answers) or len({match["stem"].lower() for match in matches}) > 1:
        return frozenset()
    return frozenset(match["which"].lower() for match in matches)


def _number(value: Any) -> float | None:
    """The finite number that a value is, or that a text writes; None for any other value."""
    try:
        found = None if isinstance(value, bool) or not isinstance(value, int | float | str) else float(value)
    except (ValueError, OverflowError):
        return None
    return found if found is not None and math.isfinite(found) else None
