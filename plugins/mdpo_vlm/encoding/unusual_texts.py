"""Finds texts that are seldom meant: prompts in a form that the model does not expect, and other models' end tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mdpo_core import Example, Prompt, replace_marks

Kind = Literal["ready_prompts", "bare_questions", "end_tokens"]

_BEGIN = r"(?:<s>|<bos>|<\|begin_of_text\|>)?\s*"
_TOKENS = (
    r"<\|(?:im_start|im_user|user|system|start_header_id|header_start)\|>|<\uff5cUser\uff5c>|<start_of_turn>|\[INST\]"
)
_WORDS = r"###\s*(?:Human|User|Instruction|Question):"
# Begins the user's turn, at the start of a line. Tokens at the start of a text show a format by themselves.
_USERS_LINE = re.compile(rf"^\s*{_BEGIN}({_TOKENS}|{_WORDS})", re.IGNORECASE | re.MULTILINE)
_USERS_TEXT = re.compile(rf"\s*{_BEGIN}({_TOKENS})", re.IGNORECASE)
_USER = re.compile(r"(?:^|\s)(user|human):", re.IGNORECASE)
# Begins the assistant's turn. A ready-made prompt ends there; a chat that is quoted goes on.
_ASSISTANTS = (
    r"<\|im_start\|>\s*(?:assistant|model)|<\|(?:start_header_id|header_start)\|>\s*assistant\s*<\|\w+\|>|"
    r"<\|(?:im_)?assistant\|>(?:assistant<\|im_middle\|>)?|<\uff5cAssistant\uff5c>|<start_of_turn>\s*model|\[/INST\]|"
    r"###\s*(?:Assistant|GPT|Response|Answer):"
)
_ASSISTANT_INSIDE = re.compile(rf"(?<!\\)(?:{_ASSISTANTS})", re.IGNORECASE)
_ASSISTANT_LAST = re.compile(rf"(?<!\\)(?:{_ASSISTANTS})\s*$", re.IGNORECASE)
_ASSISTANT = re.compile(r"(?:^|\s)((?:assistant|gpt):)\s*$", re.IGNORECASE)
# Any of these shows that a text was written for some model; so does a colon at its end, as of "Answer:", or a label
# before a line, as in "Q: ... A: ...".
_OF_SOME_FORMAT = re.compile(
    r"<\|[^|<>\s]+\|>|<\uff5c|</?(?:start|end)_of_\w+>|\[/?INST\]|###|\b(?:user|human|assistant|gpt|system)\s*:|:\s*\Z|"
    r"^\s*[^\W\d_]{1,15}:(?=\s)",
    re.IGNORECASE | re.MULTILINE,
)
END_TOKENS = (
    *("</s>", "<eos>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<|eot_id|>", "<|eom_id|>"),
    *("<end_of_turn>", "<end_of_utterance>", "<|end_of_sentence|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
# They end a text, a line or a turn. Inside of a line they are what a text is about.
_LAST = re.compile(
    rf"(?<!\\)({'|'.join(map(re.escape, END_TOKENS))})"
    r"(?=\s*(?:$|<\||<\uff5c|<s>|<start_of_turn>|\[INST\]|###|(?i:user|human|assistant|gpt|system)\s*:))",
    re.MULTILINE,
)


class KeptTexts(BaseModel):
    """Kinds of unusual texts that are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: tuple[Kind, ...] = Field(
        default=(), description="kinds that are used as they are: ready_prompts, bare_questions, end_tokens"
    )
    sources: Mapping[str, tuple[Kind, ...]] = Field(
        default={}, description="the same for the rows of one source of a mixture, by its name"
    )

    def of(self, source: str) -> set[str]:
        """The kinds that rows of this source may have; a source inside of another one is also of that one."""
        names = [name for name in self.sources if f"{source}/".startswith(f"{name}/")]
        return {*self.keep, *(kind for name in names for kind in self.sources[name])}


UnusualTextsOption: TypeAlias = Literal["refuse", "keep"] | KeptTexts


def keeps(option: UnusualTextsOption, kind: Kind) -> bool:
    """Whether texts of a kind are used as they are, whatever their source."""
    return option == "keep" or (isinstance(option, KeptTexts) and kind in option.keep)


