"""The rows of a spreadsheet, in which VLMEvalKit writes its tables."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from mdpo_core.errors import DataError, Problem, RecipeError

# What reading a damaged file raises; broken XML is a SyntaxError.
_DAMAGED = (BadZipFile, zlib.error, SyntaxError, KeyError, ValueError, TypeError, IndexError)


def sheet_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of the first sheet of an .xlsx file below its header, with their numbers there; every cell as text.

    Raises `RecipeError` without openpyxl, and `DataError` for another file, or a column without a name.
    """
    if find_spec("openpyxl") is None:
        raise RecipeError(
            f'{path.name}: a spreadsheet needs openpyxl, which is not installed: pip install "mdpo[benchmarks]"; or '
            "save it as a table of text (.tsv or .csv)"
        )
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        cells = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
        header, *rows = [*cells] or [()]
    except (InvalidFileException, *_DAMAGED) as error:
        message = f"is not an .xlsx spreadsheet ({type(error).__name__}: {error}); save it as one, or as .tsv"
        raise DataError([Problem(path.name, "", message)]) from error
    names = [_text(name) for name in header]
    for number, row in enumerate(rows, 2):
        if any(value is not None for value in row):
            yield number, _named(f"{path.name} row {number}", names, row)


def _named(where: str, names: list[str], row: tuple[Any, ...]) -> dict[str, str]:
    nameless = next((value for name, value in zip(names, row, strict=True) if not name and value is not None), None)
    if nameless is not None:
        raise DataError([Problem(where, "", f"has a cell in a column without a name: {str(nameless)[:40]!r}")])
    return {name: _text(value) for name, value in zip(names, row, strict=True) if name}


def _text(value: Any) -> str:
    """A cell as text: an empty one has none, and a whole number no decimals."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
