"""Recipe files as trees of values, each with its file and line."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mdpo_core.errors import Problem, RecipeError
from mdpo_core.recipe.node import Node
from mdpo_core.recipe.shipped import recipe_file
from mdpo_core.recipe.yaml_text import MAX_CHARACTERS, MAX_DEPTH, read_yaml
from mdpo_core.registry.plugin_files import absolute
from mdpo_core.remedies import either

EXTENDS = "extends"
PLUGINS = "plugins"
# Sections whose names begin so have no effect; they hold values for aliases, as in compose files.
FOR_ALIASES = "x-"
Keys = tuple[str | int, ...]
_MAX_EXTENDS = 20
_ALL = "*"  # in an assignment: every item or key
# Characters of a key or an assignment, and of a value, in a message.
_LONGEST_KEY, _LONGEST_VALUE, _LONGEST_PATH = 80, 200, 500
_YAML_WORDS = {None: "null", True: "true", False: "false"}


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
        return Problem(self.where(keys), ".".join(_one_line(str(key)) for key in keys), _printable(message))


def document_with(
    recipe: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any],
    plugins: Iterable[str | Path],
) -> Document:
    """A recipe (a file, the name of one that mdpo ships, or a mapping) with changes and more plugin files."""
    if not isinstance(recipe, str | Path | Mapping):
        raise RecipeError(
            "a recipe is the path of a YAML file, the name of a shipped one, or a mapping of sections; found "
            f"{shown_value(recipe)}"
        )
    document = document_of(recipe) if isinstance(recipe, Mapping) else read_document(recipe_file(Path(recipe)))
    override(document, overrides)
    _add_plugins(document, plugins)
    return document


def read_document(path: Path) -> Document:
    """Read a recipe; ``extends: FILE`` names the recipe beside it that it changes.

    Mappings are merged key by key. Lists are replaced, and so are mappings that name another component.
    """
    return _read(path, ())


def _read(path: Path, extending: tuple[Path, ...]) -> Document:
    document = _parse(path)
    _place_plugins(document.root, path.parent)
    resolved = path.resolve()
    children = document.root.children or {}
    for name in [key for key in children if str(key).startswith(FOR_ALIASES)]:
        del children[name]
    extends = children.pop(EXTENDS, None)
    if extends is None or extends.plain() is None:
        return document
    base = _base_of(path, extends)
    if base.resolve() in (*extending, resolved):
        _refuse(extends.where, EXTENDS, "a recipe cannot extend itself, directly or through other recipes")
    if len(extending) >= _MAX_EXTENDS:
        _refuse(extends.where, EXTENDS, f"a recipe extends at most {_MAX_EXTENDS} others, one through another")
    merged = _read(base, (*extending, resolved))
    merged.root.merge(document.root)
    merged.root.where, merged.file = document.root.where, document.file
    return merged


def _place_plugins(root: Node, folder: Path) -> None:
    """Make the plugin files of a recipe's file independent of the folder in which a command is started."""
    section = (root.children or {}).get(PLUGINS)
    for each in (section.children or {}).values() if section else ():
        if isinstance(each.value, str):
            each.value = str(absolute(folder / each.value))


def _add_plugins(document: Document, files: Iterable[str | Path]) -> None:
    """Add plugin files that are named beside the recipe; their paths start from the working directory."""
    for file in files:
        section = (document.root.children or {}).setdefault(PLUGINS, Node("", children={}, is_list=True))
        path = str(absolute(file))
        if section.is_list and path not in section.plain():
            assert section.children is not None, "a list has children"
            section.children[len(section.children)] = Node("", path)


def _base_of(path: Path, extends: Node) -> Path:
    name = extends.plain()
    if not isinstance(name, str) or not _is_file(path.parent / name):
        _refuse(extends.where, EXTENDS, f"{shown_value(name)} is not a file beside this recipe")
    written = path.parent / name
    plain = Path(os.path.normpath(written))
    return plain if plain.resolve() == written.resolve() else written  # `..` may follow a link to a folder


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or a link that leads to itself
        return False


def document_of(recipe: Mapping[str, Any]) -> Document:
    """A recipe that is a mapping in Python; its values may be components."""
    return Document(Node.of(recipe, "the recipe"), "the recipe")


