"""The judge of Object HalBench replies with a JSON list of the objects that an answer names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_benchmarks.json_files import read_json
from mdpo_benchmarks.judging.saved import saved_reply
from mdpo_core import Answer, ChatReply, DataError, Problem

_FEWEST_WORDS = 4  # of an answer about which the judge is asked
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


class Extracted(NamedTuple):
    """The objects that a judge found in an answer.

    ``replies``: those that it took to get them; the last one holds them. ``listed``: whether that is a list.
    """

    objects: Sequence[str]
    replies: Sequence[ChatReply] = ()
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


def extracted(answer: Answer, replies: Sequence[ChatReply], fenced: bool = False) -> Extracted:
    """The objects of the first reply that can be read. Raises `DataError` if none can."""
    for number, reply in enumerate(replies, 1):
        try:
            value = parse_objects(reply.text, fenced)
        except ValueError:
            continue
        # The official script goes through whatever it gets: through the letters of a text, the keys of an object.
        if not isinstance(value, (list, str, dict)):
            message = f"the judge replied {reply.text!r}, which is no list of objects"
            raise DataError([Problem(answer.where, "", message)])
        return Extracted([str(each) for each in value], replies[:number], isinstance(value, list))
    said = f"none of the judge's {len(replies)} replies is a JSON list" if replies else "the judge did not reply"
    last = f"; the last one is {replies[-1].text[:60]!r}" if replies else ""
    how = "ask it again, or read lists in blocks of Markdown with --fenced-replies"
    raise DataError([Problem(answer.where, "", f"{said} about {answer.response[:60]!r}{last}; {how}")])


def can_be_read(reply: str, fenced: bool = False) -> bool:
    """Whether `parse_objects` finds a value."""
    try:
        parse_objects(reply, fenced)
    except ValueError:
        return False
    return True


def read_replies(path: Path) -> list[list[ChatReply]]:
    """The replies about each answer, in the order in which they came. Raises `DataError`.

    The file holds a JSON list with a list for each answer: of texts, null for no reply, or chat completions.
    """
    stored = read_json(path, list, "lists of replies")
    return [_replies(f"{path.name} row {number}", each) for number, each in enumerate(stored, 1)]


def _replies(where: str, stored: Any) -> list[ChatReply]:
    if not isinstance(stored, list):
        message = f"must be the list of the judge's replies about an answer, found {str(stored)[:40]!r}"
        raise DataError([Problem(where, "", message)])
    return [ChatReply("") if each is None else saved_reply(where, each) for each in stored]
