"""The contract of rows as they are stored, which commands write anew with other responses."""

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

_PARTS = ("prompt", "responses", "images", "columns", "other_images", "other_prompts", "vectors", "boxes")
_ANSWER, _COLUMN = "an answer of the contract", "contract"


def check_stored(reader: Reader, data: Sequence[Example], found: Sequence[Example]) -> None:
    """What has ``as_stored`` gives the same rows when they were written anew; ``found``: the first rows of data."""
    with calling(reader, "for as_stored"):
        stored = getattr(data, "as_stored", None)
    if stored is None:
        return
    with calling(reader, "for as_stored.embeds_images"):
        embeds = stored.embeds_images
    require_returned(reader, "for as_stored.embeds_images", embeds, bool, "True or False")
    for row in range(len(found)):
        with calling(reader, f"in as_stored.stored({row})"):
            columns = stored.stored(row)
        require(
            _is_json(columns),
            f"{name_of(reader)} returns {shown(columns)} for as_stored.stored({row}); it must return a dict of "
            "columns, whose values JSON holds",
        )
    with TemporaryDirectory() as folder:
        _check_written(reader, NewPairsFile(Path(folder) / "rows.jsonl", data), found)


def _is_json(columns: object) -> bool:
    try:
        json.dumps(columns, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(columns, dict) and all(isinstance(column, str) for column in columns)


def _check_written(reader: Reader, new: NewPairsFile, found: Sequence[Example]) -> None:
    name, response = name_of(reader), next(iter(found[0].responses), "chosen")
    rows = [NewRow(row, {response: _ANSWER}, {_COLUMN: 0.5}) for row in range(len(found))]
    with calling(reader, "when its rows are written anew, by as_stored"):
        made = new.write(rows)
    require_returned(reader, "for as_stored.reader(...)", made, Reader, "a Reader")
    with calling(reader, "when what it wrote is read, by as_stored.reader(...)"):
        again = list(made.open())
    require(len(again) == len(found), f"{name} reads {len(again)} of {len(found)} rows that it wrote, by as_stored")
    stale = new.stale(rows)
    for row, (before, after) in enumerate(zip(found, again, strict=True)):
        require_fields(f"{name} row {row} when it is written and read, by as_stored", after)
        columns = {column: value for column, value in before.columns.items() if column not in stale}
        expected = replace(before, columns=columns | {_COLUMN: 0.5}, responses={**before.responses, response: _ANSWER})
        changed = [part for part in _PARTS if _part(after, part, response) != _part(expected, part, response)]
        require(
            not changed, f"{name} row {row} has other {', '.join(changed)} when it is written and read, by as_stored"
        )


def _part(example: Example, part: str, response: str) -> object:
    """A field as values that can be compared. A response that was written may be text or a turn."""
    value = getattr(example, part)
    if part == "responses" and response in value:
        value = {**value, response: example.text(response)}
    return contents(replace(Example("", "", {}), **{part: value}))
