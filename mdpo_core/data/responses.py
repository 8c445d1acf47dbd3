"""Encodes responses to token ids: conversations turn by turn, and continuations after the beginning of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.errors import DataError, Problem
from mdpo_core.types.example import Begun, Example, Turn
from mdpo_core.words.sentences import first_sentence

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.interfaces.model import Encoder
    from mdpo_core.types.batch import EncodedPrompt

# Short responses. The tokens that they all end with are the tokens that end a turn.
_PROBES = ("a", "0", ".", "No")


class EncodedResponse(NamedTuple):
    """Token ids ``(time,)``; ``turns``: see `mdpo_core.types.batch.Item`, None if all tokens are of one scored turn."""

    token_ids: Tensor
    turns: Tensor | None = None


def encode_response(encoder: Encoder, example: Example, name: str) -> EncodedResponse:
    """Encode a response: the assistant's turns as responses, and the turns between them as in a prompt.

    With `Example.begun`, these are the tokens of the whole answer.
    """
    response = example.responses[name]
    try:
        if example.begun is not None:
            return _continuation(encoder, example, example.begun, name)
        if isinstance(response, str):
            return EncodedResponse(encoder.encode_response(response))
        return _conversation(encoder, example, response)
    except DataError as error:
        raise DataError([replace(each, path=each.path or name) for each in error.problems]) from error


def require_different(example: Example, token_ids: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]]) -> None:
    """Raise `DataError` if the two responses of a pair have the same tokens, so that neither can be preferred.

    ``token_ids``: of each response ``(time,)``. Their texts differ all the same: in words that the tokenizer does not
    know, in white space, or in how a letter is written. Equal texts are found before.
    """
    found = [
        Problem(
            f"example '{example.id}'",
            "",
            f"the responses '{one}' and '{other}' have the same tokens, so neither can be preferred: they differ only "
            "in what the tokenizer does not tell apart, such as words that it does not know, or white space; change "
            "one of them, or remove the row",
        )
        for one, other in pairs
        if example.responses[one] != example.responses[other] and token_ids[one].equal(token_ids[other])
    ]
    if found:
        raise DataError(found)


def _continuation(encoder: Encoder, example: Example, begun: Begun, name: str) -> EncodedResponse:
    """The tokens of the whole answer, of which those of its beginning are not scored.

    These are the tokens that the answer has in common with its beginning alone. A token that reaches over the joint
    depends on the response, so it is scored.
    """
    try:
        beginning = tokens_of_beginning(encoder, begun.text)
    except DataError as error:
        raise DataError([replace(each, path="the beginning of the answer") for each in error.problems]) from error
    whole = replace(example, responses={name: example.whole_answer(name)}, begun=None)
    ids, turns = encode_response(encoder, whole, name)
    turns = ids.new_ones(len(ids)) if turns is None else turns.clone()
    turns[: _num_common(ids, beginning)] = 0
    if begun.unfinished:
        turns[len(ids) - _num_ending(encoder, ids) :] = 0
    if not turns.any():
        raise DataError(
            [
                Problem(
                    "",
                    "",
                    "the response adds no token to the beginning of the answer, so nothing is scored; write another "
                    "one, or remove the row",
                )
            ]
        )
    return EncodedResponse(ids, turns)


def begun_prompt(encoder: Encoder, example: Example) -> EncodedPrompt:
    """The encoded prompt of an example, with the tokens of `Example.begun` behind it: a model goes on from there."""
    return encoder.encode_prompt(example).followed_by(tokens_of_beginning(encoder, _as_read(example)))


def _as_read(example: Example) -> str:
    """The text that a model goes on from: without a space at its end, as tokenizers put it before the next word."""
    return example.beginning.rstrip(" ")


def decoded_answer(encoder: Encoder, example: Example, token_ids: Tensor) -> str:
    """The text of an answer that a model wrote to an example. An unfinished one ends with its first sentence.

    ``token_ids``: ``(time,)``, of what follows `begun_prompt`. The responses of unfinished answers are sentences, but a
    model that has not learned to end after a sentence goes on.
    """
    if example.begun is None:
        return encoder.decode(token_ids)
    text = added_text(encoder, tokens_of_beginning(encoder, _as_read(example)), token_ids)
    return example.begun.response_of(first_sentence(text) if example.begun.unfinished else text)


def added_text(encoder: Encoder, beginning: Tensor, added: Tensor) -> str:
    """The text of the tokens ``added`` ``(time,)`` behind those of a ``beginning``."""
    import torch

    if not len(beginning):
        return encoder.decode(added)
    # Decodes both together: alone, a token may decode differently, for example without the space before it.
    before, both = encoder.decode(beginning), encoder.decode(torch.cat([beginning, added]))
    return both.removeprefix(before) if both.startswith(before) else f" {encoder.decode(added)}"


def tokens_of_beginning(encoder: Encoder, text: str) -> Tensor:
    """The tokens ``(time,)`` of an unfinished response, without the tokens that end a turn."""
    import torch

    if not text:
        return torch.empty(0, dtype=torch.long)
    ids = encoder.encode_response(text)
    return ids[: len(ids) - _num_ending(encoder, ids)]


def _num_ending(encoder: Encoder, ids: Tensor) -> int:
    """The number of tokens at the end of a response that end its turn."""
    return min(_num_common(ids.flip(0), encoder.encode_response(probe).flip(0)) for probe in _PROBES)


def _num_common(one: Tensor, other: Tensor) -> int:
    """The number of equal tokens at the beginnings of two responses."""
    pairs = zip(one.tolist(), other.tolist(), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


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
