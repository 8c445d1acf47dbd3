"""The judge of Object HalBench replies with a JSON list of the objects that an answer names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_benchmarks.json_files import read_json
from mdpo_core import Answer, DataError, Problem

MOST_TRIES = 100  # after which the official script gives up
_FEWEST_WORDS = 4  # of an answer about which the judge is asked
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


class Reply(NamedTuple):
    """What a judge said. ``text``: None if it said nothing. ``model``: the one that replied, where that is known."""

    text: str | None
    model: str | None = None


class Extracted(NamedTuple):
    """The objects that a judge found in an answer.

    ``replies``: those that it took to get them; the last one holds them. ``listed``: whether that is a list.
    """

    objects: Sequence[str]
    replies: Sequence[Reply] = ()
    listed: bool = True


def is_asked_about(answer: str) -> bool:
    """Whether the judge is asked about an answer: one of three words or less names no objects."""
    return len(answer.split()) >= _FEWEST_WORDS


def parse_objects(reply: str, fenced: bool = False) -> Any:
    """The value in a reply: that of all of it, or of its last line if it holds ``["``. Raises `ValueError`.

    It need not be a list. ``fenced``: also take what stands in a block of Markdown.
    """
    block = _FENCED.search(reply) if fenced else None
    text = block[1] if block else reply
    try:
        return _value(text)
    except ValueError:
        if '["' not in text:
            raise
        return _value(text.strip().split("\n")[-1])


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many brackets") from error


def extracted(answer: Answer, replies: Sequence[Reply], fenced: bool = False) -> Extracted:
    """The objects of the first reply that can be read. Raises `DataError` if none can."""
    for number, reply in enumerate(replies[:MOST_TRIES], 1):
        try:
            value = parse_objects(reply.text or "", fenced)
        except ValueError:
            continue
        # The official script goes through whatever it gets: through the letters of a text, the keys of an object.
        if not isinstance(value, (list, str, dict)):
            message = f"the judge replied {reply.text!r}, which is no list of objects"
            raise DataError([Problem(answer.where, "", message)])
        return Extracted([str(each) for each in value], replies[:number], isinstance(value, list))
    said = f"none of the judge's {len(replies)} replies holds a JSON list" if replies else "the judge did not reply"
    raise DataError([Problem(answer.where, "", f"{said}; ask it again about this answer: {answer.response[:60]!r}")])


def read_replies(path: Path) -> list[list[Reply]]:
    """The replies about each answer, in the order in which they came. Raises `DataError`.

    The file holds a JSON list with a list for each answer: of texts, null for no reply, or chat completions.
    """
    stored = read_json(path, list)
    return [_replies(f"{path.name} row {number}", each) for number, each in enumerate(stored, 1)]


def _replies(where: str, stored: Any) -> list[Reply]:
    if not isinstance(stored, list):
        message = f"must be the list of the judge's replies about an answer, found {str(stored)[:40]!r}"
        raise DataError([Problem(where, "", message)])
    return [_reply(where, each) for each in stored]


def _reply(where: str, stored: Any) -> Reply:
    if stored is None or isinstance(stored, str):
        return Reply(stored)
    try:
        text, model = stored["choices"][0]["message"]["content"], stored.get("model")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        message = f"must be a text or a chat completion, found {str(stored)[:40]!r}"
        raise DataError([Problem(where, "", message)]) from error
    return _reply(where, text)._replace(model=model)


def models_of(extracted: Sequence[Extracted]) -> tuple[str, ...]:
    """The models that replied, each once, in order."""
    found = (reply.model for each in extracted for reply in each.replies)
    return tuple(dict.fromkeys(model for model in found if model is not None))
