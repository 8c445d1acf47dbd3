"""Files of JSON that belong to a benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from mdpo_core import DataError, Problem, require_file

Kind = TypeVar("Kind", dict[str, Any], list[Any])


def read_json(path: Path, kind: type[Kind], of: str = "") -> Kind:
    """The list or the mapping in a file of JSON. ``of``: what it should be a list of.

    Raises `RecipeError` without the file, `DataError` for another one.
    """
    require_file(path)
    wanted = f"a list{of and f' of {of}'}" if kind is list else "an object with keys"
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError([Problem(path.name, "", f"is not JSON, which must hold {wanted}: {error}")]) from error
    if not isinstance(found, kind):
        raise DataError([Problem(path.name, "", f"must hold {wanted}, found {str(found)[:40]!r}")])
    return found
