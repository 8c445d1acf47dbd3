r"""Special tokens and marks that are plain text: a backslash before them keeps the tokenizer from reading them.

While a text passes through template and processor, a character for private use stands for each of them. The tokenizer
first cuts out special tokens, and only then writes the plain text in the place of that character.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property
from typing import Any

from tokenizers.normalizers import Replace, Sequence

from mdpo_core import IMAGE_MARK, OTHER_MARKS, VIDEO_MARK
from mdpo_vlm.encoding.unusual_texts import END_TOKENS

_FIRST = 0xF0000  # Unicode's supplementary private use area A
# Those that are no special tokens of this model are plain text for its tokenizer, too.
_OTHER_MARK = re.compile(rf"\\({OTHER_MARKS.pattern})", re.IGNORECASE)
_PRIVATE = re.compile("[\U000f0000-\U000ffffd]")


class PlainText:
    r"""Turns ``\<image>`` and the like into characters that ``tokenizer`` reads as the plain text ``<image>``.

    ``special``: the special tokens of the tokenizer. Marks, other data sets' marks such as ``<img>``, and the end
    tokens of other models can be plain text, too.
    """

    def __init__(self, tokenizer: Any, special: Collection[str]) -> None:
        self._tokenizer = tokenizer
        known = sorted({IMAGE_MARK, VIDEO_MARK, *END_TOKENS, *(each for each in special if each.strip())})
        self._stand_ins = {text: chr(_FIRST + place) for place, text in enumerate(known)}
        # Of two tokens that begin alike, the longer one is meant.
        names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        self._escaped = re.compile(rf"\\({names})")
        self._special = frozenset(special)

    def hidden(self, text: str) -> str:
        """The text with a character for each escaped token. Raises `ValueError`: the tokenizer cannot read it so."""
        private = _PRIVATE.search(text)
        if private is not None:
            raise ValueError(f"contains {private[0]!a}, a character for private use, which has no meaning here")
        if not self._escaped.search(text):
            return _OTHER_MARK.sub(r"\1", text)
        unreadable = self._unreadable
        for token in self._escaped.findall(text):
            if token in unreadable:
                raise ValueError(f"contains \\{token}, but this model's tokenizer cannot read {token!r} as plain text")
        return _OTHER_MARK.sub(r"\1", self._escaped.sub(lambda found: self._stand_ins[found[1]], text))

    @cached_property
    def _unreadable(self) -> frozenset[str]:
        """Teach the tokenizer the stand-ins. Returns the tokens that it cannot read as plain text all the same."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return frozenset(self._stand_ins)
        steps = [Replace(stand_in, text) for text, stand_in in self._stand_ins.items()]
        backend.normalizer = Sequence([*steps, *([] if backend.normalizer is None else [backend.normalizer])])
        ids = {token: self._tokenizer.convert_tokens_to_ids(token) for token in self._special}
        return frozenset(
            token
            for token, stand_in in self._stand_ins.items()
            if token in ids and ids[token] in self._tokenizer(stand_in, add_special_tokens=False)["input_ids"]
        )
