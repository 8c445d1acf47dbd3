"""`mdpo recipes`: the list of shipped recipes, and a copy of one as a file of the user's, in one piece."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.errors import RecipeError
from mdpo_core.recipe.shipped import about, head_of, shipped_recipe, shipped_recipes, unknown_recipe
from mdpo_core.registry.kinds import HOLDS_A_COMPONENT, KIND_NAMES
from mdpo_core.storage.files import atomic_write

_WIDTH, _LISTED = 120, 120  # columns of a copy, and of the list


def recipes_list() -> str:
    """A line for each shipped recipe, with the first sentence of its comment, and how to use one."""
    known = shipped_recipes()
    width = max(map(len, known), default=0)
    lines = [_cut(f"  {name:<{width}}  {about(file)}") for name, file in known.items()]
    return "\n".join(["mdpo-run NAME runs one, mdpo recipes copy NAME writes one as a file:", *lines])


def _cut(line: str) -> str:
    return line if len(line) <= _LISTED else f"{line[: _LISTED - 3]}..."


def copy_recipe(name: str, out: Path | None = None) -> Path:
    """Write the shipped recipe ``name`` into a new file, and return the file.

    ``out``: the file; None: ``NAME.yaml`` in the current folder. What the recipe takes from others by ``extends`` is
    written into the copy, with its comments. Raises `RecipeError` for an unknown name, and for a file that exists.
    """
    source = shipped_recipe(name)
    if source is None:
        raise unknown_recipe(name, "mdpo ships no recipe of this name")
    file = out or Path(source.name)
    if file.exists() or file.is_symlink():
        raise RecipeError(f"{file} already exists, and nothing is written over it; name another file with --out FILE")
    if not file.parent.is_dir():
        raise RecipeError(f"{file}: the folder {file.parent} does not exist; make it first")
    atomic_write(file, _copied(source, file).encode())
    return file


def _copied(source: Path, out: Path) -> str:
    text = source.read_text(encoding="utf-8")
    command = text.splitlines()[0].replace(f"recipes/{_name_in(source)}", str(out))
    head = [command, "#", *(f"# {line}".rstrip() for line in head_of(text))]
    return "\n".join([*head, _body(source)])


def _name_in(source: Path) -> str:
    """The path of a recipe below ``recipes/``, as its first line has it."""
    first = source.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# mdpo-run recipes/").split()[0]


def _body(source: Path) -> str:
    """The recipe below its comment: as it is written, or merged with what it extends."""
    from mdpo_core.recipe.yaml_document import EXTENDS

    lines = source.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    if not any(line.startswith(f"{EXTENDS}:") for line in lines):
        return "\n".join([*lines[start:], ""])
    written = io.StringIO()
    _yaml().dump(_merged(source), written)
    return written.getvalue()


def _merged(source: Path) -> Any:
    """ruamel's mapping of a recipe and all that it extends, with the comments of its values."""
    from mdpo_core.recipe.yaml_document import EXTENDS

    text = "\n".join(line for line in source.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    own = _yaml().load(text)
    base = own.pop(EXTENDS, None)
    if base is None:
        return own
    merged = _merged(source.parent / base)
    _merge(merged, own)
    return merged


def _merge(old: Any, new: Mapping[str, Any]) -> None:
    """What `Node.merge` does when a recipe is read; a test compares the two for every recipe."""
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and _same_component(key, before, value):
            _merge(before, value)
        else:
            old[key] = value
            old.ca.items.pop(key, None)  # the comment of the replaced value


def _same_component(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return key == HOLDS_A_COMPONENT or all(old[kind] == new[kind] for kind in KIND_NAMES if kind in old and kind in new)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = _WIDTH
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
