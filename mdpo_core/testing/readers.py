"""The contract of readers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import NoneType
from typing import get_args

from mdpo_core.data.validity import problems_of_row
from mdpo_core.errors import shown
from mdpo_core.interfaces.reader import Reader
from mdpo_core.testing.sentences import (
    Broken,
    all_contents,
    calling,
    check_options,
    contents,
    global_randomness,
    name_of,
    require,
    require_fields,
    require_returned,
)
from mdpo_core.testing.stored_rows import check_stored
from mdpo_core.types.example import Example, ExampleField

_MOST_ROWS = 100
_WRITTEN_ROWS = 3
_FIELDS: tuple[ExampleField, ...] = get_args(ExampleField)


def check_reader(reader: Reader) -> None:
    """Check a reader whose rows are all valid; raises `AssertionError` with what it breaks.

    Long data are checked on the first and last hundred rows. If the rows have ``as_stored``, three of them are written
    into a temporary folder and read again.
    """
    check_options(reader, Reader)
    data, size = _opened(reader)
    name = name_of(reader)
    require(size > 0, f"{name} gives no rows")
    rows = sorted({*range(size)[:_MOST_ROWS], *range(size)[-_MOST_ROWS:]})
    generators = global_randomness()
    examples = [_read(reader, data, row) for row in rows]
    require(global_randomness() == generators, f"{name} uses a global random generator")
    for row, example in zip(rows, examples, strict=True):
        _check_row(name, row, example)
    _check_ids(name, rows, examples)
    _check_names(name, rows, examples)
    _check_gives(reader, examples[0])
    _check_option_for(reader, examples[0])
    again = [_read(reader, data, row) for row in reversed(rows)][::-1]
    require(all_contents(examples) == all_contents(again), f"{name} gives different rows when they are read again")
    reopened, new_size = _opened(reader)
    same = new_size == size and all_contents(examples) == all_contents([_read(reader, reopened, row) for row in rows])
    require(same, f"{name} gives different rows when it is opened again")
    _check_sequence(reader, data, size)
    check_stored(reader, data, examples[:_WRITTEN_ROWS])


def _opened(reader: Reader) -> tuple[Sequence[Example], int]:
    """The rows and their number."""
    with calling(reader, "in open()"):
        data = reader.open()
    known = all(hasattr(data, method) for method in ("__len__", "__getitem__")) and not isinstance(data, Mapping)
    require(
        known,
        f"{name_of(reader)} returns {shown(data)} for open(); it must return a sequence of Example, such as a list",
    )
    with calling(reader, "in len() of its rows"):
        return data, len(data)


def _read(reader: Reader, data: Sequence[Example], row: int) -> Example:
    with calling(reader, f"for row {row}"):
        example = data[row]
    _require_example(f"{name_of(reader)} row {row}", example)
    return example


def _require_example(location: str, example: object) -> None:
    require(isinstance(example, Example), f"{location} is {shown(example)}, not an Example")
    assert isinstance(example, Example)
    require(
        isinstance(example.id, str) and example.id != "",
        f"{location} has the id {example.id!r}; an id must be non-empty text",
    )
    require_fields(location, example)


def _check_row(name: str, row: int, example: Example) -> None:
    location = f"{name} row {row}"
    problems = problems_of_row(example)
    require(not problems, f"{location}: {'; '.join(problems)}")
    modes = [image.mode for images in (example.images, *example.other_images.values()) for image in images]
    require(set(modes) <= {"RGB"}, f"{location} has images of modes {modes}; corruptions and models take RGB")
    wrong_columns = {name: value for name, value in example.columns.items() if not isinstance(value, float)}
    require(not wrong_columns, f"{location} has columns that are not floats: {wrong_columns}")
    wrong_vectors = [name for name, vector in example.vectors.items() if not all(isinstance(x, float) for x in vector)]
    require(not wrong_vectors, f"{location} has vectors with elements that are not floats: {wrong_vectors}")


def _check_ids(name: str, rows: Sequence[int], examples: Sequence[Example]) -> None:
    seen: dict[str, int] = {}
    for row, example in zip(rows, examples, strict=True):
        first = seen.setdefault(example.id, row)
        require(
            first == row,
            f"{name} gives the id {example.id!r} to rows {first} and {row}; ids must differ, because they seed the "
            "corruptions",
        )


def _check_names(name: str, rows: Sequence[int], examples: Sequence[Example]) -> None:
    for row, example in zip(rows, examples, strict=True):
        for field in _FIELDS:
            first, names = list(getattr(examples[0], field)), list(getattr(example, field))
            require(set(first) == set(names), f"{name} row {row} has the {field} {names}, but row 0 has {first}")


def _check_gives(reader: Reader, example: Example) -> None:
    """Check that gives() declares the names in the rows: recipes are checked against it before a row is read."""
    name = name_of(reader)
    with calling(reader, "in gives()"):
        declared = reader.gives()
    if declared is None:
        return
    require_returned(reader, "for gives()", declared, Mapping, "a mapping from fields of Example to names, or None")
    for field, names in declared.items():
        require(field in _FIELDS, f"{name} has the key {field!r} in gives(); it can be one of {', '.join(_FIELDS)}")
        listed = isinstance(names, Collection) and not isinstance(names, str) and all(isinstance(n, str) for n in names)
        require(listed, f"{name} gives {shown(names)} for the {field} in gives(); it must be a collection of names")
    for field in _FIELDS:
        expected, names = list(declared.get(field, ())), list(getattr(example, field))
        require(
            set(expected) == set(names),
            f"{name} says in gives() that rows have the {field} {expected}, but row 0 has {names}",
        )


def _check_option_for(reader: Reader, example: Example) -> None:
    """Check option_for(): errors about missing fields ask every installed reader how to give them."""
    for field in _FIELDS:
        for name in (*getattr(example, field), "another"):
            context = f"for option_for({field!r}, {name!r})"
            with calling(reader, context):
                advice = type(reader).option_for(field, name)
            require_returned(reader, context, advice, (str, NoneType), "the options to set, as text, or None")
            require(advice != "", f"{name_of(reader)} returns empty text {context}; return None if no option gives it")


def _check_sequence(reader: Reader, data: Sequence[Example], size: int) -> None:
    name = name_of(reader)
    last = _read(reader, data, size - 1)
    require(contents(_read(reader, data, -1)) == contents(last), f"{name}: row -1 is not the last row")
    for outside in (size, -size - 1):
        with calling(reader, f"for row {outside} of {size}, which must raise IndexError"), suppress(IndexError):
            data[outside]
            raise Broken(f"{name} has {size} rows but gives a row {outside}; it must raise IndexError")
    with calling(reader, "for the slice [:2]"):
        sliced = list(data[:2])
    with calling(reader, "when its rows are iterated over"):
        iterated = list(islice(data, 2))
    for example in (*sliced, *iterated):
        _require_example(f"a row of {name}, in the slice [:2] or in iteration,", example)
    require(all_contents(sliced) == all_contents(iterated), f"{name}: slicing and iterating give different rows")
