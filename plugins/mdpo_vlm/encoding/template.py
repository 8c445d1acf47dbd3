"""The chat template that comes with a model: conversations to text, and what surrounds a response."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import ProcessorMixin

from mdpo_core import IMAGE_MARK, DataError, Example, Problem, Turn
from mdpo_vlm.files.damage import quoted
from mdpo_vlm.files.folder import read_json, unfit

# A mark goes with one line break that follows it: what is to stand there is the template's to say.
_MARK = re.compile(rf"{re.escape(IMAGE_MARK)}\n?")
# A template is a program: its own errors, and those of the operations in it.
_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError)
_QUESTION, _ANSWER = "Which one?", "That one"


@dataclass(frozen=True)
class ChatTemplate:
    """``lead`` and ``tail`` stand before and behind a response; ``opening`` is what a prompt ends in."""

    processor: ProcessorMixin
    opening: str
    lead: str
    tail: str

    @classmethod
    def of(cls, processor: ProcessorMixin, folder: Path) -> ChatTemplate:
        """Raises `DataError` if there is none."""
        if not getattr(processor, "chat_template", None) and not getattr(processor.tokenizer, "chat_template", None):
            raise unfit(
                folder, "has no chat template; set model.prompts: ready, and write prompts as the model takes them"
            )
        question = [Turn("user", _QUESTION)]
        try:
            prompt = _render(processor, question, open_turn=True)
            whole = _render(processor, [*question, Turn("assistant", _ANSWER)], open_turn=False)
        except _FAILURES as error:
            text = f"its chat template fails on a question with an answer ({quoted(error)})"
            raise unfit(folder, f"{text}; download it again, or set model.prompts: ready") from error
        before, _, after = whole.rpartition(_ANSWER)
        if not before.startswith(prompt):
            raise unfit(
                folder, "its chat template opens an answer otherwise than it writes one; set model.prompts: ready"
            )
        opening, lead = prompt.rpartition(_QUESTION)[2], before.removeprefix(prompt)
        return cls(processor, opening, lead, _until_end(after, _end_tokens(processor, folder)))

    def prompt(self, example: Example) -> str:
        """Raises `DataError` where the template leaves out an image."""
        turns = [Turn("user", example.prompt)] if isinstance(example.prompt, str) else list(example.prompt)
        try:
            text = _render(self.processor, turns, open_turn=True)
        except _FAILURES as error:
            raise _wrong(example, f"the chat template does not take this conversation: {error}") from error
        shown = text.count(self.processor.image_token)
        if shown != len(example.images):
            found = f"with the chat template, the prompt has {shown} image tokens for {len(example.images)} images"
            raise _wrong(example, found)
        return text

    def response_ids(self, tokenizer: Any, response: str) -> list[int]:
        """As the tokens of the whole conversation, where the response begins a token of its own."""
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
    """What stands behind an answer, to its last end token; if it has none (some templates have a slip), the first."""
    length = max(after.rfind(end) + len(end) if end in after else 0 for end in ends)
    return after[:length] or ends[0]


def _render(processor: ProcessorMixin, turns: Sequence[Turn], *, open_turn: bool) -> str:
    messages = [{"role": turn.role, "content": _content(turn.text)} for turn in turns]
    # Not by the processor: some of them want torchvision for it.
    text = processor.tokenizer.apply_chat_template(
        messages,
        chat_template=getattr(processor, "chat_template", None),
        add_generation_prompt=open_turn,
        tokenize=False,
    )
    return str(text)


def _content(text: str) -> list[dict[str, str]]:
    """Images and the texts between them, in order."""
    first, *others = _MARK.split(text)
    parts: list[dict[str, str]] = [{"type": "text", "text": first}]
    for part in others:
        parts += [{"type": "image"}, {"type": "text", "text": part}]
    return [part for part in parts if part.get("text") != ""] or parts


def _wrong(example: Example, text: str) -> DataError:
    return DataError([Problem(f"example '{example.id}'", "", text)])
