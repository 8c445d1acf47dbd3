"""Replies of a judge that were saved: a list of texts, or of chat completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdpo_benchmarks.json_files import read_json
from mdpo_core import ChatReply, DataError, Problem, RecipeError, UnusableReply, reply_in


def read_replies(path: Path) -> list[ChatReply]:
    """The replies in a file, in order. Raises `DataError` if it is not a list of texts or of chat completions."""
    return [
        saved_reply(f"{path.name} row {number}", each)
        for number, each in enumerate(read_json(path, list, "replies"), 1)
    ]


def saved_reply(where: str, saved: Any) -> ChatReply:
    """A reply as it was saved: a text, or a chat completion."""
    if isinstance(saved, str):
        return ChatReply(saved)
    try:
        return reply_in(saved)
    except UnusableReply as error:
        raise DataError([Problem(where, "", f"is no reply of a judge, which is a text: {error}")]) from error


def require_model(replies: list[ChatReply], asked: str | None, accepted: str | None, file: str) -> None:
    """Raise `RecipeError` if saved replies say that they are of another model than asked for."""
    if asked is None:
        return
    others = sorted({reply.model for reply in replies if reply.model and not reply.is_of(asked, accepted)})
    if others:
        raise RecipeError(
            f"the judge '{asked}' was asked for, but the replies in {file} are of '{others[0]}'; if that will do, add "
            f"--judge-accept {others[0]}"
        )
