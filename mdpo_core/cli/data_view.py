"""`mdpo data`: what a file of preference data contains, and the line of a recipe that reads it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdpo_core.interfaces.reader import DataSummary

_ROWS = 3
_SHOWN = 72  # characters of a value
_TEMPLATE = Path(__file__).parent / "templates" / "data_recipe.txt"
_LINE = "{DATA}"


def describe_data(options: argparse.Namespace) -> int:
    """Print the line, the columns, the number of rows and some of them; write a recipe if a file is named."""
    from mdpo_core.errors import DataError, Problem, RecipeError

    if options.recipe is not None and options.recipe.exists():
        raise RecipeError(f"--recipe: {options.recipe} exists already; name a new file")
    found = _summary(str(options.path))
    if found is None:
        raise DataError([Problem(str(options.path), "", "no installed reader knows how to look at this")])
    print("\n".join([found.line, *_lines(found)]))  # noqa: T201
    if options.recipe is not None:
        from mdpo_core.storage.files import atomic_write

        atomic_write(options.recipe, _TEMPLATE.read_text().replace(_LINE, found.line).encode())
        print(f"{options.recipe}: a recipe with this line; set model.path, then: mdpo check {options.recipe} --data")  # noqa: T201
    return 0


def _summary(path: str) -> DataSummary | None:
    from mdpo_core.registry.discovery import current_registry

    for reader in current_registry().components("reader").values():
        found: DataSummary | None = reader.summarize(path, _ROWS)  # type: ignore[attr-defined]
        if found is not None:
            return found
    return None


def _lines(found: DataSummary) -> list[str]:
    lines = [f"  {found.num_rows:,} rows with the columns {', '.join(found.columns)}"]
    for number, row in enumerate(found.rows, start=1):
        lines += [f"  row {number}", *(f"    {column}: {_short(value)}" for column, value in row.items())]
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_told)
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _told(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
