"""Values of a stored row that several named formats read alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mdpo_core import Prompt, Turn
from mdpo_readers.cell_types import Cell, shown, text
from mdpo_readers.formats.pair import Row


def is_filled(value: Any) -> bool:
    """Whether a value is there; an empty list and an empty text count as absent, as null does."""
    return value is not None and value not in ("", [])


def first_filled(row: Row, *columns: str) -> Cell:
    """The one cell of ``columns`` with a value; if all are empty, the first of them. Raises `DataError` for two."""
    filled = [row[column] for column in columns if is_filled(row[column].value)]
    if len(filled) > 1:
        raise filled[1].wrong(f"is filled, and so is '{filled[0].column}'; keep one of them")
    there = [column for column in columns if column in set(row)]
    return filled[0] if filled else row[next(iter(there), columns[0])]


def with_system(prompt: Prompt, cell: Cell) -> Prompt:
    """A prompt behind the system turn of a column, which may be empty. Raises `DataError` if it has another one."""
    if not is_filled(cell.value):
        return prompt
    system = Turn("system", text(cell))
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt
    found = [turn for turn in turns if turn.role == "system"]
    if any(turn != system for turn in found):
        raise cell.wrong(f"says {shown(cell.value)}, and the messages have another system turn; keep one of them")
    return turns if found else (system, *turns)


def earlier_turns(cell: Cell) -> Iterator[Turn]:
    """The turns of earlier questions and their answers, which are pairs of texts. The cell may be empty."""
    if not is_filled(cell.value):
        return
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of pairs: [question, answer]")
    for number, each in enumerate(cell.value):
        pair = cell._replace(column=f"{cell.column}[{number}]", value=each)
        if not isinstance(each, list) or len(each) != 2:
            raise pair.must_be("a pair: [question, answer]")
        question, answer = (text(pair._replace(value=value)) for value in each)
        yield Turn("user", question)
        yield Turn("assistant", answer)


def listed(cell: Cell, expected: str) -> list[Cell]:
    """The values of a list, each with its place: ``ratings[0]``. Raises `DataError` if the cell has no list."""
    if not isinstance(cell.value, list):
        raise cell.must_be(f"a list, each {expected}")
    return [cell._replace(column=f"{cell.column}[{place}]", value=each) for place, each in enumerate(cell.value)]


def objects(cell: Cell, expected: str) -> list[Cell]:
    """The objects of a list, each with its place. Raises `DataError`, which says what was ``expected``."""
    found = listed(cell, expected)
    for each in found:
        if not isinstance(each.value, dict):
            raise each.must_be(expected)
    return found


def choice(cell: Cell, numbers: Iterable[int], expected: str) -> int:
    """The one of ``numbers`` that a cell contains: as a whole number, as a float such as 1.0, or as text.

    Raises `DataError`, which says what was ``expected``.
    """
    for number in numbers:
        if not isinstance(cell.value, bool) and cell.value in (number, str(number), f"{number}.0"):
            return number
    raise cell.must_be(expected)