def is_in_a_format(prompt: str, special: Collection[str]) -> bool:
    """Whether a prompt is ready for a model: it marks a turn, or contains one of the ``special`` tokens."""
    text = replace_marks(prompt, "")
    return _marker(prompt) is not None or any(token in text for token in special if token.strip())


@dataclass(frozen=True)
class UnusualTexts:
    """Finds texts of a row that are seldom meant.

    ``chat``: the chat template is applied to prompts. ``has_template``: the model has one, so that it expects its
    format. ``special``: the special tokens of the tokenizer, which `SpecialTokens` judges. ``option``: what is kept.
    """

    chat: bool
    has_template: bool
    special: Collection[str]
    option: UnusualTextsOption = "refuse"

    def problems(self, example: Example) -> list[str]:
        """What is unusual in a row and not kept, a sentence for each text; empty if nothing is."""
        if self.option == "keep":
            return []
        kept = self.option.of(example.source) if isinstance(self.option, KeptTexts) else set()
        prompts = {"the prompt": example.prompt}
        prompts |= {f"the other prompt '{name}'": prompt for name, prompt in example.other_prompts.items()}
        responses = {f"the response '{name}'": response for name, response in example.responses.items()}
        if example.begun is not None:
            responses["the beginning of the answer"] = example.begun.text
        checks: Mapping[Kind, tuple[Callable[[Prompt], str | None], Mapping[str, Prompt]]] = {
            "ready_prompts": (self._ready, prompts),
            "bare_questions": (self._bare, prompts),
            "end_tokens": (self._end_token, prompts | responses),
        }
        return [
            f"{where} {said} set model.unusual_texts: {{keep: [{kind}]}}"
            for kind, (check, texts) in checks.items()
            for where, text in texts.items()
            if kind not in kept and (said := check(text)) is not None
        ]

    def _ready(self, prompt: Prompt) -> str | None:
        """What to say of a ready-made prompt under the chat template."""
        marker = next(filter(None, map(_marker, _questions(prompt))), None) if self.chat else None
        if marker is None:
            return None
        return (
            f"contains {marker!r}, so it is ready-made, but model.prompts: chat puts it into the chat template once "
            "more: set model.prompts: ready, or, if it is meant,"
        )

    def _bare(self, prompt: Prompt) -> str | None:
        """What to say of a bare question without the chat template."""
        if self.chat or not self.has_template or not isinstance(prompt, str):
            return None
        text = replace_marks(prompt, "")
        if _OF_SOME_FORMAT.search(text) or any(token in text for token in self.special if token.strip()):
            return None
        return (
            "is a bare question: nothing marks the user's turn or calls for an answer, but model.prompts: ready uses "
            "it unchanged: set model.prompts: chat, or, if it is meant,"
        )

    def _end_token(self, text: Prompt) -> str | None:
        """What to say of an end token of another model, which this tokenizer splits into letters."""
        parts = [text] if isinstance(text, str) else [turn.text for turn in text]
        token = next((each for part in parts for each in _ends(part) if each not in self.special), None)
        if token is None:
            return None
        return (
            f"contains {token!r}, the end token of other models, which is plain text to this one: remove it, or, if it "
            f"is meant, write \\{token}, or"
        )


def _questions(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [turn.text for turn in prompt if turn.role != "assistant"]


def _marker(text: str) -> str | None:
    """The marker of a ready-made text; None if it has none."""
    text = replace_marks(text, " ")
    line = _USERS_LINE.search(text)
    if _ASSISTANT_LAST.search(text) and line is not None:
        return line[1]
    last = _ASSISTANT.search(text)
    if last is not None and (line is not None or _USER.search(text)):
        return line[1] if line is not None else last[1]
    first = _USERS_TEXT.match(text)
    return first[1] if first is not None and not _ASSISTANT_INSIDE.search(text) else None


def _ends(text: str) -> Iterator[str]:
    """The end tokens at the ends of lines and turns; not those of HTML, where ``<s>`` strikes a text out."""
    for found in _LAST.finditer(text):
        if found[1] != "</s>" or "[INST]" in text or "<s>" not in text:
            yield found[1]
