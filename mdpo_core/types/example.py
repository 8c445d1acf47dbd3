"""A row of preference data, as a reader returns it and a corruption changes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from mdpo_core.types.marks import count_marks

if TYPE_CHECKING:
    from PIL.Image import Image

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """A message of a conversation, and who says it."""

    role: Role
    text: str


Prompt: TypeAlias = str | tuple[Turn, ...]
# The fields of an `Example` that are mappings from names.
ExampleField = Literal["responses", "columns", "other_images", "other_prompts", "vectors", "boxes"]


class Flag(float):
    """A number of a column that the data has as true or false: 1 or 0.

    Terms read it as any number, so labels may be true or false. Strengths and ranks refuse it: true as a beta, or as
    the rank of an answer, is hardly meant as 1.
    """


class Box(NamedTuple):
    """A rectangle in an image, in pixels from the upper left corner. ``right`` and ``bottom`` lie just outside it."""

    left: float
    top: float
    right: float
    bottom: float

    def problem(self, size: tuple[int, int]) -> str | None:
        """What is wrong with the box in an image of this size, ``(width, height)``; None if it is valid."""
        box = f"the box [{', '.join(f'{number:g}' for number in self)}]"
        if not (self.left < self.right and self.top < self.bottom):
            return f"{box} is empty; a box is [left, top, right, bottom]"
        if not (min(self[:2]) >= 0 and self.right <= size[0] and self.bottom <= size[1]):
            return f"{box} reaches beyond its image of {size[0]} x {size[1]} pixels"
        return None


@dataclass(frozen=True)
class DroppedTokens:
    """Image tokens that nothing attends to: a ``share`` of them, from 0 to 1, which ``seed`` selects at random."""

    share: float
    seed: int


@dataclass(frozen=True)
class Begun:
    """The beginning of a row's answers: the model reads it as written already, and it is not scored.

    ``joint``: the text between the beginning and a response, unless one of the two has white space there.
    ``unfinished``: the answer goes on after a response, so the tokens that end a turn are not scored either.
    """

    text: str
    joint: str = " "
    unfinished: bool = False

    def followed_by(self, response: str) -> str:
        """The answer with a response after this beginning, as the text of one turn."""
        is_joined = not self.text or self.text[-1:].isspace() or response[:1].isspace()
        return self.text + ("" if is_joined else self.joint) + response

    def response_of(self, added: str) -> str:
        """The response that a model wrote behind this beginning and the joint.

        Without a joint, white space at its start stays: it says whether the response begins a word or ends one.
        """
        return added if self.text and not (self.joint or self.text[-1].isspace()) else added.lstrip()


@dataclass(frozen=True)
class Example:
    r"""A prompt with its images, and the responses that are compared.

    ``id``: the same in every run. It seeds the corruption and names the row in messages.
    ``prompt``: text, or a conversation before the turn of the responses. It contains one ``<image>`` mark for each of
    ``images``, in order. In all texts, a backslash before a mark or a special token makes it plain text: ``\<image>``.
    ``responses[name]``: text, or turns of which the assistant's are first and last. Turns of other roles are read but
    not scored.
    ``columns[name]``: numbers that a term can read; a `Flag` where the data has true or false.
    ``videos``: for each video of the row, which of ``images`` are its frames, in order: ``(range(1, 9),)``. The other
    images are pictures. ``frame_times``: for each of ``videos``, when its frames are shown, in seconds from its start,
    each later than the one before; empty for a video without times, and () if no video has any.

    Corruptions can read the rest, by name: ``other_images`` and ``other_prompts`` of the row;
    ``vectors``, such as an image's embedding; ``boxes``, a tuple of boxes for each of ``images`` before corruption.
    Corruptions alone set ``dropped``. ``begun``: the beginning of the answer, which each of ``responses`` continues;
    None: they are whole answers. ``source``: the source of a mixture that the row comes from; "" if there is one.
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
    source: str = ""
    videos: tuple[range, ...] = ()
    frame_times: tuple[tuple[float, ...], ...] = ()
    begun: Begun | None = None

    @property
    def num_marks(self) -> int:
        """The number of ``<image>`` marks in the prompt."""
        texts = [self.prompt] if isinstance(self.prompt, str) else [turn.text for turn in self.prompt]
        return sum(map(count_marks, texts))

    def text(self, name: str) -> str:
        """The assistant's text in the response of this name; turns are separated by newlines."""
        response = self.responses[name]
        if isinstance(response, str):
            return response
        return "\n".join(turn.text for turn in response if turn.role == "assistant")

    @property
    def beginning(self) -> str:
        """The text that each response follows, with the joint; "" if the responses are whole answers."""
        return "" if self.begun is None else self.begun.followed_by("")

    def whole_answer(self, name: str) -> str | tuple[Turn, ...]:
        """The response of this name with the beginning of the answer before it."""
        response = self.responses[name]
        if self.begun is None:
            return response
        if isinstance(response, str):
            return self.begun.followed_by(response)
        first, *others = response
        return (replace(first, text=self.begun.followed_by(first.text)), *others)

    def without_images(self, removed: Collection[int]) -> Example:
        """The example without the images at these indices; its prompt stays. A video without frames is gone, too."""
        kept = [index for index in range(len(self.images)) if index not in removed]
        videos, times = [], []
        for number, video in enumerate(self.videos):
            places = [place for place, index in enumerate(kept) if index in video]
            if places:
                videos.append(range(places[0], places[-1] + 1))
                of_video = zip(video, self.times_of(number), strict=False)  # perhaps it has no times
                times.append(tuple(time for index, time in of_video if index not in removed))
        images, frame_times = tuple(self.images[index] for index in kept), tuple(times) if any(times) else ()
        return replace(self, images=images, videos=tuple(videos), frame_times=frame_times)

    def times_of(self, number: int) -> tuple[float, ...]:
        """When the frames of the video with this number, from 0, are shown; empty if it has no times."""
        return self.frame_times[number] if self.frame_times else ()

    def with_prompt(self, change: Callable[[str], str]) -> Example:
        """The example with ``change`` applied to every text of its prompt."""
        if isinstance(self.prompt, str):
            return replace(self, prompt=change(self.prompt))
        return replace(self, prompt=tuple(replace(turn, text=change(turn.text)) for turn in self.prompt))
