"""What a search may choose: a range of numbers, or one of several values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdpo_core.errors import RecipeError
from mdpo_core.sweeping.grid import as_text, change, listed, read_value, require_sound, split_values

_WHOLE = re.compile(r"[+-]?\d+")
_FORM = "a range is LOW..HIGH, or LOW..HIGH:log"


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included, of which a search may choose any.

    Whole numbers if both ends are of type ``int``. ``log``: 1e-6 to 1e-5 is as likely as 1e-5 to 1e-4. Raises
    `RecipeError` for ends that are no such range.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Check the ends."""
        ends = (self.low, self.high)
        if any(isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) for end in ends):
            raise RecipeError(f"a range has two finite numbers as its ends, found {self.low!r} and {self.high!r}")
        if not self.low < self.high:
            raise RecipeError(f"a range goes from a smaller number to a larger one, found {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise RecipeError(f"a range on a log scale has numbers above 0, found {self.low}")

    @property
    def is_whole(self) -> bool:
        """Whether it has whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        """The range in words."""
        kind = "a whole number" if self.is_whole else "a number"
        return f"{kind} from {self.low} to {self.high}{' on a log scale' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """Values as texts of YAML; one alone is fixed."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        """The values, with commas between them."""
        return f"one of {', '.join(self.texts)}"


@dataclass(frozen=True)
class Space:
    """What may be chosen for each option."""

    options: Mapping[str, Range | Choice]

    @property
    def free(self) -> dict[str, Range | Choice]:
        """The options that have more than one value."""
        return {key: each for key, each in self.options.items() if not isinstance(each, Choice) or len(each.texts) > 1}

    def size(self) -> float:
        """How many points it has; infinity with a range of fractions."""
        return math.prod(map(_size, self.options.values()))

    def changes(self, chosen: Mapping[str, Any]) -> list[str]:
        """What follows ``--set``, for values by option: numbers of ranges, texts of choices."""
        return [f"{key}={_text(each, chosen.get(key))}" for key, each in self.options.items()]

    def corners(self) -> list[dict[str, Any]]:
        """A few points that together have both ends of each range, and each value of each choice."""
        ends = {key: _ends(each) for key, each in self.free.items()}
        number = max(map(len, ends.values()))
        return [{key: each[min(place, len(each) - 1)] for key, each in ends.items()} for place in range(number)]

    def to_dict(self) -> dict[str, str]:
        """What may be chosen, in words."""
        return {key: str(each) for key, each in self.options.items()}


def _size(each: Range | Choice) -> float:
    if isinstance(each, Choice):
        return len(each.texts)
    return each.high - each.low + 1 if each.is_whole else math.inf


def _ends(each: Range | Choice) -> Sequence[Any]:
    return each.texts if isinstance(each, Choice) else (each.low, each.high)


def _text(each: Range | Choice, value: Any) -> str:
    if isinstance(each, Range):
        return json.dumps(value)
    return str(each.texts[0] if value is None else value)


def space_of(values: Iterable[str] | Mapping[str, Any]) -> Space:
    """The space of texts ``KEY=LOW..HIGH``, ``KEY=LOW..HIGH:log`` and ``KEY=VALUE,VALUE``.

    Or of a mapping to a `Range`, one value or a sequence of them. Raises `RecipeError` for what is none of these, for
    an option that is named twice, and if there is nothing to choose.
    """
    found: dict[str, Range | Choice] = {}
    for key, each in _mapped(values) if isinstance(values, Mapping) else map(_parsed, values):
        require_sound(key, list(found))
        if isinstance(each, Choice):
            _require_choice(key, each)
        found[key] = each
    space = Space(found)
    if not space.free:
        raise RecipeError("no option has a range or more than one value, so there is nothing to search for")
    return space


def _mapped(values: Mapping[str, Any]) -> Iterable[tuple[str, Range | Choice]]:
    for key, value in values.items():
        yield str(key), value if isinstance(value, Range) else Choice(tuple(map(as_text, listed(value))))


def _parsed(assignment: str) -> tuple[str, Range | Choice]:
    key, equals, text = assignment.partition("=")
    where = f"{change()} {assignment}"
    if not equals or not all(key.split(".")):
        raise RecipeError(f"{where}: write it as section.key=LOW..HIGH, or as section.key=value,value,...")
    texts = [piece.strip() for piece in split_values(text)]
    ranges = [each for each in texts if _is_range(each)]
    if len(texts) > 1 and not all(texts):
        raise RecipeError(f"{where}: a value is missing beside a comma; an empty one is null")
    if not ranges:
        return key, Choice(tuple(texts))
    if len(texts) > 1:
        raise RecipeError(f"{where}: in a search, a range stands alone, without other values")
    try:
        return key, _range(ranges[0])
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _require_choice(key: str, choice: Choice) -> None:
    if not choice.texts:
        raise RecipeError(f"{key} has no value")
    read = [json.dumps(read_value(key, text), default=str) for text in choice.texts]
    if len(set(read)) < len(read):
        raise RecipeError(f"{change()} {key}={','.join(choice.texts)}: two values are the same; name each one once")


def _is_range(text: str) -> bool:
    """Whether a number stands before ``..``; what else has two points is a path or a word."""
    before, points, _ = text.partition("..")
    return bool(points) and _number(before) is not None


def _range(text: str) -> Range:
    before, _, rest = text.partition("..")
    after, colon, kind = rest.partition(":")
    low, high = _number(before), _number(after)
    if low is None or high is None or (colon and kind.strip() != "log"):
        raise RecipeError(f"{_FORM}, found {text}")
    return Range(low, high, bool(colon))


def _number(text: str) -> float | None:
    """A whole number where it is written as one; None for what is no number."""
    try:
        return int(text) if _WHOLE.fullmatch(text.strip()) else float(text)
    except ValueError:
        return None
