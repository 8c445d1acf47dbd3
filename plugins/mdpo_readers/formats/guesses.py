"""The options of `pairs` for a table of no known format, guessed from its columns and its first row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdpo_core import count_marks
from mdpo_readers.embedded import held, is_embedded, names_picture
from mdpo_readers.formats.lines import COLUMN
from mdpo_readers.formats.unread_orders import says_preference
from mdpo_readers.other_marks import other_mark

# How columns with prompts, with pictures and with answers are called, the commonest first.
_PROMPTS = ("prompt", "question", "query", "instruction")
_MESSAGES = ("conversations", "messages", "conversation", "prompt_messages")
_PICTURES = ("img_path", "image", "images", "image_path", "file_name", "image_file", "img", "picture")
_ANSWERS = (
    *(("chosen", "rejected"), ("chosen", "reject"), ("accepted", "rejected"), ("preferred", "dispreferred")),
    *(("chosen_response", "rejected_response"), ("chosen_answer", "rejected_answer"), ("chosen_text", "rejected_text")),
    *(("preferred_response", "dispreferred_response"), ("better_response", "worse_response"), ("better", "worse")),
    *(("good", "bad"), ("positive", "negative"), ("win", "lose"), ("winner", "loser"), ("y_w", "y_l")),
)
_ASKING = ("user", "human", "system")
_NAMES = ("chosen", "rejected")


def guessed_options(columns: Sequence[str], first: Mapping[str, Any]) -> dict[str, Any]:
    """The options that name columns, where they differ from the defaults; COLUMN stands for one to choose."""
    answers = next(filter(None, (_written(names, columns) for names in _ANSWERS)), None)
    prompt = _prompt_column(columns, first, answers)
    options: dict[str, Any] = {} if prompt == "prompt" else {"prompt": prompt}
    picture = _picture_column(columns, first)
    if picture != "img_path":
        is_known = picture is not None or (prompt != COLUMN and answers is not None)
        options["image"] = picture if is_known else COLUMN
    if answers is None:
        options["responses"] = {name: _column((name,), columns) or COLUMN for name in _NAMES}
    elif answers != _NAMES:
        options["responses"] = dict(zip(_NAMES, answers, strict=True))
    asked = first.get(prompt or (answers or _NAMES)[0])
    has_picture = picture is not None and bool(first.get(picture))
    return options | (_marks(asked) if has_picture and asked is not None else {})


def preference_hint(columns: Sequence[str]) -> str:
    """What to do about a column that says which answer is better, as the end of a message; empty without one."""
    found = next((name for name in columns if says_preference(name) and name.lower() not in _NAMES), None)
    if found is None:
        return ""
    return f"; the column '{found}' says which answer is better: write the better answer into a column of its own"


def _prompt_column(columns: Sequence[str], first: Mapping[str, Any], answers: Sequence[str] | None) -> str | None:
    """The column with prompts, None if the answers are whole conversations, COLUMN if it is to be chosen."""
    if answers is not None and all(_begins_with_question(first.get(name)) for name in answers):
        return None
    messages = [name for name in columns if name.lower() in _MESSAGES and _role(first.get(name), -1) in _ASKING]
    return _column(_PROMPTS, columns) or _column(_MESSAGES, messages) or COLUMN


def _column(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The first of ``names`` that is a column, as the table writes it: ``Prompt``; None if there is none."""
    there = {name.lower(): name for name in columns}
    return next((name if name in columns else there[name] for name in names if name in there), None)


def _written(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of all these names, as the table writes them; None if one is missing."""
    found = [_column((name,), columns) for name in names]
    return tuple(name for name in found if name is not None) if None not in found else None


def _begins_with_question(value: object) -> bool:
    return _role(value, 0) in _ASKING


def _role(value: object, place: int) -> str | None:
    """The role of a message in a list of them."""
    message = value[place] if isinstance(value, list) and value else None
    role = (message.get("role") or message.get("from")) if isinstance(message, dict) else None
    return role.lower() if isinstance(role, str) else None


def _picture_column(columns: Sequence[str], first: Mapping[str, Any]) -> str | None:
    """The column with pictures, by its name or its first value; None if none looks like one."""
    return _column(_PICTURES, columns) or next((name for name in columns if _looks_like_picture(first.get(name))), None)


def _looks_like_picture(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and _looks_like_picture(value[0])
    found = held(value)
    return is_embedded(value) or (isinstance(found, str) and names_picture(found))


def _marks(asked: object) -> dict[str, str]:
    """The option for the marks of pictures in a prompt, if it needs one."""
    texts = list(_texts(asked))
    if any(map(count_marks, texts)):
        return {}
    other = next(filter(None, map(other_mark, texts)), None)
    return {"marks": "first"} if other is None else {"image_mark": other}


def _texts(value: object) -> Iterator[str]:
    """The texts of a prompt, with ``<image>`` for a picture that is a part of a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        if "image" in str(value.get("type")):
            yield "<image>"
        for key in ("content", "value", "text"):
            yield from _texts(value.get(key))
