"""The contract of what readers say of their rows, and of rows as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image
import pytest
from support.pairs import PROMPT

from mdpo_core import Example, Reader
from mdpo_core.make_data.new_rows import ExamplesAsRows
from mdpo_core.testing import check_reader


class Table(Reader):
    """Three rows, each with its own prompt."""

    def open(self) -> Sequence[Example]:
        picture = PIL.Image.new("RGB", (4, 4), "red")
        responses = {"chosen": "two", "rejected": "one"}
        return [Example(str(row), f"{PROMPT} {row}", responses, (picture,), {"score": 1.0}) for row in range(3)]


SAID = {"responses": ("chosen", "rejected"), "columns": ["score"]}


def saying(value: Any) -> Reader:
    class Saying(Table):
        def gives(self) -> Any:
            return value() if callable(value) else value

    return Saying()


@pytest.mark.parametrize("said", [None, SAID, {**SAID, "responses": {"chosen": "A", "rejected": "B"}, "boxes": ()}])
def test_a_reader_that_says_what_its_rows_have_passes(said: object) -> None:
    check_reader(saying(said))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({**SAID, "columns": ()}, r"says in gives\(\) that rows have the columns \[\], but row 0 has \['score'\]"),
        ({"columns": ("score",)}, r"says in gives\(\) that rows have the responses \[\], but row 0 has \['chosen', "),
        ({**SAID, "other_images": ["second"]}, r"says in .* the other_images \['second'\], but row 0 has \[\]"),
        (
            {**SAID, "columns": "score"},
            r"gives the str 'score' for the columns in gives\(\); it must be a collection of",
        ),
        (
            {**SAID, "columns": [1]},
            r"gives the list \[1\] for the columns in gives\(\); it must be a collection of names",
        ),
        (
            {**SAID, "images": ["a"]},
            r"has the key 'images' in gives\(\); it can be one of responses, columns, other_images",
        ),
        (["chosen"], r"returns the list \['chosen'\] for gives\(\); it must return a mapping from fields of Example"),
        (lambda: 1 / 0, r"raised ZeroDivisionError: .* \(.*test_readers.py:\d+\) in gives\(\)"),
    ],
)
def test_reader_that_misdescribes_its_rows_is_caught(said: object, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^Saying {sentence}"):
        check_reader(saying(said))


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (
            classmethod(lambda cls, field, name: ["data.score"]),
            "returns the list .* for option_for.'responses', 'chosen'",
        ),
        (classmethod(lambda cls, field, name: "" if name == "another" else None), "returns empty text for .*'another'"),
        (
            classmethod(lambda cls, field, name: {"score": "a"}[name]),
            r"raised KeyError: 'chosen' \(.*\) for option_",
        ),
        (
            lambda self, field, name: None,
            r"made its contract raise TypeError: .* for option_for\('responses', 'chosen'\)",
        ),
    ],
)
def test_reader_that_cannot_tell_option_for_a_name_is_caught(way: Any, sentence: str) -> None:
    made = type("Pointing", (Table,), {"option_for": way})()
    with pytest.raises(AssertionError, match=f"^Pointing {sentence}"):
        check_reader(made)


class Stored(ExamplesAsRows):
    """Writes the rows of any reader."""


class Unwritable(Stored):
    def stored(self, index: int) -> dict[str, Any]:
        return {**super().stored(index), "score": float("nan")}


class Reordering(Stored):
    def stored(self, index: int) -> dict[str, Any]:
        return super().stored(len(self.data) - 1 - index)


class Misnaming(Stored):
    def cells(self, index: int, responses: Any, images: Any) -> dict[str, Any]:
        return super().cells(index, {f"new_{name}": text for name, text in responses.items()}, images)


class Blind(Stored):
    def cells(self, index: int, responses: Any, images: Any) -> dict[str, Any]:
        return super().cells(index, responses, {name: files * 2 for name, files in images.items()})


class Careless(Stored):
    def reader(self, path: Any, images: Any, responses: Any, columns: Any) -> Reader:
        return super().reader(path, images, responses, ())


class Lists(Reader):
    def open(self) -> Any:
        return [["two", "one"]] * 3


class Listing(Stored):
    def reader(self, path: Any, images: Any, responses: Any, columns: Any) -> Reader:
        return Lists()


class Closed(Stored):
    def reader(self, path: Any, images: Any, responses: Any, columns: Any) -> Any:
        return None


class Failing(Stored):
    def stored(self, index: int) -> dict[str, Any]:
        raise OSError("no such table")


def storing(stored: Callable[[Sequence[Example]], ExamplesAsRows]) -> Reader:
    class Rows(list[Example]):
        @property
        def as_stored(self) -> ExamplesAsRows:
            return stored(self)

    class Storing(Table):
        def open(self) -> Sequence[Example]:
            return Rows(super().open())

    return Storing()


def test_a_reader_whose_rows_are_stored_passes() -> None:
    check_reader(storing(Stored))


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (
            Unwritable,
            r"returns the dict .* for as_stored.stored\(0\); it must return a dict of columns with values that",
        ),
        (Failing, r"raised OSError: no such table \(.*test_readers.py:\d+\) in as_stored.stored\(0\)"),
        (
            lambda data: Stored(data, embeds_images="all"),
            "returns the str 'all' for as_stored.embeds_images; it must return True or False",
        ),
        (Reordering, "changes the prompt of row 0 when as_stored writes it and its reader reads it"),
        (Misnaming, "changes the responses of row 0 when as_stored writes it and its reader reads it"),
        (Careless, "changes the columns of row 0 when as_stored writes it and its reader reads it"),
        (Closed, r"returns None for as_stored.reader\(...\); it must return a Reader"),
        (Listing, r"row 0, written by as_stored and read again: the list .* is not an Example"),
        (Blind, "changes the images of row 0 when as_stored writes it and its reader reads it"),
    ],
)
def test_a_reader_whose_rows_change_when_they_are_stored_is_caught(
    stored: Callable[[Sequence[Example]], ExamplesAsRows], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=f"^Storing {sentence}"):
        check_reader(storing(stored))
