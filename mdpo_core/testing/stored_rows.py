"""The contract of ``as_stored``, with which commands write rows again with new responses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mdpo_core.errors import shown
from mdpo_core.interfaces.reader import Reader
from mdpo_core.make_data.new_rows import NewPairsFile, NewRow
from mdpo_core.testing.sentences import calling, contents, name_of, require, require_fields, require_returned
from mdpo_core.types.example import Example

_PARTS = ("prompt", "begun", "responses", "images", "columns", "other_images", "other_prompts", "vectors", "boxes")
_ANSWER, _COLUMN = "an answer of the contract", "contract"


def check_stored(reader: Reader, data: Sequence[Example], examples: Sequence[Example]) -> None:
    """Check that rows stay the same when ``as_stored``, if ``data`` has it, writes them and its reader reads them.

    ``examples``: the first rows of ``data``.
    """
    with calling(reader, "for as_stored"):
        stored = getattr(data, "as_stored", None)
    if stored is None:
        return
    with calling(reader, "for as_stored.embeds_images"):
        embeds = stored.embeds_images
    require_returned(reader, "for as_stored.embeds_images", embeds, bool, "True or False")
    for row in range(len(examples)):
        with calling(reader, f"in as_stored.stored({row})"):
            columns = stored.stored(row)
        require(
            _is_json(columns),
            f"{name_of(reader)} returns {shown(columns)} for as_stored.stored({row}); it must return a dict of "
            "columns with values that JSON can hold",
        )
    with TemporaryDirectory() as folder:
        _check_written(reader, NewPairsFile(Path(folder) / "rows.jsonl", data), examples)


def _is_json(columns: object) -> bool:
    try:
        json.dumps(columns, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(columns, dict) and all(isinstance(column, str) for column in columns)


def _check_written(reader: Reader, new: NewPairsFile, examples: Sequence[Example]) -> None:
    name, response = name_of(reader), next(iter(examples[0].responses), "chosen")
    rows = [NewRow(row, {response: _ANSWER}, {_COLUMN: 0.5}) for row in range(len(examples))]
    with calling(reader, "when as_stored writes its rows"):
        written = new.write(rows)
    require_returned(reader, "for as_stored.reader(...)", written, Reader, "a Reader")
    with calling(reader, "when as_stored.reader(...) reads the rows that as_stored wrote"):
        again = list(written.open())
    require(len(again) == len(examples), f"{name} reads {len(again)} rows where as_stored wrote {len(examples)}")
    stale = new.stale(rows)
    for row, (before, after) in enumerate(zip(examples, again, strict=True)):
        require_fields(f"{name} row {row}, written by as_stored and read again", after)
        columns = {column: value for column, value in before.columns.items() if column not in stale}
        expected = replace(before, columns=columns | {_COLUMN: 0.5}, responses={**before.responses, response: _ANSWER})
        changed = [part for part in _PARTS if _part(after, part, response) != _part(expected, part, response)]
        require(
            not changed,
            f"{name} changes the {', '.join(changed)} of row {row} when as_stored writes it and its reader reads it",
        )


def _part(example: Example, part: str, response: str) -> object:
    """A field as values that compare by ``==``. The written response may come back as text or as a turn."""
    value = getattr(example, part)
    if part == "responses" and response in value:
        value = {**value, response: example.text(response)}
    return contents(replace(Example("", "", {}), **{part: value}))
