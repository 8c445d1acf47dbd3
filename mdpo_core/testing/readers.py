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
    """Try out a reader on data of which each row is valid; of long data, on the first and last hundred rows.

    Where these have ``as_stored``, three are written into a temporary folder and read again.
    """
    check_options(reader, Reader)
    data, size = _opened(reader)
    name = name_of(reader)
    require(size > 0, f"{name} gives no rows")
    rows = sorted({*range(size)[:_MOST_ROWS], *range(size)[-_MOST_ROWS:]})
    generators = global_randomness()
    found = [_read(reader, data, row) for row in rows]
    require(global_randomness() == generators, f"{name} uses a random generator of the process")
    for row, example in zip(rows, found, strict=True):
        _check_row(name, row, example)
    _check_ids(name, rows, found)
    _check_names(name, rows, found)
    _check_gives(reader, found[0])
    _check_option_for(reader, found[0])
    again = [_read(reader, data, row) for row in reversed(rows)][::-1]
    require(all_contents(found) == all_contents(again), f"{name} gives another row when it is asked again")
    anew, anew_size = _opened(reader)
    same = anew_size == size and all_contents(found) == all_contents([_read(reader, anew, row) for row in rows])
    require(same, f"{name} gives other rows when it is opened anew")
    _check_sequence(reader, data, size)
    check_stored(reader, data, found[:_WRITTEN_ROWS])


def _opened(reader: Reader) -> tuple[Sequence[Example], int]:
    """The rows, and how many they are."""
    with calling(reader, "in open()"):
        data = reader.open()
    known = all(hasattr(data, method) for method in ("__len__", "__getitem__")) and not isinstance(data, Mapping)
    require(
        known,
        f"{name_of(reader)} returns {shown(data)} for open(); it must return a sequence of Example, such as a list",
    )
    with calling(reader, "when the length of its rows is taken"):
        return data, len(data)


def _read(reader: Reader, data: Sequence[Example], row: int) -> Example:
    with calling(reader, f"for row {row}"):
        example = data[row]
    _require_example(f"{name_of(reader)} row {row}", example)
    return example


def _require_example(where: str, example: object) -> None:
    require(isinstance(example, Example), f"{where} is {shown(example)}, not an Example")
    assert isinstance(example, Example)
    require(isinstance(example.id, str) and example.id != "", f"{where} has the id {example.id!r}, no text")
    require_fields(where, example)


def _check_row(name: str, row: int, example: Example) -> None:
    where = f"{name} row {row}"
    problems = problems_of_row(example)
    require(not problems, f"{where}: {'; '.join(problems)}")
    modes = [image.mode for images in (example.images, *example.other_images.values()) for image in images]
    require(set(modes) <= {"RGB"}, f"{where} has images of modes {modes}; corruptions and models take RGB")
    wrong = {key: value for key, value in example.columns.items() if not isinstance(value, float)}
    require(not wrong, f"{where} has columns that are no floats: {wrong}")
    loose = [key for key, vector in example.vectors.items() if not all(isinstance(each, float) for each in vector)]
    require(not loose, f"{where} has vectors of other things than floats: {loose}")


def _check_ids(name: str, rows: Sequence[int], found: Sequence[Example]) -> None:
    seen: dict[str, int] = {}
    for row, example in zip(rows, found, strict=True):
        first = seen.setdefault(example.id, row)
        require(first == row, f"{name} gives the id {example.id!r} to rows {first} and {row}; it seeds the corruption")


def _check_names(name: str, rows: Sequence[int], found: Sequence[Example]) -> None:
    for row, example in zip(rows, found, strict=True):
        for field in _FIELDS:
            one, other = list(getattr(found[0], field)), list(getattr(example, field))
            require(set(one) == set(other), f"{name} row {row} has the {field} {other}, row 0 {one}")


def _check_gives(reader: Reader, example: Example) -> None:
    """Recipes are held against these names before a row is read, so they are those of the rows, all of them."""
    name = name_of(reader)
    with calling(reader, "in gives()"):
        given = reader.gives()
    if given is None:
        return
    require_returned(reader, "for gives()", given, Mapping, "a mapping from fields of Example to names, or None")
    for field, names in given.items():
        require(field in _FIELDS, f"{name} names {field!r} in gives(); fields with names are {', '.join(_FIELDS)}")
        listed = isinstance(names, Collection) and not isinstance(names, str) and all(isinstance(n, str) for n in names)
        require(listed, f"{name} says of the {field} in gives() {shown(names)}; it must be a collection of names")
    for field in _FIELDS:
        said, there = list(given.get(field, ())), list(getattr(example, field))
        require(
            set(said) == set(there), f"{name} says in gives() that rows have the {field} {said}, and row 0 has {there}"
        )


def _check_option_for(reader: Reader, example: Example) -> None:
    """Errors about what is missing in rows of any reader ask every installed one."""
    for field in _FIELDS:
        for name in (*getattr(example, field), "another"):
            where = f"for option_for({field!r}, {name!r})"
            with calling(reader, where):
                way = type(reader).option_for(field, name)
            require_returned(reader, where, way, (str, NoneType), "text, what to set, or None")
            require(way != "", f"{name_of(reader)} returns no text {where}; None says that it has no way to give it")


def _check_sequence(reader: Reader, data: Sequence[Example], size: int) -> None:
    name = name_of(reader)
    last = _read(reader, data, size - 1)
    require(contents(_read(reader, data, -1)) == contents(last), f"{name}: row -1 is not the last one")
    for outside in (size, -size - 1):
        with calling(reader, f"for row {outside} of {size}, where a sequence raises IndexError"), suppress(IndexError):
            data[outside]
            raise Broken(f"{name} of {size} rows gives a row {outside}, where a sequence raises IndexError")
    with calling(reader, "for the slice [:2]"):
        cut = list(data[:2])
    with calling(reader, "when its rows are walked through"):
        walked = list(islice(data, 2))
    for example in (*cut, *walked):
        _require_example(f"{name}, in the slice [:2] or walking,", example)
    require(all_contents(cut) == all_contents(walked), f"{name}: a slice holds other rows than walking gives")
