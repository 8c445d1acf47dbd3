"""What a model is given, token by token: which tokens are of images, of the prompt, and of responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mdpo_core.collation import EncodedRow
from mdpo_core.encoding import BatchBuilder
from mdpo_core.example import Example
from mdpo_core.protocols import Encoder
from mdpo_core.view import CLEAN

if TYPE_CHECKING:
    from torch import Tensor

_WIDTH = 10  # of the column of roles


def shown_rows(builder: BatchBuilder, data: Sequence[Example], number: int) -> str:
    """The first rows, each prompt under every condition that changes its tokens, and what is scored of each response.

    Tokens stand between dots. Only those of responses are counted in log-probs.
    """
    rows = [builder.encode(data[row], data, epoch=0) for row in range(min(number, len(data)))]
    return "\n".join(line for row in rows for line in _row(builder.encoder, row))


def _row(encoder: Encoder, row: EncodedRow) -> Iterator[str]:
    yield f"row '{row.id}'"
    seen: list[Tensor] = []
    for condition, prompt in sorted(row.prompts.items(), key=lambda item: item[0] != CLEAN):
        if any(prompt.token_ids.equal(other) for other in seen):
            continue
        seen.append(prompt.token_ids)
        yield from _prompt(encoder, prompt.token_ids, "prompt" if condition == CLEAN else f"@{condition}")
    for name, ids in row.responses.items():
        yield f"  {name:<{_WIDTH}}{_dotted(encoder, ids)}"


def _prompt(encoder: Encoder, token_ids: Tensor, title: str) -> Iterator[str]:
    for is_image, group in groupby(token_ids.tolist(), key=lambda token: token == encoder.image_token):
        tokens = list(group)
        text = f"{len(tokens)} tokens" if is_image else _dotted(encoder, tokens)
        yield f"  {'image' if is_image else title:<{_WIDTH}}{text}"


def _dotted(encoder: Encoder, token_ids: Tensor | Sequence[int]) -> str:
    pieces = [piece.replace("\n", "\\n") for piece in encoder.pieces([int(token) for token in token_ids])]
    return f"·{'·'.join(pieces)}·"
