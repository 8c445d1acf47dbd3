"""Which named format a table has, by its columns: for messages, never for runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mdpo_core import DataError, DataSummary, Problem
from mdpo_readers.formats.guesses import guessed_options, preference_hint
from mdpo_readers.formats.lines import COLUMN, Line, Tried, line_for, line_of
from mdpo_readers.formats.shapes import shape_problem
from mdpo_readers.formats.written import meant
from mdpo_readers.tables.opening import open_table
from mdpo_readers.tables.table import Table

# Columns of questions. Those of published sets are bare; a ready-made text ends with what calls for an answer.
_QUESTIONS = ("question", "prompt", "instruction", "query")
_READY = re.compile(r"(?:\bassistant\W*|\[/INST\]|<\|\w+\|>|\banswer:|\bgpt:)\s*$", re.IGNORECASE)


class Named(Tried, Protocol):
    """What recognition asks the class of a named reader; see `TableReader`."""

    title: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    also: ClassVar[tuple[str, ...]]
    nested: ClassVar[tuple[str, ...]]
    keeps_ready_prompts: ClassVar[bool]

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool: ...
    @classmethod
    def options_for(cls, path: str) -> Sequence[Mapping[str, str]]: ...
    @classmethod
    def listed_in(cls, path: str) -> Sequence[tuple[str, Mapping[str, str]]]: ...


def format_of(path: str, table: Table, readers: Iterable[type[Named]]) -> type[Named] | None:
    """The one of ``readers`` for a table; of several, that which knows most of its columns. None: there is none."""
    columns = table.column_names()
    first = _first_row(table.select(columns))
    ready = any(_READY.search(text) for text in map(first.get, _QUESTIONS) if isinstance(text, str))
    fitting = [
        each
        for each in set(readers)
        if each.recognizes(columns, meant(first, each.nested), Path(path)) and (each.keeps_ready_prompts or not ready)
    ]
    return max(fitting, key=lambda each: _num_known(each, columns), default=None)


def _num_known(reader: type[Named], columns: Sequence[str]) -> tuple[int, int, str]:
    """How well a reader knows these columns, to be compared; the name decides between equals."""
    known = {*reader.columns, *reader.also}
    return len(known.intersection(columns)), len(reader.columns), reader.component_name()


def _first_row(table: Table) -> Mapping[str, Any]:
    """The first row that can be read; empty if there is none."""
    for number in range(len(table)):
        try:
            return table.row(number)
        except DataError:
            continue
    return {}


def format_line(path: str, table: Table, readers: Iterable[type[Named]], by_columns: type[Tried] | None = None) -> str:
    """What reads a table, as the end of a message: the line of a recipe, or what is wrong with the file's shape.

    Empty if no format is recognized, and if ``by_columns``, the reader whose columns are named, cannot read it either.
    """
    found = format_of(path, table, readers)
    if found is None:
        problem = shape_problem(table)
        guessed = None if problem or by_columns is None else _guessed(path, table, by_columns)
        read = "" if guessed is None or guessed.problem else f"this line reads them: {guessed.text}"
        return f"; {problem or read}" if problem or read else ""
    lines = (line_for(found, options, table).text for options in found.options_for(path))
    return f"; the columns are those of {found.title}: {' or '.join(lines)}"


def summary_of(path: str, readers: Iterable[type[Named]], by_columns: type[Tried], count: int) -> DataSummary:
    """What is at ``path``. ``by_columns``: the reader for tables without a known format, whose columns are named."""
    known = list(readers)
    table, lines = _listed(path, known) or _of_file(path, known, by_columns)
    columns = tuple(table.column_names())
    first, *others = lines
    return DataSummary(
        first.text,
        columns,
        len(table),
        tuple(_shown_rows(table.select(columns), count)),
        first.first,
        tuple(line.text for line in others),
        tuple(line.problem for line in lines),
        tuple(line.note for line in lines),
    )


def _listed(path: str, readers: Iterable[type[Named]]) -> tuple[Table, list[Line]] | None:
    """The first table of those that a file lists, and the lines for all; None if it lists none."""
    reader, listed = next(((each, found) for each in readers if (found := each.listed_in(path))), (None, ()))
    if reader is None:
        return None
    first, lines = None, []
    fault: DataError | None = None
    for file, options in listed:
        try:
            table = open_table(file, "train")
            first = table if first is None else first
            lines.append(line_for(reader, options, table))
        except DataError as error:
            fault = error
            lines.append(Line(line_of(reader, options), problem=str(error)))
    if first is None and fault is not None:
        raise fault
    return None if first is None else (first, lines)


def _of_file(path: str, known: Sequence[type[Named]], by_columns: type[Tried]) -> tuple[Table, list[Line]]:
    """The table at ``path``, and the lines that read it."""
    table = open_table(path, "train")
    found = format_of(path, table, known)
    if found is not None:
        return table, [line_for(found, options, table) for options in found.options_for(path)]
    line = _guessed(path, table, by_columns)
    problem = shape_problem(table) if line.problem else ""
    return table, [line._replace(problem=problem) if problem else line]


def _guessed(path: str, table: Table, by_columns: type[Tried]) -> Line:
    """The line for a table of no known format. Raises `DataError` if no row has a column."""
    columns = table.column_names()
    if not columns:
        table.row(0)  # raises an error if it cannot be read
        raise DataError([Problem(table.place(0), "", "has no columns; a row has a prompt and answers")])
    options = {"path": path, **guessed_options(columns, meant(_first_row(table.select(columns))))}
    line = line_for(by_columns, options, table)
    is_open = COLUMN in str(options.get("responses"))
    return line._replace(problem=line.problem + preference_hint(columns)) if is_open else line


def _shown_rows(table: Table, count: int) -> Iterator[Mapping[str, Any]]:
    for number in range(min(count, len(table))):
        try:
            yield table.row(number)
        except DataError as error:
            yield {"bad row": str(error)}
