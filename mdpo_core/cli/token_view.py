"""Shows the tokens of rows as a model sees them: of images, of the prompt and of the responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.model import Encoder
from mdpo_core.types.batch import EncodedPrompt, EncodedRow
from mdpo_core.types.example import Example
from mdpo_core.types.view import CLEAN
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from torch import Tensor

_WIDTH = 10  # of the column of roles


def shown_rows(builder: BatchBuilder, data: Sequence[Example], number: int) -> str:
    """The first ``number`` rows as text: their prompts, under each condition that changes the tokens, and responses.

    Dots separate the tokens. Log-probs count the tokens of responses only; in a response that is a conversation, they
    do not count the tokens in brackets.
    """
    encoded = [builder.encode(data[row], data, epoch=0) for row in range(min(number, len(data)))]
    return "\n".join(line for row in encoded for line in _row(builder.encoder, row))


def _row(encoder: Encoder, row: EncodedRow) -> Iterator[str]:
    yield f"row '{row.id}'"
    seen: list[EncodedPrompt] = []
    for condition, prompt in sorted(row.prompts.items(), key=lambda item: item[0] != CLEAN):
        if any(alike(prompt, other) for other in seen):
            continue
        seen.append(prompt)
        yield from _prompt(encoder, prompt, "prompt" if condition == CLEAN else f"@{condition}")
    for name, ids in row.responses.items():
        yield f"  {name:<{_WIDTH}}{_response(encoder, ids, row.turns.get(name))}"


def alike(one: EncodedPrompt, other: EncodedPrompt) -> bool:
    """Whether two prompts have the same tokens, and drop the same ones; their pictures may differ."""
    dropped = [prompt.token_ids.new_zeros(0) if prompt.dropped is None else prompt.dropped for prompt in (one, other)]
    return one.token_ids.equal(other.token_ids) and dropped[0].equal(dropped[1])


def _prompt(encoder: Encoder, prompt: EncodedPrompt, title: str) -> Iterator[str]:
    dropped = [False] * len(prompt.token_ids) if prompt.dropped is None else prompt.dropped.tolist()
    tokens = list(zip(prompt.token_ids.tolist(), dropped, strict=True))
    for is_image, group in groupby(tokens, key=lambda token: token[0] == encoder.image_token):
        part = list(group)
        if is_image:
            num_dropped = sum(is_dropped for _, is_dropped in part)
            text = counted(len(part), "token") + (f", {num_dropped} dropped" if num_dropped else "")
        else:
            text = _dotted(encoder, [token for token, _ in part])
        yield f"  {'image' if is_image else title:<{_WIDTH}}{text}"


def _response(encoder: Encoder, ids: Tensor, turns: Tensor | None) -> str:
    if turns is None:
        return _dotted(encoder, ids)
    parts = []
    for is_scored, group in groupby(zip(ids.tolist(), turns.tolist(), strict=True), key=lambda token: token[1] > 0):
        text = _dotted(encoder, [token for token, _ in group])
        parts.append(text if is_scored else f"[{text}]")
    return " ".join(parts)


def _dotted(encoder: Encoder, token_ids: Tensor | Sequence[int]) -> str:
    pieces = [piece.replace("\n", "\\n") for piece in encoder.token_texts([int(token) for token in token_ids])]
    return f"·{'·'.join(pieces)}·"
