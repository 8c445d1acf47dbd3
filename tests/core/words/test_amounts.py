"""Amounts in messages: no plural of one thing, and no size that is shown as nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from mdpo_core.words.amounts import counted, memory_of

_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((1, "row"), "1 row"),
        ((0, "row"), "0 rows"),
        ((1200, "row"), "1,200 rows"),
        ((2, "process"), "2 processes"),
        ((1, "row is", "rows are"), "1 row is"),
        ((6, "row is", "rows are"), "6 rows are"),
    ],
)
def test_one_thing_has_no_plural(words: tuple[int, str], expected: str) -> None:
    assert counted(*words) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 GB"),
        (12, "0.012 kB"),
        (12_000, "12.0 kB"),
        (431_000, "0.43 MB"),
        (43_100_000, "43.1 MB"),
        (99_000_000, "99.0 MB"),
        (100_000_000, "0.1 GB"),
        (14_130_000_000, "14.1 GB"),
    ],
)
def test_small_sizes_have_small_units(size: float, expected: str) -> None:
    assert memory_of(size) == expected


@given(st.floats(1, 1e13))
def test_a_size_is_never_shown_as_nothing_and_is_nearly_right(size: float) -> None:
    number, unit = memory_of(size).split()
    assert float(number) * _BYTES[unit] == pytest.approx(size, rel=0.51)
    assert float(number) > 0


def own_plurals() -> Iterator[str]:
    """Files of the core that make a plural, or a size, by themselves."""
    for file in sorted((ROOT / "mdpo_core").rglob("*.py")):
        text = file.read_text()
        if file.name != "amounts.py" and re.search(r"""'e?s' \* \(|f} GB\b|:\.\dg} GB\b""", text):
            yield str(file.relative_to(ROOT))


def test_amounts_are_written_by_one_helper() -> None:
    assert list(own_plurals()) == []
