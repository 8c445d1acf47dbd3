"""Questions of a benchmark, and answers to them as a file has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Question(NamedTuple):
    """What a model is asked. ``images``: names of files, relative to the folder of the benchmark's pictures."""

    id: str
    images: tuple[str, ...]
    prompt: str


class Answer(NamedTuple):
    """A model's answer.

    ``where``: its place in the file, such as ``answers.jsonl:3``. ``id`` and ``prompt``: None if the file has none.
    ``values``: all that the file says about it.
    """

    where: str
    id: str | None
    prompt: str | None
    response: str
    values: Mapping[str, Any]


class AnswerNames(NamedTuple):
    """The keys in the answer files of a benchmark's own scripts; None: those files do not say it."""

    response: str
    id: str | None = None
    prompt: str | None = None
