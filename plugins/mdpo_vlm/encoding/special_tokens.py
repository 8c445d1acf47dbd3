"""Finds special tokens in plain text: a tokenizer turns such text into tokens that begin, end or pad a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mdpo_core import DataError, Problem, suggestion


class SpecialTokens:
    """Finds text that a tokenizer reads as a special token.

    ``allowed``: the special tokens that a text may contain; raises `DataError` if the tokenizer lacks one of them. The
    encoder itself checks ``image_token``. ``known``: all special tokens.
    """

    def __init__(self, tokenizer: Any, allowed: Sequence[str], image_token: str) -> None:
        added = tokenizer.added_tokens_decoder.values()
        self.known = {*map(str, tokenizer.all_special_tokens), *(str(token) for token in added if token.special)}
        for token in allowed:
            if token not in self.known:
                message = f"{token!r} is not a special token of this model{suggestion(token, self.known)}"
                raise DataError([Problem("", "model.special_tokens", message)])
        # If blanks were a special token, every text would contain it.
        self._texts = sorted(token for token in self.known - {*allowed, image_token} if token.strip())
        self._begin, self._end = tokenizer.bos_token, tokenizer.eos_token
        # A ready-made prompt contains the special tokens of the model's format, but never one of these.
        padding = {tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token} - {self._begin, self._end}
        self._in_no_format = [token for token in self._texts if token in padding]
        self._begins_texts = self._begin in self._texts and self._begin != self._end

    def problem_of_text(self, text: str) -> str | None:
        """Says which special token a text contains; None if it contains none."""
        return _problem(token for token in self._texts if token in text)

    def problem_of_ready_prompt(self, prompt: str) -> str | None:
        """Says which special token a ready-made prompt must not contain; None if it contains no such token."""
        found = [token for token in self._in_no_format if token in prompt]
        return _problem([*found, *([self._begin] if self._begins_texts and self._begins_inside(prompt) else [])])

    def _begins_inside(self, prompt: str) -> bool:
        """Whether a begin token is neither at the start of the prompt nor right after an end token."""
        before = [part.strip() for part in prompt.split(self._begin)[:-1]]
        return not all(self._ends(part) or (place == 0 and not part) for place, part in enumerate(before))

    def _ends(self, text: str) -> bool:
        return bool(self._end) and text.endswith(self._end)


def _problem(tokens: Iterable[str]) -> str | None:
    token = next(iter(tokens), None)
    if token is None:
        return None
    return (
        f"contains {token!r}, which the tokenizer takes for a special token: write \\{token} if it is plain text, "
        "or, if the token is meant, add it to model.special_tokens"
    )
