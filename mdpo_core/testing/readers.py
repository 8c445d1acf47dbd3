"""The contract of readers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from mdpo_core.components import Reader
from mdpo_core.example import Example
from mdpo_core.testing.common import all_contents, check_options, contents, global_randomness, name_of, require
from mdpo_core.validity import row_problems

_MOST_ROWS = 100


def check_reader(reader: Reader) -> None:
    """Try out a reader on data of which each row is sound; of long data, on the first and last hundred rows."""
    check_options(reader, Reader)
    data = reader.open()
    name, size = name_of(reader), len(data)
    require(size > 0, f"{name} gives no rows")
    rows = sorted({*range(size)[:_MOST_ROWS], *range(size)[-_MOST_ROWS:]})
    generators = global_randomness()
    found = [data[row] for row in rows]
    require(global_randomness() == generators, f"{name} uses a random generator of the process")
    for row, example in zip(rows, found, strict=True):
        _check_row(name, row, example)
    _check_ids(name, rows, found)
    _check_names(name, rows, found)
    again = [data[row] for row in reversed(rows)][::-1]
    require(all_contents(found) == all_contents(again), f"{name} gives another row when it is asked again")
    anew = reader.open()
    same = len(anew) == size and all_contents(found) == all_contents([anew[row] for row in rows])
    require(same, f"{name} gives other rows when it is opened anew")
    _check_sequence(name, data)


def _check_row(name: str, row: int, example: Example) -> None:
    where = f"{name} row {row}"
    require(isinstance(example, Example), f"{where} is a {type(example).__name__}, not an Example")
    require(isinstance(example.id, str) and example.id != "", f"{where} has the id {example.id!r}, no text")
    problems = row_problems(example)
    require(not problems, f"{where}: {'; '.join(problems)}")
    modes = [image.mode for images in (example.images, *example.pictures.values()) for image in images]
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
        for part in ("responses", "columns", "pictures", "prompts", "vectors", "boxes"):
            one, other = list(getattr(found[0], part)), list(getattr(example, part))
            require(set(one) == set(other), f"{name} row {row} has the {part} {other}, row 0 {one}")


def _check_sequence(name: str, data: Sequence[Example]) -> None:
    size = len(data)
    require(contents(data[-1]) == contents(data[size - 1]), f"{name}: row -1 is not the last one")
    for outside in (size, -size - 1):
        try:
            data[outside]
        except IndexError:
            continue
        raise AssertionError(f"{name} of {size} rows gives a row {outside}, where a sequence raises IndexError")
    cut, walked = data[:2], list(islice(data, 2))
    require(all_contents(cut) == all_contents(walked), f"{name}: a slice holds other rows than walking gives")
