"""The values of each option, and the points of their grid."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdpo_core.errors import RecipeError
from mdpo_core.recipe.yaml_text import read_yaml
from mdpo_core.remedies import either, option
from mdpo_core.sweeping.names import name_of

_RANGE = re.compile(r"([+-]?\d+)\.\.([+-]?\d+)")
_FRACTIONS = re.compile(r"[^.,]+(\.\d+)?([eE][+-]?\d+)?\.\.[^,]*")
_CLOSING = {"[": "]", "{": "}"}
_MOST = 10_000


@dataclass(frozen=True)
class Axis:
    """An option and its values: as texts of YAML, and as these are read."""

    key: str
    texts: Sequence[str]

    @property
    def values(self) -> list[Any]:
        """What the texts say."""
        return [read_value(self.key, text) for text in self.texts]


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    ``name``: that of its directory. ``changes``: what follows ``--set``, of every option. ``told``: the values that the
    name does not say.
    """

    name: str
    changes: Sequence[str]
    told: str = ""


def axes_of(assignments: Iterable[str] | Mapping[str, Any]) -> list[Axis]:
    """The options and their values: of ``KEY=VALUE,VALUE`` texts, or of a mapping to one value or a sequence of them.

    Raises `RecipeError` for what is neither, and for an option that is named twice.
    """
    if isinstance(assignments, Mapping):
        found = [Axis(str(key), [as_text(each) for each in listed(value)]) for key, value in assignments.items()]
    else:
        found = [_axis(assignment) for assignment in assignments]
    for number, axis in enumerate(found):
        require_sound(axis.key, [before.key for before in found[:number]])
        if not axis.texts:
            raise RecipeError(f"{axis.key} has no value, so the sweep has no run")
    return found


def _axis(assignment: str) -> Axis:
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"{change()} {assignment}: write it as section.key=value,value,...")
    pieces = split_values(text)
    if len(pieces) > 1 and not all(piece.strip() for piece in pieces):
        raise RecipeError(f"{change()} {assignment}: a value is missing beside a comma; an empty one is null")
    return Axis(key, [value for piece in pieces for value in _expanded(assignment, piece)])


def change() -> str:
    """What stands before a value in messages."""
    return either("--set", "the change")


def require_sound(key: str, before: Sequence[str]) -> None:
    """Raise `RecipeError` if an option is named twice, or is not for a sweep to set."""
    if key in before:
        raise RecipeError(f"{key} is named twice; give all of its values at once: {key}=A,B")
    if key == "output" or key.startswith("output.dir"):
        raise RecipeError(
            f"{key} cannot be set in a sweep: each run has its own directory in the one of {option('--out DIR')}"
        )


def split_values(text: str) -> list[str]:
    """A text at its commas, but for those in brackets or in quotes, where YAML has them."""
    pieces, start, closing, quote = [], 0, "", ""
    for place, letter in enumerate(text):
        begins = not text[start:place].strip() or bool(closing)
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and begins:
            quote = letter
        elif letter in _CLOSING and begins:
            closing += _CLOSING[letter]
        elif closing and letter == closing[-1]:
            closing = closing[:-1]
        elif letter == "," and not closing:
            pieces.append(text[start:place])
            start = place + 1
    return [*pieces, text[start:]]


def _expanded(assignment: str, piece: str) -> list[str]:
    """The whole numbers of ``0..2``; anything else is one value."""
    where = f"{change()} {assignment}"
    found = _RANGE.fullmatch(piece.strip())
    if found is None:
        if _FRACTIONS.fullmatch(piece.strip()) and not piece.strip().startswith((".", "/", "~")):
            _require_no_fractions(where, piece)
        return [piece.strip()]
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise RecipeError(f"{where}: the range {piece.strip()} is empty; write {last}..{first}")
    if last - first >= _MOST:
        raise RecipeError(f"{where}: the range {piece.strip()} has more than {_MOST:,} values")
    return [str(number) for number in range(first, last + 1)]


def _require_no_fractions(where: str, piece: str) -> None:
    ends = piece.strip().split("..", 1)
    try:
        for end in ends:
            float(end.partition(":")[0])
    except ValueError:
        return  # a path, or a word
    raise RecipeError(
        f"{where}: {piece.strip()} is a range of fractions; a grid has ranges of whole numbers, 0..2, or values "
        f"between commas; {either('with --search N', 'search()')} takes such a range"
    )


def listed(value: Any) -> Sequence[Any]:
    """The values of a sequence, or one value alone."""
    return list(value) if isinstance(value, list | tuple | range | set | frozenset) else [value]


def as_text(value: Any) -> str:
    """A value of Python as YAML has it."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{value!r} is not a value that a recipe can have: {error}") from error


def read_value(key: str, text: str) -> Any:
    """What a text of YAML says. Raises `RecipeError` for one that says nothing."""
    node = read_yaml(text, lambda line: f"{change()} {key}={text}")
    return None if node is None else node.plain()


def points_of(axes: Sequence[Axis]) -> list[Point]:
    """A point for each combination of values; the last option changes fastest.

    Raises `RecipeError` if there is one combination alone, or if two points have the same values.
    """
    differing = [axis for axis in axes if len(axis.texts) > 1]
    if not differing:
        raise RecipeError("no option has more than one value, so there is one run alone; start it with run, not sweep")
    total = 1
    for axis in axes:
        total *= len(axis.texts)
        if total > _MOST:
            raise RecipeError(f"the grid has more than {_MOST:,} points; sweep over fewer values")
    found = list(_points(axes, differing))
    [(name, number)] = Counter(point.name for point in found).most_common(1)
    if number > 1:
        raise RecipeError(f"two points of the grid are the same: {name}; name each value once")
    return found


def _points(axes: Sequence[Axis], differing: Sequence[Axis]) -> Iterator[Point]:
    """All points, with their names."""
    values = {axis.key: axis.values for axis in differing}
    for indices in itertools.product(*(range(len(axis.texts)) for axis in axes)):
        chosen = {axis.key: index for axis, index in zip(axes, indices, strict=True)}
        name = name_of({key: each[chosen[key]] for key, each in values.items()})
        yield Point(name, [f"{axis.key}={axis.texts[chosen[axis.key]]}" for axis in axes])