def override(document: Document, assignments: Iterable[str] | Mapping[str, Any]) -> None:
    """Apply ``section.key=value`` assignments, with values as in YAML.

    A number names an item of a list, and ``*`` every item or key that is there: ``objective.*.beta=0.2``.
    A mapping gives the values by ``section.key``, as Python has them.
    """
    if isinstance(assignments, Mapping):
        for name, value in assignments.items():
            where = f"the change of {_one_line(str(name))}"
            _assign(document.root, str(name).split("."), Node.of(value, where))
        return
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        where = f"{either('--set', 'the change')} {_one_line(assignment)}"
        keys = name.split(".")
        if not equals or not all(keys) or not name.isprintable():
            _refuse(where, "", "write it as section.key=value")
        if len(keys) > MAX_DEPTH:
            _refuse(where, "", f"more than {MAX_DEPTH} keys, one inside another")
        value = read_yaml(text, lambda line, where=where: where)  # type: ignore[misc]
        _assign(document.root, keys, value or Node(where))


def _assign(holder: Node, keys: list[str], value: Node, depth: int = 0) -> None:
    """Put a value into the tree; mappings around it are created, items of lists are not. ``*``: all that is there."""
    named = _children_named(holder, keys[depth])
    if not named:
        path = _one_line(".".join(keys[: depth + 1]))
        _refuse(value.where, "", f"'{path}' does not exist{_instead(holder, keys[:depth])}")
    children = holder.children
    assert children is not None, "_children_named found some"
    for key in named:
        if depth == len(keys) - 1:
            children[key] = _copied(value)  # a later assignment may change one of them
        else:
            child = children.setdefault(key, Node(value.where, children={}))
            _assign(child, [*keys[:depth], str(key), *keys[depth + 1 :]], value, depth + 1)


def _copied(node: Node) -> Node:
    """The same tree with mappings and lists of its own."""
    children = None if node.children is None else {key: _copied(child) for key, child in node.children.items()}
    return Node(node.where, node.value, children, node.is_list)


def _children_named(holder: Node, name: str) -> list[str | int]:
    """The keys or indices that a name in an assignment means; a mapping gets a new key, anything else does not."""
    if holder.children is None:
        return []
    if name == _ALL:
        return list(holder.children)
    return [index for index in holder.children if str(index) == name] if holder.is_list else [name]


def _instead(holder: Node, keys: list[str]) -> str:
    """What a list has instead of an item that it lacks; empty for anything else."""
    if holder.children is None or not holder.is_list:
        return ""
    number, path = len(holder.children), _one_line(".".join(keys))
    items = f"{number} items, 0 to {number - 1}, and * is all of them" if number else "no items"
    items = "1 item, 0" if number == 1 else items
    return f": '{path}' has {items}"


def _parse(path: Path) -> Document:
    root = read_yaml(_text_of(path), lambda line: f"{path}:{line + 1}")
    if root is None or not root.is_mapping:
        _refuse(f"{path}:1", "", "a recipe is a mapping of sections: model, data, objective, ...")
    return Document(root, str(path))


def _text_of(path: Path) -> str:
    found = _bytes_of(path).removeprefix(codecs.BOM_UTF8)
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        message = f"the byte 0x{found[error.start]:02x} is not UTF-8; save the recipe in this encoding"
        raise RecipeError([Problem(f"{path}:{line}", "", message)]) from error


def _bytes_of(path: Path) -> bytes:
    name = _one_line(str(path), _LONGEST_PATH)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            _refuse(name, "", "is not a file; a recipe is a YAML file")
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            _refuse(name, "", f"is too long for a recipe: at most {MAX_CHARACTERS:,} characters")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RecipeError([Problem(name, "", "the file does not exist")]) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError([Problem(name, "", f"cannot be read: {reason}")]) from error


def _refuse(where: str, path: str, message: str) -> NoReturn:
    raise RecipeError([Problem(where, path, message)])


def shown_value(value: object) -> str:
    """A value for a message, cut if it is long; the values that YAML writes as words are those words."""
    text = _YAML_WORDS[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _one_line(text: str, longest: int = _LONGEST_KEY) -> str:
    """A key, an assignment or a path for a message: cut if it is long, without line breaks and control characters."""
    short = text if len(text) <= longest else f"{text[:longest]}..."
    return _printable(short)


def _printable(text: str) -> str:
    """The text without line breaks and control characters, which names in a recipe may have."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
