"""Special tokens that a text spells: a tokenizer would make tokens of them that end, begin or pad a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mdpo_core import DataError, Problem, suggestion


class SpecialTokens:
    """Finds what a tokenizer would take for a special token in a text.

    ``allowed``: those that texts may contain; `DataError` if the tokenizer does not have one of them. ``image_token``
    is left to others.
    """

    def __init__(self, tokenizer: Any, allowed: Sequence[str], image_token: str) -> None:
        added = tokenizer.added_tokens_decoder.values()
        known = {*map(str, tokenizer.all_special_tokens), *(str(token) for token in added if token.special)}
        for token in allowed:
            if token not in known:
                message = f"{token!r} is no special token of this model{suggestion(token, known)}"
                raise DataError([Problem("", "model.special_tokens", message)])
        # A tokenizer with blanks for a special token takes them for it in every text.
        self._texts = sorted(token for token in known - {*allowed, image_token} if token.strip())
        self._begin, self._end = tokenizer.bos_token, tokenizer.eos_token
        # A ready-made prompt is in the model's format, which special tokens belong to, but none of these.
        padding = {tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token} - {self._begin, self._end}
        self._in_no_format = [token for token in self._texts if token in padding]
        self._begins_texts = self._begin in self._texts and self._begin != self._end

    def problem_of_text(self, text: str) -> str | None:
        """What is wrong with a text that contains a special token; None if it contains none."""
        return _problem(token for token in self._texts if token in text)

    def problem_of_ready_prompt(self, prompt: str) -> str | None:
        """What is wrong with a prompt that contains a special token where no format has it; None if it does not."""
        found = [token for token in self._in_no_format if token in prompt]
        return _problem([*found, *([self._begin] if self._begins_texts and self._begins_inside(prompt) else [])])

    def _begins_inside(self, prompt: str) -> bool:
        """Whether the begin token stands elsewhere than at the beginning and behind an end token."""
        before = [part.strip() for part in prompt.split(self._begin)[:-1]]
        return not all(self._ends(part) or (place == 0 and not part) for place, part in enumerate(before))

    def _ends(self, text: str) -> bool:
        return bool(self._end) and text.endswith(self._end)


def _problem(tokens: Iterable[str]) -> str | None:
    token = next(iter(tokens), None)
    if token is None:
        return None
    return (
        f"contains {token!r}, which the tokenizer takes for a special token: write it in another way, or, if the token "
        "is meant, add it to model.special_tokens"
    )
