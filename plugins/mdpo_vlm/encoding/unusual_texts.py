"""Finds texts that are seldom meant: prompts in a form that the model does not expect, and other models' end tokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mdpo_core import Example, Prompt, replace_marks

# With these at the start of a line, a text is already in the format of a chat.
_FORMATTED = re.compile(
    r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>)?\s*(<\|(?:im_start|im_user|user|system|start_header_id)\|>|<\uff5cUser\uff5c>|"
    r"<start_of_turn>|\[INST\]|###\s*(?:Human|User|Instruction):)",
    re.IGNORECASE | re.MULTILINE,
)
_USER = re.compile(r"(?:^|\s)(user|human):", re.IGNORECASE)
_ASSISTANT = re.compile(r"(?:^|\s)((?:assistant|gpt):)\s*$", re.IGNORECASE)
# Any of these shows that a text was written for some model; so does a colon at its end, as of "Answer:".
_OF_SOME_FORMAT = re.compile(
    r"<\|[^|<>\s]+\|>|<\uff5c|</?(?:start|end)_of_\w+>|\[/?INST\]|###|\b(?:user|human|assistant|gpt|system)\s*:|:\s*$",
    re.IGNORECASE,
)
END_TOKENS = (
    *("</s>", "<eos>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<|eot_id|>", "<|eom_id|>"),
    *("<end_of_turn>", "<end_of_utterance>", "<|end_of_sentence|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
_MEANT_END_TOKEN = re.compile(rf"(?<!\\)(?:{'|'.join(map(re.escape, END_TOKENS))})")
_KEEP = "or, if it is meant, set model.unusual_texts: keep"


@dataclass(frozen=True)
class UnusualTexts:
    """Finds texts of a row that are seldom meant.

    ``chat``: the chat template is applied to prompts. ``has_template``: the model has one, so that it expects its
    format. ``special``: the special tokens of the tokenizer, which `SpecialTokens` judges.
    """

    chat: bool
    has_template: bool
    special: Collection[str]

    def problems(self, example: Example) -> list[str]:
        """What is unusual in a row, a sentence for each text; empty if nothing is."""
        prompts = {"the prompt": example.prompt}
        prompts |= {f"the other prompt '{name}'": prompt for name, prompt in example.other_prompts.items()}
        responses = {f"the response '{name}'": response for name, response in example.responses.items()}
        return [*self._forms(prompts), *self._end_tokens(prompts | responses)]

    def _forms(self, prompts: Mapping[str, Prompt]) -> Iterator[str]:
        """Ready-made prompts under the chat template, and bare questions without it."""
        for where, prompt in prompts.items():
            if self.chat:
                marker = next(filter(None, map(_marker, _questions(prompt))), None)
                if marker is not None:
                    yield (
                        f"{where} contains {marker!r}, so it is ready-made, but model.prompts: chat puts it into the "
                        f"chat template once more: set model.prompts: ready, {_KEEP}"
                    )
            elif self.has_template and isinstance(prompt, str) and self._is_bare(prompt):
                yield (
                    f"{where} is a bare question: nothing marks the user's turn or calls for an answer, but "
                    f"model.prompts: ready uses it unchanged: set model.prompts: chat, {_KEEP}"
                )

    def _is_bare(self, prompt: str) -> bool:
        text = replace_marks(prompt, "")
        return not (_OF_SOME_FORMAT.search(text) or any(token in text for token in self.special if token.strip()))

    def _end_tokens(self, texts: Mapping[str, Prompt]) -> Iterator[str]:
        """End tokens of other models, which this tokenizer splits into letters."""
        for where, text in texts.items():
            parts = [text] if isinstance(text, str) else [turn.text for turn in text]
            found = (match[0] for part in parts for match in _MEANT_END_TOKEN.finditer(part))
            token = next((each for each in found if each not in self.special), None)
            if token is not None:
                yield (
                    f"{where} contains {token!r}, the end token of other models, which is plain text to this one: "
                    f"remove it, or, if it is meant, write \\{token}, or set model.unusual_texts: keep"
                )


def _questions(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [turn.text for turn in prompt if turn.role != "assistant"]


def _marker(text: str) -> str | None:
    """The marker of a ready-made text; None if it has none."""
    text = replace_marks(text, " ")
    found = _FORMATTED.search(text) or (_ASSISTANT.search(text) if _USER.search(text) else None)
    return None if found is None else found[1]
