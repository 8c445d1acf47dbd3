"""What a judge of Object HalBench replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_benchmarks.object_halbench.replies import is_asked_about, parse_objects
from support.builders.coco_files import OBJECT_HALBENCH


@pytest.mark.parametrize("case", OBJECT_HALBENCH["parse_object_list"], ids=lambda case: repr(case["content"]))
def test_replies_are_read_as_officially(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ValueError):
            parse_objects(case["content"])
    else:
        assert parse_objects(case["content"]) == case["value"]


@given(st.lists(st.text()), st.text(alphabet="xyz \n"))
def test_lists_on_the_last_line_are_found_after_any_words(objects: list[str], words: str) -> None:
    written = json.dumps(objects)
    assert parse_objects(written) == objects
    if objects:
        assert parse_objects(f"Sure!{words}\n{written}\n") == objects
    assert parse_objects(f"{words}```json\n{written}\n```", fenced=True) == objects


def test_deep_brackets_are_no_list() -> None:
    with pytest.raises(ValueError, match="too many brackets"):
        parse_objects("[" * 100_000)


def test_answers_of_three_words_are_not_asked_about() -> None:
    assert not is_asked_about("  one two\nthree ")
    assert is_asked_about("one two three four")
