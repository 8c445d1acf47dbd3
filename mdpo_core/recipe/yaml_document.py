"""Recipe files as trees of values, each with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import Problem, RecipeError
from mdpo_core.registry.offers import KINDS

EXTENDS = "extends"
Keys = tuple[str | int, ...]


@dataclass
class Node:
    """A value of a recipe, and where it was written: ``file:line``, or ``--set ...``.

    A mapping has ``children`` by key, a list by index; every other value is in ``value``.
    """

    where: str
    value: Any = None
    children: dict[str | int, Node] | None = None
    is_list: bool = False

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
            if old is not None and _are_merged(old, child):
                old.where = child.where
                old.merge(child)
            else:
                mine[key] = child


@dataclass
class Document:
    """A recipe file: its mapping, with a position for each key."""

    root: Node
    file: str

    @property
    def data(self) -> dict[str, Any]:
        """The mapping as plain data."""
        plain: dict[str, Any] = self.root.plain()
        return plain

    def where(self, keys: Keys) -> str:
        """The position of a key, or of the nearest one around it."""
        node = self.root
        for key in keys:
            child = (node.children or {}).get(key)
            if child is None:
                break
            node = child
        return node.where

    def problem(self, keys: Keys, message: str) -> Problem:
        """A problem with the value of a key."""
        return Problem(self.where(keys), ".".join(map(str, keys)), message)


def read_document(path: Path, _extending: tuple[Path, ...] = ()) -> Document:
    """Read a recipe; ``extends: FILE`` names the recipe beside it that it changes.

    Mappings are merged key by key. Lists are replaced, and so are mappings that name another component.
    """
    resolved = path.resolve()
    if resolved in _extending:
        raise RecipeError(
            [Problem(str(path), EXTENDS, "a recipe cannot extend itself, directly or through other recipes")]
        )
    document = _parse(path)
    extends = (document.root.children or {}).pop(EXTENDS, None)
    if extends is None or extends.plain() is None:
        return document
    base = extends.plain()
    if not isinstance(base, str) or not (path.parent / base).is_file():
        raise RecipeError([Problem(extends.where, EXTENDS, f"{base!r} is not a file beside this recipe")])
    merged = read_document(path.parent / base, (*_extending, resolved))
    merged.root.merge(document.root)
    merged.root.where = merged.file = document.file
    return merged


def override(document: Document, assignments: Iterable[str]) -> None:
    """Apply ``section.key=value`` assignments, with values as in YAML; a number names an item of a list."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise RecipeError([Problem(f"--set {assignment}", "", "write it as section.key=value")])
        keys: Keys = tuple(int(part) if part.isdigit() else part for part in name.split("."))
        where = f"--set {assignment}"
        _assign(document.root, keys, _tree(_read_yaml(text, where), where, _always(where)))


def _always(where: str) -> Callable[[int], str]:
    return lambda line: where


def _assign(root: Node, keys: Keys, value: Node) -> None:
    """Put a value into the tree; mappings around it are created, items of lists are not."""
    holder = root
    for depth, key in enumerate(keys):
        children = holder.children
        if children is None or (holder.is_list and key not in children):
            missing = ".".join(map(str, keys[: depth + 1]))
            raise RecipeError([Problem(value.where, "", f"there is no '{missing}' to set")])
        if depth == len(keys) - 1:
            children[key] = value
        else:
            holder = children.setdefault(key, Node(value.where, children={}))


def _are_merged(old: Node, new: Node) -> bool:
    if not (old.is_mapping and new.is_mapping):
        return False
    before, after = old.children or {}, new.children or {}
    return all(before[kind].plain() == after[kind].plain() for kind in KINDS if kind in before and kind in after)


def _parse(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise RecipeError([Problem(str(path), "", reason)]) from error
    loaded = _read_yaml(text, str(path))
    if not isinstance(loaded, Mapping):
        raise RecipeError([Problem(str(path), "", "a recipe is a mapping of sections: model, data, objective, ...")])
    return Document(_tree(loaded, str(path), lambda line: f"{path}:{line + 1}"), str(path))


def _read_yaml(text: str, where: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = f"{where}:{error.problem_mark.line + 1}" if error.problem_mark else where
        reason = str(error.problem or error.context).splitlines()[0]
        raise RecipeError([Problem(line, "", f"not valid YAML: {reason}")]) from error
    except YAMLError as error:
        raise RecipeError([Problem(where, "", f"not valid YAML: {error}")]) from error


def _tree(loaded: Any, where: str, position: Callable[[int], str]) -> Node:
    """The tree of what ruamel.yaml loaded; ``position`` gives the position of a line, counted from 0."""
    if isinstance(loaded, Mapping):
        lines: Any = loaded.lc.key  # type: ignore[attr-defined]
        children = {key: _tree(value, position(lines(key)[0]), position) for key, value in loaded.items()}
        return Node(where, children=children)
    if isinstance(loaded, list):
        lines = loaded.lc.item  # type: ignore[attr-defined]
        items: dict[str | int, Node] = {
            index: _tree(item, position(lines(index)[0]), position) for index, item in enumerate(loaded)
        }
        return Node(where, children=items, is_list=True)
    return Node(where, _scalar(loaded))


def _scalar(loaded: Any) -> Any:
    for kind in (bool, int, float, str):
        if isinstance(loaded, kind):
            return kind(loaded)
    # Dates and tagged objects: no option accepts one, and an error message should show its text.
    return None if loaded is None else str(loaded)
