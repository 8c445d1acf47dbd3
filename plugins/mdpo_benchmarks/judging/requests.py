"""What a judge is asked, and what it replies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """The text that a judge replied. ``model``: the name that the server gave it; None if a saved reply has none."""

    text: str
    model: str | None = None


class Unusable(Exception):
    """A chat completion without a text; the message continues "the judge replied with ..."."""


@dataclass(frozen=True)
class Request:
    """One message to a model.

    ``attempt``: 0, or a larger number if the reply to the same message is wanted once more, since it was of no use.
    """

    model: str
    role: str
    content: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages as the server takes them."""
        return [{"role": self.role, "content": self.content}]

    @property
    def key(self) -> str:
        """The SHA-256 of the model, the messages and the parameters."""
        asked: dict[str, Any] = {"model": self.model, "messages": self.messages, "parameters": dict(self.parameters)}
        if self.attempt:
            asked["attempt"] = self.attempt
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def reply_in(completion: Any) -> Reply:
    """The reply in a chat completion as JSON has it. Raises `Unusable` if there is none."""
    if not isinstance(completion, dict):
        raise Unusable(f"{str(completion)[:40]!r}, which is not a chat completion")
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unusable("no choices")
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise Unusable("no text")
    model = completion.get("model")
    return Reply(text, model if isinstance(model, str) and model else None)
