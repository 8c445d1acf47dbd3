"""The names that terms and corruptions read from a row, and the readers that can give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from types import NoneType
from typing import TYPE_CHECKING, cast

from mdpo_core.errors import PluginError, Problem, shown
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.registry.discovery import current_registry
from mdpo_core.types.example import Example, ExampleField
from mdpo_core.types.view import CLEAN

if TYPE_CHECKING:
    from mdpo_core.interfaces.corruption import Corruption
    from mdpo_core.interfaces.reader import Reader
    from mdpo_core.interfaces.term import Term

_SHOWN: Mapping[ExampleField, str] = {
    "responses": "response",
    "columns": "column",
    "other_images": "other image",
    "other_prompts": "other prompt",
    "vectors": "vector",
    "boxes": "boxes",
}


@dataclass(frozen=True)
class Need:
    """A name in a field of every row; with ``needs_image``, of every row that has an image."""

    field: ExampleField
    name: str
    condition: str = CLEAN
    needs_image: bool = False

    def __str__(self) -> str:
        return f"the {_SHOWN[self.field]} '{self.name}'"

    def lack(self, example: Example) -> str | None:
        """What a row lacks, with what it has; None if it has the name."""
        names = getattr(example, self.field)
        if self.name in names and not _is_empty(self.field, names[self.name]):
            return None
        if self.needs_image and not example.images:
            return None  # a row without an image is not corrupted
        if self.name in names:
            return f"{self}, which is empty in this row"
        return f"{self}; the data has {', '.join(names) or 'none'}{self.hint()}"

    def hint(self) -> str:
        """``; reader 'pairs' gives it with ...`` for each reader that can give it, or nothing."""
        readers = cast("Mapping[str, type[Reader]]", current_registry().components("reader"))
        ways = []
        for name, cls in sorted(readers.items()):
            source, ask = f"option_for() of the reader '{name}'", partial(cls.option_for, self.field, self.name)
            ways.append((name, told_by_plugin(source, ask, (str, NoneType), "text or None")))
        return "".join(f"; reader '{name}' gives it with {way}" for name, way in ways if way is not None)


def _is_empty(field: ExampleField, value: object) -> bool:
    if field == "boxes":
        return not any(cast("Iterable[object]", value))  # no image has a box
    return field in ("other_images", "vectors") and not value


def columns_of_term(term: Term) -> tuple[str, ...]:
    """The data columns that a term and its strengths read."""
    of_strengths = (name for strength in term.strengths().values() for name in strength.columns())
    return tuple(dict.fromkeys([*term.columns(), *of_strengths]))


def needs_of_term(term: Term) -> Iterator[Need]:
    """The responses of a term's views, and its columns and those of its strengths."""
    yield from (Need("responses", view.response) for view in term.views())
    yield from (Need("columns", name) for name in columns_of_term(term))


def compared_responses(terms: Iterable[Term]) -> tuple[tuple[str, str], ...]:
    """The pairs of different responses that one term reads under the same condition."""
    pairs = (pair for term in terms for pair in combinations(dict.fromkeys(term.views()), 2))
    compared = (
        (one.response, other.response)
        for one, other in pairs
        if one.condition == other.condition and one.response != other.response
    )
    return tuple(dict.fromkeys(compared))


def needs_of_corruption(condition: str, corruption: Corruption) -> Iterator[Need]:
    """What a condition reads from a row, apart from its prompt and images."""
    source = f"needs() of the corruption '{condition}' ({type(corruption).__name__})"
    found = told_by_plugin(source, corruption.needs, Mapping, "names by field")
    for field, names in found.items():
        if field not in _SHOWN or not isinstance(names, tuple):
            raise PluginError(
                f"{source} must return tuples of names by field  ({', '.join(_SHOWN)}); it returned {shown(names)} "
                f"for {field!r}"
            )
        yield from (Need(field, name, condition, corruption.needs_image) for name in names)


def lacking(example: Example, needs: Iterable[Need]) -> list[Problem]:
    """A problem for each thing that a row lacks; it names all that need it."""
    conditions: dict[str, list[str]] = {}
    for need in needs:
        lack = need.lack(example)
        if lack is not None:
            conditions.setdefault(lack, []).append(need.condition)
    return [Problem(f"example '{example.id}'", "", f"{_need(who)} {lack}") for lack, who in conditions.items()]


def _need(conditions: Sequence[str]) -> str:
    """``the objective needs``, ``the condition 'a' needs``, ``the objective and the conditions 'a', 'b' need``."""
    clean, corrupted = CLEAN in conditions, [f"'{each}'" for each in dict.fromkeys(conditions) if each != CLEAN]
    many = f"the condition{'s' if len(corrupted) > 1 else ''} {', '.join(corrupted)}"
    who = " and ".join([*["the objective"] * clean, *[many] * bool(corrupted)])
    return f"{who} {'needs' if clean + len(corrupted) == 1 else 'need'}"
