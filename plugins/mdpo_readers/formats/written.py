"""What stored values mean: lists and objects that are written as text, and objects of lists that are lists of objects.

CSV has only text, so a conversation stands there as JSON, or as Python writes it. The library `datasets` stores a
sequence of objects as an object of lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from typing import Any

from mdpo_readers.embedded import PICTURE_KEYS
from mdpo_readers.formats.unread_pictures import is_picture_column
from mdpo_readers.tables.files.json_rows import value_in

_START = re.compile(r"\s*[\[{]")
_LONGEST = 10**6  # letters that Python's own parser is given
_DEEPEST = 8  # lists and objects within each other, in which objects of lists are looked for
_KEYS = (("role", "content"), ("from", "value"))
_ROLES = {"user", "assistant", "system", "human", "gpt"}
# Objects in a list have these keys; an object with lists under them is such a list.
_OF_LISTS = (
    *map(set, _KEYS),
    *({"type", "text"}, {"type", "image"}, {"type", "image_url"}, {"bytes", "path"}),
    *({"response", "annotations"}, {"response", "score"}, {"question", "answer"}),
)


def meant(values: Mapping[str, Any], nested: Collection[str] = ()) -> dict[str, Any]:
    """The values of a row as they are meant.

    ``nested``: columns that hold lists or objects. A text there, or in a column of pictures, that is a list or an
    object in JSON or in Python is read as such. In every other column so is only a text that is one chat message, or a
    list of them: any other JSON may be an answer.
    """
    return {name: _of_column(name, value, nested) for name, value in values.items()}


def message_in(value: Any) -> Any:
    """The message ``{from, value}``, of whatever name, that a text is; any other value as it is."""
    found = _parsed(value) if isinstance(value, str) else None
    return found if isinstance(found, dict) and _is_message(found) and "from" in found else value


def list_of_objects(value: Any) -> Any:
    """The list of objects that an object of lists of the same length stands for; any other value as it is."""
    if not isinstance(value, dict) or not value or not all(isinstance(each, list) for each in value.values()):
        return value
    if len({len(each) for each in value.values()}) > 1:
        return value
    return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]


def _of_column(name: str, value: Any, nested: Collection[str]) -> Any:
    is_picture = is_picture_column(name)
    found = _meant(value, is_picture or name in nested)
    is_of_pictures = is_picture and isinstance(found, dict) and found.keys() <= set(PICTURE_KEYS)
    return list_of_objects(found) if is_of_pictures else found


def _meant(value: Any, is_nested: bool) -> Any:
    if isinstance(value, str) and _START.match(value):
        found = _parsed(value)
        value = found if _is_conversation(found) or (is_nested and isinstance(found, list | dict)) else value
    return _with_lists(value, _DEEPEST)


def _parsed(text: str) -> Any:
    """The value that a text is in JSON or in Python; None if it is neither."""
    if not _START.match(text):
        return None
    try:
        return value_in(text.encode())
    except ValueError:  # no JSON, or none that a file of rows may have
        pass
    try:
        return ast.literal_eval(text.strip()) if len(text) <= _LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages, or one message with a usual role."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_message, value))
    return _is_message(value) and any(str(value.get(role)).lower() in _ROLES for role, _ in _KEYS)


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return any(
        isinstance(value.get(role), str) and isinstance(value.get(content), str | list | dict)
        for role, content in _KEYS
    )


def _with_lists(value: Any, depth: int) -> Any:
    """The value with lists of objects in the place of objects of lists."""
    if depth == 0 or not isinstance(value, list | dict):
        return value
    if isinstance(value, dict) and any(keys <= value.keys() for keys in _OF_LISTS):
        value = list_of_objects(value)
    if isinstance(value, dict):
        return {key: _with_lists(each, depth - 1) for key, each in value.items()}
    return [_with_lists(each, depth - 1) for each in value]
