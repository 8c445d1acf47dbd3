"""A row of preference data, as a reader gives it and a corruption changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_MARK = "<image>"
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """A message of a conversation."""

    role: Role
    text: str


Prompt: TypeAlias = str | tuple[Turn, ...]
# The fields of an example that hold things by name.
ExampleField = Literal["responses", "columns", "other_images", "other_prompts", "vectors", "boxes"]


class Box(NamedTuple):
    """A part of an image, in pixels from its upper left corner; ``right`` and ``bottom`` are just outside."""

    left: float
    top: float
    right: float
    bottom: float

    def problem(self, size: tuple[int, int]) -> str | None:
        """What is wrong with it as a part of an image of this width and height."""
        found = f"the box [{', '.join(f'{number:g}' for number in self)}]"
        if not (self.left < self.right and self.top < self.bottom):
            return f"{found} is empty; a box is [left, top, right, bottom]"
        if not (min(self[:2]) >= 0 and self.right <= size[0] and self.bottom <= size[1]):
            return f"{found} reaches out of its image of {size[0]} x {size[1]} pixels"
        return None


@dataclass(frozen=True)
class DroppedTokens:
    """A share of the image tokens, drawn by ``seed``, that nothing attends to."""

    share: float
    seed: int


@dataclass(frozen=True)
class Example:
    """A prompt with its images and the responses that are compared.

    ``prompt`` is text, or a conversation up to the turn that the responses are. It holds one ``<image>`` mark for each
    of ``images``, in order. A response is text, or turns from the assistant's to the assistant's, whose others are read
    and not scored. ``id`` is stable over runs: it seeds the corruption and names the row in messages. ``columns`` are
    numbers that a term may ask for.

    Corruptions may ask for the rest by name: other images and other prompts of the row, vectors such as an image's
    embedding, and boxes. A name's boxes are listed image by image, in pixels of ``images`` as they were read. A
    corruption may set ``dropped``.
    """

    id: str
    prompt: Prompt
    responses: Mapping[str, str | tuple[Turn, ...]]
    images: tuple[Image, ...] = ()
    columns: Mapping[str, float] = field(default_factory=dict)
    other_images: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)
    other_prompts: Mapping[str, Prompt] = field(default_factory=dict)
    vectors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    boxes: Mapping[str, tuple[tuple[Box, ...], ...]] = field(default_factory=dict)
    dropped: DroppedTokens | None = None

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
