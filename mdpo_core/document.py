"""Recipe files as plain data, with the file and line of every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdpo_core.errors import Problem, RecipeError
from mdpo_core.registry import KINDS

EXTENDS = "extends"
Keys = tuple[str | int, ...]


@dataclass
class Document:
    """A mapping as YAML gives it, and where each of its keys stands, as ``file:line``."""

    data: dict[str, Any]
    source: str
    positions: dict[Keys, str] = field(default_factory=dict)

    def where(self, keys: Keys) -> str:
        """The position of a key, or of the nearest one around it."""
        while keys and keys not in self.positions:
            keys = keys[:-1]
        return self.positions.get(keys, self.source)

    def problem(self, keys: Keys, message: str) -> Problem:
        return Problem(self.where(keys), ".".join(map(str, keys)), message)


def read_document(path: Path, _extending: tuple[Path, ...] = ()) -> Document:
    """Read a recipe; ``extends: FILE`` (beside it) gives the recipe that it changes.

    Mappings are merged key by key; lists, and mappings that name another component, are replaced.
    """
    resolved = path.resolve()
    if resolved in _extending:
        raise RecipeError([Problem(str(path), EXTENDS, "a recipe cannot extend itself, not even through others")])
    document = _parse(path)
    base = document.data.pop(EXTENDS, None)
    if base is None:
        return document
    if not isinstance(base, str) or not (path.parent / base).is_file():
        raise RecipeError([document.problem((EXTENDS,), f"{base!r} is no file beside this recipe")])
    merged = read_document(path.parent / base, (*_extending, resolved))
    _merge(merged, document, merged.data, document.data, ())
    merged.source = document.source
    return merged


def override(document: Document, assignments: Iterable[str]) -> None:
    """Apply ``section.key=value`` assignments, values written as in YAML; list items go by number."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise RecipeError([Problem(f"--set {assignment}", "", "write it as section.key=value")])
        keys: Keys = tuple(int(part) if part.isdigit() else part for part in name.split("."))
        where = f"--set {assignment}"
        _assign(document, keys, _plain(_load(text, where), (), "", {}), where)


def _assign(document: Document, keys: Keys, value: Any, where: str) -> None:
    holder: Any = document.data
    for depth, key in enumerate(keys):
        fits = isinstance(holder, dict) or (isinstance(holder, list) and isinstance(key, int) and key < len(holder))
        if not fits:
            raise RecipeError([Problem(where, "", f"there is no '{'.'.join(map(str, keys[: depth + 1]))}' to set")])
        if depth == len(keys) - 1:
            holder[key] = value
        else:
            holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
    _forget(document.positions, keys)
    document.positions[keys] = where


def _merge(into: Document, new: Document, old_data: dict[str, Any], new_data: Mapping[str, Any], keys: Keys) -> None:
    for key, value in new_data.items():
        here = (*keys, key)
        old = old_data.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and _same_component(old, value):
            into.positions[here] = new.where(here)
            _merge(into, new, old, value, here)
            continue
        _forget(into.positions, here)
        into.positions.update({at: line for at, line in new.positions.items() if at[: len(here)] == here})
        old_data[key] = value


def _same_component(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(old.get(kind) == new[kind] for kind in KINDS if kind in new and kind in old)


def _forget(positions: dict[Keys, str], keys: Keys) -> None:
    for at in [at for at in positions if at[: len(keys)] == keys]:
        del positions[at]


def _parse(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise RecipeError([Problem(str(path), "", reason)]) from error
    node = _load(text, str(path))
    if not isinstance(node, Mapping):
        raise RecipeError([Problem(str(path), "", "a recipe is a mapping of sections: model, data, objective, ...")])
    positions: dict[Keys, str] = {}
    return Document(_plain(node, (), str(path), positions), str(path), positions)


def _load(text: str, where: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = f"{where}:{error.problem_mark.line + 1}" if error.problem_mark else where
        what = str(error.problem or error.context).splitlines()[0]
        raise RecipeError([Problem(line, "", f"not valid YAML: {what}")]) from error
    except YAMLError as error:
        raise RecipeError([Problem(where, "", f"not valid YAML: {error}")]) from error


def _plain(node: Any, keys: Keys, source: str, positions: dict[Keys, str]) -> Any:
    """Plain data of a round-trip node; ``positions`` is filled on the way."""
    if isinstance(node, Mapping):
        for key in node:
            positions[(*keys, key)] = f"{source}:{node.lc.key(key)[0] + 1}"  # type: ignore[attr-defined]
        return {key: _plain(value, (*keys, key), source, positions) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            positions[(*keys, index)] = f"{source}:{node.lc.item(index)[0] + 1}"  # type: ignore[attr-defined]
        return [_plain(value, (*keys, index), source, positions) for index, value in enumerate(node)]
    for scalar in (bool, int, float, str):
        if isinstance(node, scalar):
            return scalar(node)
    if node is None:
        return None
    # Dates and tagged objects: no option takes one, and its type is what an error message should name.
    return str(node)
