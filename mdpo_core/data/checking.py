"""The data of a run: every row read and checked once, before a model is loaded."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.data.encoding import BatchBuilder, TrainingData
from mdpo_core.data.pictures.keys import keys_of
from mdpo_core.data.validity import problems_before_encoding
from mdpo_core.errors import DataError, PluginError, Problem, RecipeError, blame_on, by_frequency
from mdpo_core.interfaces.reader import Reader
from mdpo_core.types.example import Example
from mdpo_core.types.rows import LazyRows, Rows, place_in
from mdpo_core.types.stored_bytes import Files, FileState, noted_files, stored_digest
from mdpo_core.types.view import CLEAN
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.processes.workers import Workers

SHOWN = 20  # problems in an error; the rest are counted
_CHUNK = 32  # rows that a worker checks in one go


@dataclass
class CheckedData:
    """Data, the numbers of its valid rows, and the problems of the others.

    ``lengths``: tokens of each valid row: its prompt (image tokens included) plus all its responses.
    ``digest`` covers the data: everything in the valid rows. For a picture it covers the stored bytes, as
    `read_image` was given them, or the pixels of a picture that comes from elsewhere.
    ``keys`` and ``sources`` of each valid row: see `keys_of` and `Example`. ``held_out``: rows that are not trained on;
    None if the recipe holds none out. ``files``: what was noted while rows were read. ``tried``: what a row was encoded
    with besides the check; see `tried_with`. ``ids`` of bad rows, where they could be read. ``duplicates``: rows that
    are left out, and the first row with the same content. ``stored``: for the main process, what `CheckStore` keeps, by
    file name. ``apart``: of a set that is not checked whole, the rows that are held out.
    """

    data: Sequence[Example]
    rows: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    bad: dict[int, list[Problem]] = field(default_factory=dict)
    digest: str = ""
    keys: list[bytes] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    held_out: CheckedData | None = None
    files: Files = field(default_factory=dict)
    tried: str = ""
    ids: dict[int, str] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)
    stored: Mapping[str, bytes] = field(default_factory=dict)
    apart: list[int] = field(default_factory=list)

    @property
    def num_bad(self) -> int:
        """The number of rows with problems."""
        return len(self.bad)

    @property
    def num_left_out(self) -> int:
        """The number of rows in quarantine: bad ones and duplicates."""
        return len(self.bad) + len(self.duplicates)

    def place(self, row: int) -> str:
        """Where a user finds a row, which counts from 0."""
        return place_in(self.data, row)

    def valid_examples(self) -> Sequence[Example]:
        """The valid rows."""
        return Rows(self.data, self.rows)

    def held_out_examples(self) -> Sequence[Example]:
        """The valid rows that are held out; none if there are none."""
        return () if self.held_out is None else self.held_out.valid_examples()

    def of(self, indices: Sequence[int]) -> CheckedData:
        """The same data with only the valid rows at these indices, and none that are left out."""
        return replace(
            self,
            rows=[self.rows[index] for index in indices],
            lengths=[self.lengths[index] for index in indices],
            keys=[self.keys[index] for index in indices],
            sources=[self.sources[index] for index in indices],
            bad={},
            ids={},
            duplicates={},
        )

    def with_builder(self, builder: BatchBuilder) -> TrainingData:
        """The valid rows, and the builder of their batches."""
        return TrainingData(self.valid_examples(), self.lengths, builder, self)

    def require_valid(self, quarantine: float) -> None:
        """Raise `DataError` unless at most the share ``quarantine`` of all rows is bad, and some rows remain."""
        total = len(self.rows) + self.num_left_out
        if not self.bad or (self.rows and self.num_bad <= quarantine * total):
            return
        if self.rows and quarantine > 0:
            raise DataError([Problem("", "data.bad_rows", self._too_many(quarantine, total)), *self._reasons()])
        found = by_frequency(self.bad.values())
        rest = [Problem("", "", f"... and {len(found) - SHOWN} more")] if len(found) > SHOWN else []
        none = [] if self.rows else [Problem("", "", f"no row is left to train on: all {total:,} are bad")]
        title = [] if not found or found[0].where else [Problem("", "", self._title(total))]
        raise DataError([*title, *found[:SHOWN], *rest, *(none if quarantine > 0 else [])])

    def _title(self, total: int) -> str:
        if not self.rows:
            all_bad = "the only row is bad" if total == 1 else f"all {total:,} rows are bad"
            return f"{all_bad}; the reasons, the most frequent first:"
        are, them = ("is", "it") if self.num_bad == 1 else ("are", "them")
        mend = f"mend {them}, or leave {them} out by data.bad_rows: quarantine"
        return f"{self.num_bad:,} of {counted(total, 'row')} {are} bad; {mend}. The reasons, the most frequent first:"

    def _too_many(self, quarantine: float, total: int) -> str:
        are = "is" if self.num_bad == 1 else "are"
        return (
            f"{self.num_bad:,} of {counted(total, 'row')} ({self.num_bad / total:.2%}) {are} bad, more than "
            f"{{quarantine: {quarantine:g}}} allows; mend them, or raise it. The reasons:"
        )

    def _reasons(self) -> list[Problem]:
        """The kinds of problems, the most frequent first, each with its number of rows and its first row."""
        return by_frequency(self.bad.values(), few=0)[:SHOWN]


def open_data(reader: Reader) -> Sequence[Example]:
    """The rows of a reader. Raises `PluginError` if it does not give a sequence, `DataError` if that is empty."""
    name = f"the reader '{reader.component_name()}'"
    with blame_on(name):
        data = reader.open()
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise PluginError(f"{name}: open() must return a sequence of examples; it returned {type(data).__name__}")
    with blame_on(name):
        count = len(data)
    if not count:
        raise DataError(f"{name} gives no rows{_why_none(data)}")
    return data


def _why_none(data: Sequence[Example]) -> str:
    count = data.num_without_example() if isinstance(data, LazyRows) else 0
    return f": no pair comes from its {counted(count, 'row')}, as from ties; read other rows" if count else ""


def open_all_rows(reader: Reader) -> Sequence[Example]:
    """The same for commands that read every row once. Raises `RecipeError` for a stream."""
    if reader.is_streamed():
        raise RecipeError("a stream of rows has no last row; this command needs data.streaming: false")
    return open_data(reader)


def check_data(
    data: Sequence[Example],
    builder: BatchBuilder,
    progress: Callable[[int, int], object],
    workers: int | Workers = 0,
    *,
    without_duplicates: bool = False,
    chosen: Sequence[int] | None = None,
) -> CheckedData:
    """Read and encode every row as training will, with the corruptions that show another field of a row alone.

    ``workers``: how many to start, or those that are kept. ``chosen``: the rows to check, in order; None: all. The
    others count as sound, as long as the median of these.
    """
    checked = CheckedData(data)
    digest = hashlib.sha256()
    seen: dict[str, int] = {}
    contents: dict[bytes, int] = {}
    numbers = range(len(data)) if chosen is None else chosen
    chunks = (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))
    with _computed(_RowCheck(data, builder.of_own_fields()), chunks, workers) as results:
        for done, (row, result) in enumerate(zip(numbers, chain.from_iterable(results), strict=True)):
            problems = [*result.problems, *_repeated(result.id, row, seen, data)]
            if problems:
                checked.bad[row] = [problem.at(checked.place(row)) for problem in problems]
                if isinstance(result.id, str):
                    checked.ids[row] = result.id
            elif without_duplicates and contents.setdefault(result.content, row) != row:
                checked.duplicates[row], checked.ids[row] = contents[result.content], str(result.id)
            else:
                checked.rows.append(row)
                checked.lengths.append(result.length)
                checked.keys.append(result.keys)
                checked.sources.append(sys.intern(result.source))
                digest.update(result.digest)
            checked.files.update(result.files)
            progress(done + 1, len(numbers))
    if chosen is not None:
        digest.update(f"of {len(data)} rows".encode())
    checked.digest = digest.hexdigest()
    return checked if chosen is None else _with_unchecked(checked)


def _computed(
    check: _RowCheck, chunks: Iterator[Sequence[int]], workers: int | Workers
) -> AbstractContextManager[Iterator[list[_RowResult]]]:
    from mdpo_core.processes.workers import computed_ahead

    return computed_ahead(check, chunks, workers) if isinstance(workers, int) else workers.ahead(check, chunks)


def chosen_rows(check: str | float, num_rows: int) -> Sequence[int] | None:
    """The rows that `Reader.check` asks to check; None: all. The first two are among them; see `check_some`."""
    if check == "all":
        return None
    count = round(check * num_rows) if isinstance(check, float) else 0
    drawn = random.Random(f"check|{num_rows}").sample(range(num_rows), count)
    return sorted({*range(min(2, num_rows)), *drawn})


def _with_unchecked(checked: CheckedData) -> CheckedData:
    rows = [row for row in range(len(checked.data)) if row not in checked.bad]
    known = dict(zip(checked.rows, checked.lengths, strict=True))
    usual = int(statistics.median(known.values())) if known else 1
    lengths = [known.get(row, usual) for row in rows]
    return replace(checked, rows=rows, lengths=lengths, keys=[b""] * len(rows), sources=[""] * len(rows))


class _RowResult(NamedTuple):
    """The result of checking one row by itself. ``id`` is None if the row could not be read."""

    id: str | None
    problems: Sequence[Problem] = ()
    length: int = 0
    digest: bytes = b""
    content: bytes = b""
    keys: bytes = b""
    source: str = ""
    files: Sequence[tuple[str, FileState]] = ()


@dataclass(frozen=True)
class _RowCheck:
    """Checks rows one by one, in this process or in a worker."""

    data: Sequence[Example]
    builder: BatchBuilder

    def __call__(self, rows: Sequence[int]) -> list[_RowResult]:
        return [self._noting(row) for row in rows]

    def _noting(self, row: int) -> _RowResult:
        with noted_files() as files:
            result = self._check(row)
        return result._replace(files=tuple(files.items()))

    def _check(self, row: int) -> _RowResult:
        try:
            with blame_on(self.data.place(row) if isinstance(self.data, LazyRows) else f"row {row + 1} of the data"):
                example = self.data[row]
        except DataError as error:
            return _RowResult(None, error.problems)
        problems = problems_before_encoding(example, self.builder.encoder, self.builder.compared)
        if problems:
            return _RowResult(getattr(example, "id", None), problems)
        try:
            encoded = self.builder.encode(example, self.data, epoch=0)
        except DataError as error:
            return _RowResult(example.id, error.problems)
        length = len(encoded.prompts[CLEAN].token_ids) + sum(map(len, encoded.responses.values()))
        shown = Example("", example.prompt, example.responses, example.images, begun=example.begun)
        digests = _digest(example), _digest(shown)
        return _RowResult(example.id, (), length, *digests, keys_of(example), example.source)


def _repeated(example_id: str | None, row: int, seen: dict[str, int], data: Sequence[Example]) -> list[Problem]:
    if example_id is None or seen.setdefault(example_id, row) == row:
        return []
    first = seen[example_id]
    place = place_in(data, first)
    return [Problem("", "", f"{place} also has the id {example_id!r}; ids must differ: give one of the two another id")]


def _digest(example: Example) -> bytes:
    return hashlib.sha256(b"".join(_content(example))).digest()


def _content(example: Example) -> Iterator[bytes]:
    texts = [example.id, example.prompt, sorted(example.responses.items()), sorted(example.columns.items())]
    yield json.dumps(texts, default=vars).encode()  # turns of a conversation are objects
    others = [sorted(part.items()) for part in (example.other_prompts, example.vectors, example.boxes)]
    if any(others):  # rows without these fields keep the digest of versions that did not have them
        yield json.dumps(others, default=vars).encode()
    for later in (example.videos, example.frame_times, example.begun):
        if later:
            yield str(later).encode()
    for name, images in [("", example.images), *sorted(example.other_images.items())]:
        yield name.encode()
        for image in images:
            yield stored_digest(image) or f"{image.mode}{image.size}".encode() + image.tobytes()
