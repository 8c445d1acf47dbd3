"""What pydantic finds wrong with options, as messages to the user of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mdpo_core.errors import suggestion
from mdpo_core.recipe.names.options_at import options_at
from mdpo_core.recipe.names.other_trainers import answer_for
from mdpo_core.recipe.yaml_document import Keys, shown_value
from mdpo_core.words.amounts import counted

_QUOTED = re.compile("'([^']*)'")
_ALL_OF_100 = 100


def messages_of(error: ValidationError, options: Any, cls: type[BaseModel], name: str, keys: Keys) -> dict[Keys, str]:
    """A message for each wrong value in the ``options`` of the component ``name`` at ``keys``, by its path in them."""
    details: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors():
        details.setdefault(_keys_in(options, detail), []).append(detail)
    return {path: _message(same, cls, name, (*keys, *path)) for path, same in _within(details).items()}


def _keys_in(options: Any, detail: ErrorDetails) -> Keys:
    """The path of a problem in the recipe: pydantic's, without the names of types that an option may have."""
    keys: list[str | int] = []
    for place, key in enumerate(detail["loc"], start=1):
        is_missing = detail["type"] == "missing" and place == len(detail["loc"])
        if isinstance(options, dict) and (key in options or is_missing):
            options = options.get(key)
        elif isinstance(options, list) and isinstance(key, int):
            options = options[key] if key < len(options) else None
        else:
            continue
        keys.append(key)
    return tuple(keys)


def _within(details: Mapping[Keys, list[ErrorDetails]]) -> dict[Keys, list[ErrorDetails]]:
    """Without what pydantic says of the other types that an option may have, if a problem is inside of the value."""
    inside = {path[:end] for path in details for end in range(len(path))}
    return {
        path: same
        for path, same in details.items()
        if path not in inside or any(len(each["loc"]) == len(path) and not _is_miscounted(each) for each in same)
    }


def _is_miscounted(detail: ErrorDetails) -> bool:
    """Whether a list is long enough, but pydantic does not count its items that are not valid."""
    given = detail["input"]
    return detail["type"] == "too_short" and isinstance(given, list) and len(given) >= detail["ctx"]["min_length"]


def _message(details: Sequence[ErrorDetails], cls: type[BaseModel], name: str, keys: Keys) -> str:
    """The problems that pydantic found with the value at ``keys``, as a message to the user of the component ``name``.

    A value that fits none of several types has a problem for each of them.
    """
    if len(details) == 1 and details[0]["type"] == "extra_forbidden":
        return _unknown(details[0], cls, name, keys)
    if len(details) == 1:
        return _MESSAGES.get(details[0]["type"], _invalid)(details[0], cls, name)
    choices = dict.fromkeys(_sentence(detail).removeprefix("input should be ") for detail in details)
    hint = "".join(dict.fromkeys(map(_hint, details)))
    return f"input should be {', or '.join(choices)}; found {shown_value(details[0]['input'])}{hint}"


def _unknown(detail: ErrorDetails, cls: type[BaseModel], name: str, keys: Keys) -> str:
    options, key = options_at(cls, detail["loc"]), str(detail["loc"][-1])
    meant = answer_for(keys) or suggestion(key, options)
    return f"unknown option{meant}  ({name}: {', '.join(sorted(options))})"


def _missing(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    field = options_at(cls, detail["loc"]).get(str(detail["loc"][-1]))
    return f"missing: {field.description}" if field is not None and field.description else "missing"


def _refused(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    """The message of a validator about several options, without the values of all options, which would hide it."""
    if isinstance(detail["input"], dict):
        return _sentence(detail)
    return _invalid(detail, cls, name)


def _invalid(detail: ErrorDetails, cls: type[BaseModel], name: str) -> str:
    sentence, value = _sentence(detail), shown_value(detail["input"])
    is_said = isinstance(detail["input"], str) and value in sentence
    return f"{sentence}{'' if is_said else f', found {value}'}{_hint(detail)}"


def _hint(detail: ErrorDetails) -> str:
    """The word that was meant, or the share that a per cent is; empty if neither is likely."""
    value, limits = detail["input"], detail.get("ctx", {})
    if detail["type"] == "literal_error" and isinstance(value, str):
        return suggestion(value, _QUOTED.findall(limits["expected"]))
    if detail["type"] == "less_than" and limits["lt"] == 1 and 1 <= value <= _ALL_OF_100:
        return f"; {value:g} % is {value / _ALL_OF_100:g}"
    return ""


def _sentence(detail: ErrorDetails) -> str:
    if detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "input should be a mapping of options"
    if detail["type"] == "too_short":
        return f"needs at least {counted(detail['ctx']['min_length'], 'item')}"
    message = detail["msg"].removeprefix("Value error, ").replace("a valid array", "a list") or "is not valid"
    return f"{message[0].lower()}{message[1:]}"


# By the type of pydantic's error; all other types get `_invalid`.
_MESSAGES: Mapping[str, Callable[[ErrorDetails, type[BaseModel], str], str]] = {
    "missing": _missing,
    "value_error": _refused,
}
