"""Columns that nothing reads, but that a pair needs: refused, never passed over in silence.

They hold pictures, videos, preferences, system prompts, earlier turns or tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mdpo_readers.cell_types import Cell, holds_tools, shown
from mdpo_readers.formats import unread_orders
from mdpo_readers.formats.unread_pictures import (
    files_inside,
    files_named,
    held_kind,
    is_of_read,
    is_picture_column,
)

_ANSWERS_SHOWN = 2
_TOOLS = ("tools", "functions")
_SYSTEM = ("system", "system_prompt", "system_message", "systemprompt", "sys_prompt")
_EARLIER = ("history",)
_AS_MESSAGES = (
    "write it into the prompt as messages, {{role: {role}, content: ...}}, as the readers trl and pairs read them"
)


@dataclass(frozen=True)
class Unread:
    """What a reader reads of a table, and what it may leave unread.

    ``read``: columns that are read. ``pictures``: those of them with pictures. ``orders``: what the answers are called,
    the better one first, in each way that columns may call them; none if a column that is read says their order.
    ``allowed``: columns that the recipe leaves unread (``data.unread``). ``has_options``: options of the reader say
    which columns hold what. ``declares``: what to do about a column with a system prompt or earlier turns, if the
    format can name it; see `TableReader`.
    """

    read: frozenset[str]
    pictures: tuple[str, ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()
    allowed: frozenset[str] = frozenset()
    has_options: bool = True
    declares: str = ""

    def is_watched(self, column: str, has_pictures: bool) -> bool:
        """Whether a column has to be looked at, though nothing reads it: by its name, or because it has pictures."""
        if column in self.read or column in self.allowed:
            return False
        is_named = column in _TOOLS or column.lower() in _SYSTEM or column in _EARLIER or is_picture_column(column)
        return has_pictures or is_named or any(unread_orders.may_order(column, each) for each in self.orders)

    def require_none(self, where: str, values: Mapping[str, Any]) -> None:
        """Raise `DataError` if a stored row has what a pair needs in a column that nothing reads."""
        shown_files = files_named(values.get(column) for column in self.pictures)
        shown_files += files_inside(values.get(column) for column in self.read)
        for column, value in values.items():
            if column in self.read or column in self.allowed or _is_empty(value):
                continue
            cell = Cell(where, column, value)
            if column in _TOOLS:
                require_no_tools(cell)
            self._require_no_turns(cell, values)
            for answers in self.orders:
                _require_no_preference(cell, answers, values)
            kind = held_kind(column, value, bool(shown_files))
            if kind is not None and not is_of_read(column, value, shown_files, self.pictures):
                raise cell.wrong(self._picture_problem(cell, kind))

    def _require_no_turns(self, cell: Cell, values: Mapping[str, Any]) -> None:
        """Raise `DataError` for a system prompt, or for earlier turns, of which the prompt has nothing."""
        is_system = cell.column.lower() in _SYSTEM and isinstance(cell.value, str) and bool(cell.value.strip())
        is_earlier = cell.column in _EARLIER and isinstance(cell.value, list)
        if not (is_system or is_earlier) or self._is_said(cell.value, values):
            return
        what, part = ("a system prompt", "system") if is_system else ("earlier turns", "history")
        ways = self.declares or _AS_MESSAGES
        way = ways.format(part=part, column=cell.column, role="system" if is_system else "user")
        raise cell.wrong(
            f"holds {what} that nothing reads: {shown(cell.value)}; {way}, or leave it out: "
            f"data.unread: [{cell.column}]"
        )

    def _is_said(self, text: Any, values: Mapping[str, Any]) -> bool:
        """Whether a message in a column that is read says a text."""
        messages = (each for column in self.read if isinstance(found := values.get(column), list) for each in found)
        return any(isinstance(each, dict) and text in (each.get("content"), each.get("value")) for each in messages)

    def _picture_problem(self, cell: Cell, kind: str) -> str:
        way = f"read it with data.video: {cell.column}, or "
        if kind == "picture":
            named = f"give it a name in data.other_images: {{NAME: {cell.column}}}"
            way = f"read it with data.image: {cell.column}, {named}, or "
        if not self.has_options:
            way = "this format has no such column: read the file with reader: pairs, or "
        return (
            f"holds a {kind} that nothing reads: {shown(cell.value)}; {way}leave it out: data.unread: [{cell.column}]"
        )


def _require_no_preference(cell: Cell, answers: tuple[str, ...], values: Mapping[str, Any]) -> None:
    """Raise `DataError` if a column says something of the answers' order that is not read, or contradicts it."""
    if unread_orders.is_preference(cell.column, answers):
        named = " and ".join(f"'{name}'" for name in answers[:_ANSWERS_SHOWN])
        raise cell.wrong(
            f"says {shown(cell.value)} of {named}, which the recipe takes in this order, and nothing reads it; "
            "write the better answer into a column of its own, or, if the order is right in every row, set "
            f"data.unread: [{cell.column}]"
        )
    problem = unread_orders.contradiction(cell.column, cell.value, answers, values)
    if problem is not None:
        raise cell.wrong(
            f"{problem}; swap the answers, or remove the row, or, if the order is right, set data.unread: "
            f"[{cell.column}]"
        )


def require_no_tools(cell: Cell) -> None:
    """Raise `DataError` if a column that nothing reads holds tools."""
    if holds_tools(cell.value):
        raise cell.wrong(
            "holds tools, which cannot be trained on yet; remove the row or the column, or leave it out: "
            f"data.unread: [{cell.column}]"
        )


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def watch(
    read: Iterable[str],
    pictures: Iterable[str],
    allowed: Iterable[str],
    orders: Iterable[Iterable[str]],
    has_options: bool,
    declares: str = "",
) -> Unread:
    """What is watched of a table of which these columns are read; see `Unread`."""
    return Unread(
        frozenset(read), tuple(pictures), tuple(map(tuple, orders)), frozenset(allowed), has_options, declares
    )
