"""Several sources, read as one: each with its own reader, and as often as its ``times`` say."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, Self, cast

from pydantic import Field, ValidationError, field_validator, model_validator

from mdpo_core import DataError, Example, ExampleField, LazyRows, MdpoError, Problem, Reader, blame_on, component
from mdpo_readers.cell_types import shown

MOST_COPIES = 1000
_TIMES = f"a whole number from 1 to {MOST_COPIES}, or a share below 1"


class Source(NamedTuple):
    """A source of a mixture. ``times``: a whole number of copies, or the share of the rows that is drawn."""

    name: str
    reader: Reader
    times: int | float


class Mixture(Reader):
    """Rows of several sources, one source after the other; training shuffles them as any rows.

    A source is a reader with its options, and ``times``: 2 reads each row twice, each copy with an id and so a crop of
    its own; 0.5 draws half of the rows. The id of a row is ``source/id``, that
    of its second copy ``source/id#2``; a # in an id is doubled, so that no two rows share one.
    """

    sources: dict[str, dict[str, Any]] = Field(
        description="readers by name, each with its options and times: a whole number of copies, or a share below 1"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of the rows that a share draws")

    @field_validator("sources")
    @classmethod
    def _sources_are_readers(cls, sources: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not sources:
            raise ValueError("name at least one source")
        for name, options in sources.items():
            _source(name, options)
        return sources

    @property
    def notes_files(self) -> bool:
        return all(source.reader.notes_files for source in self.opened_by)

    @model_validator(mode="after")
    def _copies_are_no_duplicates(self) -> Self:
        copied = next((name for name, options in self.sources.items() if options.get("times", 1) > 1), None)
        if self.duplicates == "quarantine" and copied is not None:
            raise ValueError(
                f"duplicates: quarantine would leave out the copies that times reads of the source {copied!r}; leave "
                "one of the two out"
            )
        return self

    @cached_property
    def opened_by(self) -> tuple[Source, ...]:
        """The sources with their readers."""
        return tuple(_source(name, options) for name, options in self.sources.items())

    def open(self) -> MixtureRows:
        parts = []
        for source in self.opened_by:
            rows = _opened(source)
            parts += [Part(source.name, rows, selected, copy) for copy, selected in self._copies(source, len(rows))]
        return MixtureRows(parts)

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        """The names that all sources have."""
        given = [source.reader.gives() for source in self.opened_by]
        known = [each for each in given if each is not None]
        if len(known) < len(given):
            return None
        fields = set.intersection(*(set(each) for each in known))
        return {field: sorted(set.intersection(*(set(each[field]) for each in known))) for field in fields}

    def names_of_sources(self) -> tuple[str, ...] | None:
        names: list[str] = []
        for source in self.opened_by:
            inside = source.reader.names_of_sources()
            if inside is None:
                return None
            names += [f"{source.name}/{each}" for each in inside] or [source.name]
        return tuple(names)

    def _copies(self, source: Source, count: int) -> Iterator[tuple[int, Sequence[int]]]:
        """The number of each copy of a source, from 1, and the rows that it has."""
        if not count:
            raise DataError([Problem("data.sources", source.name, "has no rows; take the source out of the recipe")])
        if isinstance(source.times, int):
            yield from ((copy, range(count)) for copy in range(1, source.times + 1))
            return
        drawn = random.Random(f"{self.seed}/{source.name}").sample(range(count), max(1, round(source.times * count)))
        yield 1, sorted(drawn)


class Part(NamedTuple):
    """The rows of a source that a mixture has. ``copy``: counts from 1."""

    source: str
    rows: Sequence[Example]
    selected: Sequence[int]
    copy: int


class MixtureRows(LazyRows):
    """The rows of all parts, one part after the other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part.selected) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def row(self, number: int) -> Example:
        part, place = self._place(number)
        with _named(part.source):
            example = part.rows[place]
        inside = example.id.replace("#", "##")
        copy = "" if part.copy == 1 else f"#{part.copy}"
        source = f"{part.source}/{example.source}" if example.source else part.source
        return replace(example, id=f"{part.source}/{inside}{copy}", source=source)

    def num_without_example(self) -> int:
        firsts = [part.rows for part in self._parts if part.copy == 1]
        return sum(rows.num_without_example() for rows in firsts if isinstance(rows, LazyRows))

    def place(self, number: int) -> str:
        part, place = self._place(number)
        inside = part.rows.place(place) if isinstance(part.rows, LazyRows) else f"row {place + 1}"
        return f"{part.source}: {inside}"

    def origin(self, number: int) -> tuple[str, str]:
        part, place = self._place(number)
        inner, file = part.rows.origin(place) if isinstance(part.rows, LazyRows) else ("", "")
        return f"{part.source}/{inner}" if inner else part.source, file

    def _place(self, number: int) -> tuple[Part, int]:
        which = bisect_right(self._ends, number)
        part = self._parts[which]
        return part, part.selected[number - (self._ends[which - 1] if which else 0)]


def _opened(source: Source) -> Sequence[Example]:
    """The rows of a source; its errors name it."""
    reader = source.reader
    with _named(source.name), blame_on(f"the reader '{reader.component_name()}' of the source '{source.name}'"):
        return reader.open()


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Problems name their source, as `MixtureRows.place` does."""
    try:
        yield
    except DataError as error:
        problems = [replace(each, where=f"{source}: {each.where}".rstrip(": ")) for each in error.problems]
        raise DataError(problems) from error


def _source(name: str, options: Mapping[str, Any]) -> Source:
    """A source from its options. Raises `ValueError` with its name."""
    if not name.strip() or "/" in name or "#" in name:
        raise ValueError(f"the source {name!r} needs a name without / and #")
    others = {key: value for key, value in options.items() if key not in ("reader", "times")}
    for key in ("bad_rows", "duplicates", "check", "hold_out"):
        if key in others:
            raise ValueError(f"the source {name!r}: {key} counts for the whole mixture; say it at data.{key}")
    for key in ("kind", "name"):  # arguments of `component`
        if key in others:
            raise ValueError(f"the source {name!r}: {key!r} is not an option")
    if not isinstance(options.get("reader"), str):
        raise ValueError(f"the source {name!r} needs a reader, such as reader: pairs")
    try:
        reader = component("reader", options["reader"], **others)
    except ValidationError as error:
        raise ValueError(f"the source {name!r}: {'; '.join(_said(error, options['reader']))}") from error
    except (ValueError, MdpoError) as error:
        raise ValueError(f"the source {name!r}: {' '.join(str(error).split())}") from error
    if cast(Reader, reader).is_streamed():
        raise ValueError(
            f"the source {name!r}: a mixture needs the number of rows; a stream has none: streaming: false"
        )
    return Source(name, cast(Reader, reader), _times(name, options.get("times", 1)))


def _said(error: ValidationError, reader: str) -> Iterator[str]:
    """What is wrong with each option of a reader."""
    for detail in error.errors():
        option, message = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            yield f"{option}: unknown option; `mdpo plugins reader {reader}` lists its options"
        elif detail["type"] == "missing":
            yield f"{option}: missing"
        else:
            yield f"{option}: {message}, found {shown(detail['input'])}" if option else message


def _times(name: str, value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if 0 < value < 1:
            return value
        if 1 <= value <= MOST_COPIES and value == int(value):
            return int(value)
    raise ValueError(f"the source {name!r}: times must be {_TIMES}; found {value!r}")
