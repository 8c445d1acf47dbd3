"""A value of a recipe, and where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mdpo_core.registry.kinds import HOLDS_A_COMPONENT
from mdpo_core.registry.offers import KINDS

# `on:` and `off:` are options of components, which a parser of YAML 1.1 reads as these keys.
_YAML_1_1: Mapping[Any, str] = {True: "on", False: "off"}


@dataclass
class Node:
    """A value of a recipe, and where it was written: ``file:line``, or ``--set ...``.

    A mapping has ``children`` by key, a list by index; every other value is in ``value``. ``replaced``: the mapping of
    another component that stood in its place, in the recipe that this one extends.
    """

    where: str
    value: Any = None
    children: dict[str | int, Node] | None = None
    is_list: bool = False
    replaced: Node | None = None

    @classmethod
    def of(cls, value: Any, where: str) -> Node:
        """A value of Python: mappings, lists and tuples have children, and a path is its text."""
        if isinstance(value, Mapping):
            words = _YAML_1_1 if any(kind in value for kind in KINDS) else {}
            return cls(where, children={str(words.get(key, key)): cls.of(each, where) for key, each in value.items()})
        if isinstance(value, (list, tuple)):
            return cls(where, children={index: cls.of(each, where) for index, each in enumerate(value)}, is_list=True)
        return cls(where, str(value) if isinstance(value, PurePath) else value)

    def plain(self) -> Any:
        """The value as plain data."""
        if self.children is None:
            return self.value
        if self.is_list:
            return [child.plain() for child in self.children.values()]
        return {key: child.plain() for key, child in self.children.items()}

    @property
    def is_mapping(self) -> bool:
        """Whether it has children by key."""
        return self.children is not None and not self.is_list

    def merge(self, new: Node) -> None:
        """Take the children of ``new``; mappings of the same component are merged key by key."""
        mine, theirs = self.children or {}, new.children or {}
        for key, child in theirs.items():
            old = mine.get(key)
            if old is not None and _are_merged(key, old, child):
                old.where = child.where
                old.merge(child)
            else:
                child.replaced = old if old is not None and old.is_mapping and child.is_mapping else None
                mine[key] = child


def _are_merged(key: str | int, old: Node, new: Node) -> bool:
    if not (old.is_mapping and new.is_mapping):
        return False
    before, after = old.children or {}, new.children or {}
    kinds = () if key == HOLDS_A_COMPONENT else [kind for kind in KINDS if kind in before and kind in after]
    return all(before[kind].plain() == after[kind].plain() for kind in kinds)
