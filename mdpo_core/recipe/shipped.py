"""The recipes that mdpo brings: where they are, what each is, and how a name on the command line finds one.

They are files in ``recipes/`` of the repository, and in ``mdpo_core/shipped_recipes/`` of an installed wheel. A name is
the path there without its suffix (``methods/chip``), or the last part of it (``chip``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mdpo_core.errors import Problem, RecipeError, suggestion
from mdpo_core.remedies import either

_PACKAGE = Path(__file__).parents[1]
_SUFFIX = ".yaml"
_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z(])")


def shipped_recipes() -> Mapping[str, Path]:
    """The files of all shipped recipes by name, sorted: those of the top folder first."""
    installed, source = _PACKAGE / "shipped_recipes", _PACKAGE.parent / "recipes"
    folder = installed if installed.is_dir() else source
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob(f"*{_SUFFIX}")}
    return dict(sorted(files.items(), key=lambda each: (each[0].count("/"), each[0])))


def shipped_recipe(name: str) -> Path | None:
    """The file of the shipped recipe with this name; None if there is none. ``.yaml`` at its end is left out."""
    known = shipped_recipes()
    bare = name.removesuffix(_SUFFIX)
    found = [file for full, file in known.items() if bare in (full, full.rpartition("/")[2])]
    return known.get(bare) or (found[0] if len(found) == 1 else None)


def local_recipe(path: Path) -> Path | None:
    """The user's file that ``path`` means: itself, or with ``.yaml`` if it is the name of a shipped recipe.

    So `mdpo recipes copy quickstart` and `mdpo-run quickstart` run the copy. None, if neither file exists.
    """
    if _exists(path):
        return path
    beside = path.with_name(f"{path.name}{_SUFFIX}") if path.name else path
    return beside if shipped_recipe(str(path)) is not None and _exists(beside) else None


def recipe_file(path: Path) -> Path:
    """The file to read for ``path`` on a command line: the user's, or else the shipped one of this name.

    Raises `RecipeError` with the nearest name if nothing has the bare name ``path``, such as ``quikstart``.
    """
    found = local_recipe(path) or shipped_recipe(str(path))
    if found is None and not _exists(path, folders=True):
        _require_no_name(path)
    return found or path  # reading a path says what is wrong with it


def _require_no_name(path: Path) -> None:
    """Raise `RecipeError` if a missing path looks like the name of a shipped recipe, or ends in one."""
    if shipped_recipe(path.name) is not None:
        name = path.name.removesuffix(_SUFFIX)
        raise RecipeError(
            [Problem(str(path), "", f"the file does not exist; mdpo ships a recipe of this name: {name}")]
        )
    if path.name and not path.suffix and "/" not in str(path):
        raise unknown_recipe(str(path), "the file does not exist, and mdpo ships no recipe of this name")


def shadow_note(path: Path) -> str:
    """One line that says that the user's file is read and not the shipped recipe of its name; empty if none has it."""
    local = local_recipe(path)
    shipped = shipped_recipe(str(path))
    if local is None or shipped is None or path.suffix or local.resolve() == shipped.resolve():
        return ""
    return f"{path}: reads the file {local} here, not the recipe '{path}' that mdpo ships"


def unknown_recipe(name: str, reason: str) -> RecipeError:
    """The error for a name that no shipped recipe has, with the most similar one."""
    known = shipped_recipes()
    near = suggestion(name, known) or suggestion(name, [full.rpartition("/")[2] for full in known])
    return RecipeError([Problem(name, "", f"{reason}{near}  ({either('mdpo recipes lists them', ', '.join(known))})")])


def head_of(text: str) -> list[str]:
    """The comment at the beginning of a recipe, line by line, without marks and without the command above it."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines[2:] if lines[:1] and lines[0].startswith("mdpo-run ") else lines


def about(file: Path) -> str:
    """The first sentence of the comment at the beginning of a recipe."""
    return _SENTENCE_END.split(" ".join(head_of(file.read_text(encoding="utf-8"))).strip())[0]


def _exists(path: Path, *, folders: bool = False) -> bool:
    """Whether something is there; a folder only counts with ``folders``."""
    try:
        return path.exists() and (folders or not path.is_dir())
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        return False
