"""JSON files that are one object with all rows inside: what was found, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from mdpo_core import DataError, counted
from mdpo_readers.embedded import PICTURE_KEYS
from mdpo_readers.tables.table import Table

# Keys of objects in a list that are parts of a row: messages, and pictures.
_OF_PARTS = {"role", "content", "from", "value", "type", *PICTURE_KEYS}
_FEWEST = 2  # columns of a row
_SHOWN = 3  # lists of rows in a message


def shape_problem(table: Table) -> str:
    """Why the only row of a table is not one row, but holds all of them; empty text if it may be one."""
    row = _only_row(table)
    lists = {name: value for name, value in row.items() if _are_rows(value)}
    if lists:
        shown = [f"'{name}' ({counted(len(rows), 'row')})" for name, rows in islice(lists.items(), _SHOWN)]
        named = " and ".join(shown) + (f" and {len(lists) - _SHOWN} more" if len(lists) > _SHOWN else "")
        which = "that list" if len(lists) == 1 else "each list that you need"
        return f"the file is one object, whose rows are in the list {named}: write {which} alone into a file of its own"
    if row and all(map(_is_column, row.values())):
        return (
            f"the file is one object of columns, '{next(iter(row))}' and so on, and not of rows: write one object for "
            "each row (in pandas: to_json(FILE, orient='records', lines=True))"
        )
    if row and all(isinstance(value, dict) and len(value) >= _FEWEST for value in row.values()):
        shared = set.intersection(*(set(value) for value in row.values()))
        if len(shared) >= _FEWEST:
            return (
                f"the file is one object, whose {len(row)} rows have names, such as '{next(iter(row))}': write the "
                "rows as a list, each with its name as 'id'"
            )
    return ""


def _only_row(table: Table) -> Mapping[str, Any]:
    """The row of a table with one row; empty if there are more, or if it cannot be read."""
    try:
        return table.row(0) if len(table) == 1 else {}
    except DataError:
        return {}


def _are_rows(value: object) -> bool:
    """Whether a value is a list of objects that may be rows."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, dict) and len(each) >= _FEWEST and _OF_PARTS.isdisjoint(each) for each in value)


def _is_column(value: object) -> bool:
    """Whether a value is an object of values by row number, as pandas writes a column."""
    return isinstance(value, dict) and bool(value) and all(key.isdigit() for key in value)
