"""What the page shows, without its form: some rows of each source, lengths, bad rows, duplicates."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mdpo_core.cli.preview.tokens import Run, prompt_runs, response_runs
from mdpo_core.cli.token_view import alike
from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.held_out import FirstLook, split, split_at
from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.reader import Reader
from mdpo_core.reporting.page.pictures import Shown, shown
from mdpo_core.reporting.page.words import Words, differences
from mdpo_core.types.batch import EncodedRow
from mdpo_core.types.example import Example
from mdpo_core.types.rows import LazyRows, place_in
from mdpo_core.types.stored_bytes import stored_digest
from mdpo_core.types.view import CLEAN

_NAMED = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.]*")  # what differs between problems of one kind
_PLACES = 5


class Condition(NamedTuple):
    """The pictures of a row under a condition. ``prompt``: its tokens, if they differ from the clean prompt's.

    ``fault``: why this row cannot have the condition. ``is_same``: its pictures are the row's own.
    """

    name: str
    what: str
    pictures: Sequence[Shown] = ()
    prompt: Sequence[Run] = ()
    fault: str = ""
    is_same: bool = False


class Answer(NamedTuple):
    """A response: its words, compared with another response's, and its tokens."""

    name: str
    words: Sequence[Words]
    tokens: Sequence[Run]
    num_tokens: int


class RowView(NamedTuple):
    """A row as the page shows it.

    ``length``: tokens of its prompt with the longest of its responses. ``mark``: what it is for, if not to
    train on. ``beginning``: the text that all answers go on from, with the joint.
    """

    place: str
    id: str
    prompt: Sequence[Run]
    conditions: Sequence[Condition]
    answers: Sequence[Answer]
    columns: dict[str, float]
    length: int
    mark: str = ""
    beginning: str = ""


class Reason(NamedTuple):
    """Bad rows of one kind: the first problem of the kind, and the rows of the first few."""

    num_rows: int
    example: str
    places: Sequence[str]


@dataclass(frozen=True)
class Contents:
    """Everything that the page shows.

    ``rows``: by source, those that are held out last. ``duplicates``: rows that are equal but for their ids. ``fault``:
    why no rows can be held out, though the recipe asks for it. ``validation``: the same of the recipe's section.
    """

    title: str
    reader: str
    num_rows: int
    max_length: int
    rows: dict[str, list[RowView]] = field(default_factory=dict)
    lengths: Sequence[int] = ()
    reasons: Sequence[Reason] = ()
    num_bad: int = 0
    duplicates: Sequence[Sequence[str]] = ()
    num_held_out: int = 0
    fault: str = ""
    validation: Contents | None = None


@dataclass(frozen=True)
class NotingBuilder(BatchBuilder):
    """A builder that remembers the tokens of each row's longest view, by the row's id, in ``longest``."""

    longest: dict[str, int] = field(default_factory=dict)

    def _limit_length(self, row: EncodedRow) -> None:
        prompt = max(len(prompt.token_ids) for prompt in row.prompts.values())
        self.longest[row.id] = prompt + max(map(len, row.responses.values()))  # of rows that are too long, too
        super()._limit_length(row)


