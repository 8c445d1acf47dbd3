"""Views: how they are written, and what is refused."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mdpo_core import View

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
VIEWS = st.builds(View, NAMES, NAMES | st.just("clean"))


class Option(BaseModel):
    on: View = View("chosen")


@given(VIEWS)
def test_a_view_is_read_back_from_its_text(view: View) -> None:
    assert View.parse(str(view)) == view
    assert View.parse(view) is view
    assert pickle.loads(pickle.dumps(view)) == view


@given(NAMES)
def test_bare_response_means_clean_image_and_is_written_bare(response: str) -> None:
    assert View.parse(response) == View(response, "clean") == View.parse(f"{response}@clean")
    assert str(View(response, "clean")) == response


@given(st.text(max_size=12))
def test_whatever_text_is_read_is_a_view_or_a_value_error(text: str) -> None:
    try:
        view = View.parse(text)
    except ValueError:
        view = None
    assert view is None or text in (str(view), f"{view}@clean")


@pytest.mark.parametrize("text", ["", "@", "@crop", "chosen@", "chosen@crop@blank", "1st", "the chosen", "chosen\n"])
def test_text_that_names_no_view_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name of a response or condition"):
        View.parse(text)


@pytest.mark.parametrize("value", [None, 3, ["chosen"], {"response": "chosen"}])
def test_a_view_is_text_in_a_recipe(value: object) -> None:
    with pytest.raises(ValidationError, match="a view is text such as 'chosen' or 'chosen@crop'"):
        Option(on=value)


@given(VIEWS)
def test_an_option_takes_a_view_as_text_and_is_written_as_text(view: View) -> None:
    option = Option.model_validate({"on": str(view)})
    assert option.on == view
    assert json.loads(option.model_dump_json()) == {"on": str(view)}


def test_a_view_in_a_schema_is_a_string() -> None:
    assert Option.model_json_schema()["properties"]["on"]["type"] == "string"


@given(st.lists(VIEWS))
def test_equal_views_are_one_key_and_views_can_be_sorted(views: list[View]) -> None:
    assert {View.parse(str(view)) for view in views} == set(views)
    assert sorted(views) == sorted(views, key=lambda view: (view.response, view.condition))
