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
_RANKS = {"rank", "ranking"}  # 1 is the best one
_MARGIN = re.compile(r"((score|reward|rating|preference)s?[ _.-])?margin", re.IGNORECASE)
_SWAP = re.compile(r"(is[ _.-])?(swap|swapped)([ _.-](answers|responses))?", re.IGNORECASE)
_BETTER = {"better", "preferred", "best", "winner", "winning"}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
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
    is_of_answer = any(_rest(column, answer) is not None or _says_better(column, answer) for answer in answers)
    is_sign = _MARGIN.fullmatch(column) is not None or _SWAP.fullmatch(column) is not None
    return is_of_answer or is_sign or says_preference(column) or is_preference(column, answers)


def contradiction(column: str, value: Any, answers: tuple[str, ...], values: Mapping[str, Any]) -> str | None:
    """What a column says against the order of the answers, of which the first is the better one; None: nothing."""
    if not may_order(column, answers):
        return None
    sign = _sign(column, value, answers)
    if sign is not None:
        return sign
    if isinstance(value, str) and says_preference(column):
        said = value.strip().casefold()
        if said in _TIES and "label" not in column.lower():
            return f"says {value!r}, so no answer is better"
        better, *others = (set(_names(answer, values)) for answer in answers)
        if said not in better and any(said in names for names in others):
            return f"prefers {value!r}, and the recipe prefers '{answers[0]}'"
    return _worse_number(column, value, answers, values)


def _sign(column: str, value: Any, answers: Sequence[str]) -> str | None:
    """That a column of true and false, or a margin, says that another answer is the better one."""
    number, flag = _number(value), _FLAGS.get(str(value).strip().casefold())
    if _MARGIN.fullmatch(column) and number is not None and number < 0:
        return f"is {number:g}, below 0, and the recipe prefers '{answers[0]}'"
    if _SWAP.fullmatch(column) and flag is True:
        return f"says {value!r}, and the recipe takes the answers as they are"
    for answer in answers:
        if flag is (answer != answers[0]) and _says_better(column, answer):
            return f"says {value!r}, and the recipe prefers '{answers[0]}'"
    return None


def _worse_number(column: str, value: Any, answers: Sequence[str], values: Mapping[str, Any]) -> str | None:
    """That the score of the better answer, in ``column``, is the lower one, or its rank the higher one."""
    word = _rest(column, answers[0])
    found = _number(value)
    if word not in _SCORES | _RANKS or found is None:
        return None
    for answer in answers[1:]:
        for other, its_value in values.items():
            beside = _number(its_value) if _rest(other, answer) == word else None
            if beside is not None and (found > beside if word in _RANKS else found < beside):
                than = "a worse rank than" if word in _RANKS else "lower than"
                return f"is {found:g}, {than} '{other}' ({beside:g}), and the recipe prefers '{answers[0]}'"
    return None


@lru_cache(maxsize=4096)
def _says_better(column: str, answer: str) -> bool:
    """Whether a column says by true and false that an answer is the better one: is_chosen_better."""
    words, own = _words(column), _words(answer)
    rest = [word for word in words if word not in own and word != "is"]
    return len(rest) == 1 and rest[0] in _BETTER and set(own) <= set(words)


def _names(answer: str, values: Mapping[str, Any]) -> Iterator[str]:
    """What a preference may call an answer: its column, or the model that wrote it."""
    yield from (answer.casefold(), _ANSWER.sub("", answer).casefold())
    for column, value in values.items():
        if isinstance(value, str) and _rest(column, answer) == "model":
            yield value.strip().casefold()


@lru_cache(maxsize=4096)
def _rest(column: str, answer: str) -> str | None:
    """``score`` for the column chosen_score or score_chosen of the answer chosen; None for a column of another kind."""
    words, own = _words(column), _words(answer)
    rest = [word for word in words if word not in own]
    return rest[0] if len(rest) == 1 and len(words) == len(own) + 1 else None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


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
