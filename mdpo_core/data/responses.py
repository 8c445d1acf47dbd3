"""Encodes responses to token ids; conversations turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.errors import DataError, Problem
from mdpo_core.types.example import Example, Turn

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.interfaces.model import Encoder


class EncodedResponse(NamedTuple):
    """Token ids ``(time,)``; ``turns``: see `mdpo_core.types.batch.Item`, None for a response that is one turn."""

    token_ids: Tensor
    turns: Tensor | None = None


def encode_response(encoder: Encoder, example: Example, name: str) -> EncodedResponse:
    """Encode a response: the assistant's turns as responses, and the turns between them as in a prompt."""
    response = example.responses[name]
    try:
        if isinstance(response, str):
            return EncodedResponse(encoder.encode_response(response))
        return _conversation(encoder, example, response)
    except DataError as error:
        raise DataError([replace(each, path=each.path or name) for each in error.problems]) from error


def _conversation(encoder: Encoder, example: Example, turns: Sequence[Turn]) -> EncodedResponse:
    from torch import cat

    prompt = encoder.encode_prompt(example).token_ids
    parts, numbers = [prompt], [prompt.new_zeros(len(prompt))]
    so_far = [Turn("user", example.prompt)] if isinstance(example.prompt, str) else list(example.prompt)
    turn_number = 0
    for is_answer, group in groupby(turns, key=lambda turn: turn.role == "assistant"):
        added = list(group)
        so_far += added
        if is_answer:
            turn_number += 1
            [answer] = added
            part = encoder.encode_response(answer.text)
        else:
            part = _added_tokens(
                cat(parts), encoder.encode_prompt(replace(example, prompt=tuple(so_far))).token_ids, example
            )
        parts.append(part)
        numbers.append(part.new_full((len(part),), turn_number if is_answer else 0))
    return EncodedResponse(cat(parts[1:]), cat(numbers[1:]))


def _added_tokens(before: Tensor, longer: Tensor, example: Example) -> Tensor:
    """The tokens that a ``longer`` prompt adds to ``before``."""
    if not longer[: len(before)].equal(before):
        message = "the chat template writes earlier answers differently from responses, so their turns cannot be scored"
        raise DataError([Problem(f"example '{example.id}'", "", message)])
    return longer[len(before) :]
