"""The chat template of a model: it renders conversations as text, and gives the text before and after a response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin

from mdpo_core import IMAGE_MARK, Example, Turn
from mdpo_vlm.encoding.processor_calls import row_error
from mdpo_vlm.files.damage import quoted
from mdpo_vlm.files.folder import read_json, unfit
from mdpo_vlm.files.time_limit import time_limit

# A mark and the line break after it; the template decides what replaces them.
_MARK = re.compile(rf"{re.escape(IMAGE_MARK)}\n?")
# A template is a program; a sound one takes a thousandth of a second.
_SECONDS = 3.0
# That a template adds to a conversation.
_MOST_LETTERS = 10**6
_BYTE_ORDER_MARK = "\ufeff"
_QUESTION, _ANSWER = "Which one?", "That one"


def has_template(processor: ProcessorMixin) -> bool:
    """Whether a model has a chat template."""
    return any(getattr(each, "chat_template", None) for each in (processor, processor.tokenizer))


@dataclass(frozen=True)
class ChatTemplate:
    """``lead`` and ``tail`` stand before and after a response; every prompt ends with ``opening``."""

    processor: ProcessorMixin
    opening: str
    lead: str
    tail: str

    @classmethod
    def of(cls, processor: ProcessorMixin, folder: Path) -> ChatTemplate:
        """Find the three texts by rendering a trial conversation. Raises `DataError` if the model has no template."""
        if not has_template(processor):
            raise unfit(
                folder, "has no chat template; set model.prompts: ready, and write prompts in the format of the model"
            )
        question = [Turn("user", _QUESTION)]
        try:
            prompt = _render(processor, question, open_turn=True)
            conversation = _render(processor, [*question, Turn("assistant", _ANSWER)], open_turn=False)
        except Exception as error:  # a template is a program, which can raise anything
            message = f"its chat template fails on a question with an answer ({quoted(error)})"
            raise unfit(folder, f"{message}; download it again, or set model.prompts: ready") from error
        if prompt.startswith(_BYTE_ORDER_MARK):
            raise unfit(
                folder, "its chat template begins with a byte-order mark, which is no text; save it without one"
            )
        before, _, after = conversation.rpartition(_ANSWER)
        if not before.startswith(prompt):
            raise unfit(folder, "its chat template starts an answer in two different ways; set model.prompts: ready")
        opening, lead = prompt.rpartition(_QUESTION)[2], before.removeprefix(prompt)
        return cls(processor, opening, lead, _until_end(after, _end_tokens(processor, folder)))

    def prompt(self, example: Example, are_videos: Sequence[bool] = ()) -> str:
        """The prompt of an example as text. Raises `DataError` if the template leaves out an image or a video.

        ``are_videos``: for each mark, whether a video stands there; empty: no mark is of a video.
        """
        turns = [Turn("user", example.prompt)] if isinstance(example.prompt, str) else list(example.prompt)
        try:
            text = _render(self.processor, turns, open_turn=True, are_videos=are_videos)
        except Exception as error:  # a template is a program, which can raise anything
            raise row_error(example, f"the chat template does not take this conversation: {quoted(error)}") from error
        num_tokens, num_images = text.count(self.processor.image_token), len(example.images)
        if num_tokens != num_images:
            message = f"with the chat template, the prompt has {num_tokens} image tokens for {num_images} images"
            raise row_error(example, message)
        num_tokens, num_videos = text.count(self.processor.video_token) if any(are_videos) else 0, sum(are_videos)
        if num_tokens != num_videos:
            message = f"with the chat template, the prompt has {num_tokens} video tokens for {num_videos} videos"
            raise row_error(example, message)
        return text

    def response_ids(self, tokenizer: Any, response: str) -> list[int]:
        """The tokens of a response in its conversation; its tokens alone if prompt and response would share a token."""
        rest = f"{self.lead}{response}{self.tail}"
        before, both, alone = (
            list(tokenizer(text, add_special_tokens=False)["input_ids"])
            for text in (self.opening, self.opening + rest, rest)
        )
        return both[len(before) :] if both[: len(before)] == before else alone


def _end_tokens(processor: ProcessorMixin, folder: Path) -> list[str]:
    """The tokens that end a response: the tokenizer's first, then those that generation stops at."""
    settings = folder / "generation_config.json"
    ids = read_json(settings).get("eos_token_id") if settings.is_file() else None
    tokenizer = processor.tokenizer
    others = tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return [str(tokenizer.eos_token), *map(str, others)]


def _until_end(after: str, ends: Sequence[str]) -> str:
    """The text after an answer, up to its last end token; ``ends[0]`` if the template wrote no end token."""
    length = max(after.rfind(end) + len(end) if end in after else 0 for end in ends)
    return after[:length] or ends[0]


def _render(
    processor: ProcessorMixin, turns: Sequence[Turn], *, open_turn: bool, are_videos: Sequence[bool] = ()
) -> str:
    kinds = chain(("video" if is_video else "image" for is_video in are_videos), repeat("image"))
    messages = [{"role": turn.role, "content": _content(turn.text, kinds)} for turn in turns]
    # The tokenizer renders: some processors need torchvision for it.
    with time_limit(_SECONDS):
        text = processor.tokenizer.apply_chat_template(
            messages,
            chat_template=getattr(processor, "chat_template", None),
            add_generation_prompt=open_turn,
            tokenize=False,
        )
    num_letters = sum(len(turn.text) for turn in turns)
    if len(text) > _MOST_LETTERS + 10 * num_letters:
        raise ValueError(f"it makes {len(text)} letters of a conversation of {num_letters}")
    return str(text)


def _content(text: str, kinds: Iterator[str]) -> list[dict[str, str]]:
    """Images, videos and the texts between them, in order, as parts of a message. ``kinds``: of the marks to come."""
    first, *others = _MARK.split(text)
    parts: list[dict[str, str]] = [{"type": "text", "text": first}]
    for part in others:
        parts += [{"type": next(kinds)}, {"type": "text", "text": part}]
    return [part for part in parts if part.get("text") != ""] or parts
