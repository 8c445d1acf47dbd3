"""The options in which recipes differ, and which of them make another experiment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Recipes that differ in these alone are one experiment, drawn several times.
SEEDS = ("train.seed", "data.seed")
_ELSEWHERE = ("output", "trackers")  # where a run is kept, and who listens


class Absent:
    """An option that a recipe does not have, as a component of another kind."""

    def __repr__(self) -> str:
        return "-"


ABSENT = Absent()


def experiment_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without its seeds, and without what does not change a number."""
    kept = {name: section for name, section in recipe.items() if name not in _ELSEWHERE}
    for key in SEEDS:
        section, _, option = key.partition(".")
        if isinstance(kept.get(section), Mapping):
            kept[section] = {name: value for name, value in kept[section].items() if name != option}
    return kept


def option_of(recipe: Mapping[str, Any], key: str) -> Any:
    """The value of an option such as ``train.seed``; None if the recipe has none."""
    section, _, option = key.partition(".")
    found = recipe.get(section)
    return found.get(option) if isinstance(found, Mapping) else None


def differing(values: Sequence[Any], path: str = "") -> Iterator[tuple[str, Sequence[Any]]]:
    """The options in which recipes differ, by path, with the value of each recipe.

    The items of a list are named by their label or component: ``objective.text.beta``.
    """
    if all(value == values[0] for value in values):
        return
    parts = [by_name(value) for value in values]
    if any(part is None for part in parts):
        yield path, values
        return
    known = [part or {} for part in parts]
    for name in dict.fromkeys(name for part in known for name in part):
        yield from differing([part.get(name, ABSENT) for part in known], f"{path}.{name}" if path else name)


def by_name(value: Any) -> Mapping[str, Any] | None:
    """A mapping, or a list of components by their names; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if not (isinstance(value, list) and value and all(isinstance(item, Mapping) and item for item in value)):
        return None
    names = [name_of(item) for item in value]
    return dict(zip(names, value, strict=True)) if len(set(names)) == len(names) else None


def name_of(item: Mapping[str, Any]) -> str:
    """The label of a component, or else its own name, which comes first."""
    return str(item.get("label") or next(iter(item.values())))


def shown(value: Any) -> str:
    """An option's value on one line; only what is set of a component."""
    if isinstance(value, Absent):
        return repr(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items() if item not in (None, [], {}))
    if isinstance(value, list):
        return "; ".join(map(shown, value)) if any(isinstance(item, Mapping) for item in value) else json.dumps(value)
    return "" if value is None else str(value)
