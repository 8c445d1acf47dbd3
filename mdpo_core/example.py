"""A row of preference data, as a reader gives it and a corruption changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_MARK = "<image>"
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """A message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class HiddenTokens:
    """A share of the image tokens, drawn by ``seed``, that nothing attends to."""

    share: float
    seed: int


@dataclass(frozen=True)
class Example:
    """A prompt with its images and the responses that are compared.

    ``prompt`` is text, or a conversation up to the turn that the responses are. It holds one ``<image>`` mark for each
    of ``images``, in order. A response is text, or turns from the assistant's to the assistant's, whose others are read
    and not scored. ``id`` is stable over runs: it seeds the corruption and names the row in messages. ``columns`` are
    numbers that a term may ask for. ``hidden`` is for corruptions to set.
    """

    id: str
    prompt: str | tuple[Turn, ...]
    responses: Mapping[str, str | tuple[Turn, ...]]
    images: tuple[Image, ...] = ()
    columns: Mapping[str, float] = field(default_factory=dict)
    hidden: HiddenTokens | None = None

    @property
    def num_marks(self) -> int:
        """How many ``<image>`` marks the prompt holds."""
        texts = [self.prompt] if isinstance(self.prompt, str) else [turn.text for turn in self.prompt]
        return sum(text.count(IMAGE_MARK) for text in texts)

    def text(self, name: str) -> str:
        """What the assistant says in a response, turns a line apart."""
        response = self.responses[name]
        if isinstance(response, str):
            return response
        return "\n".join(turn.text for turn in response if turn.role == "assistant")

    def with_prompt(self, change: Callable[[str], str]) -> Example:
        """The same with every text of the prompt changed."""
        if isinstance(self.prompt, str):
            return replace(self, prompt=change(self.prompt))
        return replace(self, prompt=tuple(replace(turn, text=change(turn.text)) for turn in self.prompt))
