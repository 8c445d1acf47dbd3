"""What a model behind a server is asked, and what it replies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

# A text, or parts as chat completions have them: {"type": "text", "text": ...} and {"type": "image_url", ...}.
Content: TypeAlias = "str | list[dict[str, Any]]"
_MAIN = "@main"  # `transformers serve` says which revision of a model it has loaded


class ChatReply(NamedTuple):
    """The text of a reply. ``model``: the name that the server gave; None if a saved reply has none."""

    text: str
    model: str | None = None

    def is_of(self, asked: str, accepted: str | None) -> bool:
        """Whether the model that was asked for has answered, or the other one that is ``accepted``."""
        return self.model in (asked, f"{asked}{_MAIN}", accepted)


class UnusableReply(Exception):
    """A chat completion without a text; the message continues "the server replied with ..."."""


@dataclass(frozen=True)
class ChatRequest:
    """One message to a model.

    ``attempt``: 0, or a larger number if the reply to the same message is wanted once more, since it was of no use.
    """

    model: str
    role: str
    content: Content
    parameters: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages as the server takes them."""
        return [{"role": self.role, "content": self.content}]

    @property
    def key(self) -> str:
        """The SHA-256 of the model, the messages and the parameters."""
        asked: dict[str, Any] = {"model": self.model, "messages": self.messages, "parameters": dict(self.parameters)}
        if self.attempt:
            asked["attempt"] = self.attempt
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def reply_in(completion: Any) -> ChatReply:
    """The reply in a chat completion as JSON has it. Raises `UnusableReply` if there is none."""
    if not isinstance(completion, dict):
        raise UnusableReply(f"{str(completion)[:40]!r}, which is not a chat completion")
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnusableReply("no choices")
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise UnusableReply("no text")
    model = completion.get("model")
    return ChatReply(text, model if isinstance(model, str) and model else None)


def ending_of(completion: Mapping[str, Any]) -> str | None:
    """Why the text of a chat completion ends: ``stop`` if the model ended it, ``length`` at its longest."""
    reason = completion["choices"][0].get("finish_reason")
    return reason if isinstance(reason, str) else None