class NotedRows(LazyRows):
    """Rows that remember, when one of them is read, what it shows apart from its id."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self._rows = rows
        self.digests: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, number: int) -> str:
        """Where a user finds the row."""
        return place_in(self._rows, number)

    def row(self, number: int) -> Example:
        example = self._rows[number]
        if isinstance(example, Example) and number not in self.digests:
            self.digests[number] = _digest(example)
        return example


def _digest(example: Example) -> bytes:
    found = hashlib.sha256(repr((example.prompt, example.begun, sorted(example.responses.items()))).encode())
    for image in example.images:
        found.update(stored_digest(image) or image.tobytes())
    return found.digest()


def duplicates_of(rows: NotedRows, valid: Sequence[int]) -> list[list[str]]:
    """The places of valid rows that are equal but for their ids, group by group."""
    groups: dict[bytes, list[str]] = {}
    for row in valid:
        groups.setdefault(rows.digests[row], []).append(rows.place(row))
    return [places for places in groups.values() if len(places) > 1]


def reasons_of(checked: CheckedData) -> list[Reason]:
    """The problems of bad rows by column and kind, the most frequent first; a row counts once for each."""
    by_kind: dict[str, list[Problem]] = {}
    for problems in checked.bad.values():
        of_row = {_NAMED.sub("…", _said(problem)): problem for problem in reversed(problems)}
        for kind, problem in reversed(of_row.items()):
            by_kind.setdefault(kind, []).append(problem)
    return [
        Reason(len(found), _said(found[0]), [problem.where for problem in found[:_PLACES]])
        for found in sorted(by_kind.values(), key=len, reverse=True)
    ]


def _said(problem: Problem) -> str:
    """A problem without its place."""
    return str(replace(problem, where=""))


def drawn_rows(checked: CheckedData, count: int, seed: int) -> dict[str, list[int]]:
    """Up to ``count`` valid rows of each source, drawn by ``seed``, in order."""
    by_source: dict[str, list[int]] = {}
    for index, source in enumerate(checked.sources):
        by_source.setdefault(source, []).append(index)
    return {
        source: sorted(random.Random(f"{seed}|{source}").sample(indices, min(count, len(indices))))
        for source, indices in by_source.items()
    }


def parted(checked: CheckedData, reader: Reader) -> tuple[CheckedData, CheckedData, str]:
    """The rows to train on, those that are held out, and why none can be, if the recipe asks for it."""
    if reader.hold_out is None:
        return checked, checked.of(()), ""
    try:
        if reader.check == "all":
            trained = split(checked, reader.hold_out)
        else:  # a run then does not know yet which rows are bad
            trained = split_at(checked, FirstLook.at(checked.data, reader.hold_out, lambda done, total: None, 0).apart)
    except DataError as error:
        return checked, checked.of(()), str(error)
    assert trained.held_out is not None, "a split has two parts"
    return trained, trained.held_out, ""


def row_view(builder: NotingBuilder, data: Sequence[Example], index: int, place: str, mark: str = "") -> RowView:
    """A valid row as the page shows it; ``data`` are the valid rows."""
    example = data[index]
    encoded = builder.of_own_fields().encode(example, data, epoch=0)
    clean = encoded.prompts[CLEAN]
    original = Condition("as it is", "", [shown(image) for image in example.images])
    conditions = [original, *(_condition(builder, example, name, data) for name in builder.corruptions)]
    runs = {
        name: response_runs(builder.encoder, ids, encoded.turns.get(name)) for name, ids in encoded.responses.items()
    }
    counts = {name: len(ids) for name, ids in encoded.responses.items()}
    answers = [Answer(name, words, runs[name], counts[name]) for name, words in _compared(example, list(runs))]
    prompt = prompt_runs(builder.encoder, clean, example.prompt)
    columns, length = dict(example.columns), builder.longest[example.id]
    return RowView(place, example.id, prompt, conditions, answers, columns, length, mark, example.beginning)


def _condition(builder: BatchBuilder, example: Example, name: str, data: Sequence[Example]) -> Condition:
    what = builder.corruptions[name].component_name()
    try:
        corrupted = builder.corrupt(example, name, data, epoch=0)
        prompt, clean = builder.encode_prompt(corrupted), builder.encode_prompt(example)
    except DataError as error:
        return Condition(name, what, fault=str(error))
    runs = [] if alike(prompt, clean) else prompt_runs(builder.encoder, prompt, corrupted.prompt)
    pictures = [shown(image) for image in corrupted.images]
    is_same = bool(pictures) and pictures == [shown(image) for image in example.images]
    return Condition(name, what, pictures, runs, is_same=is_same)


def _compared(example: Example, names: Sequence[str]) -> Iterator[tuple[str, list[Words]]]:
    """The words of each response: of the first against the second, of the others against the first."""
    first = example.text(names[0])
    if len(names) == 1:
        yield names[0], [Words(first, False)]
        return
    yield names[0], differences(first, example.text(names[1]))[0]
    for name in names[1:]:
        yield name, differences(first, example.text(name))[1]
