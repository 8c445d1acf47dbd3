"""The contract of an adapter's encoder."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mdpo_core.errors import DataError, shown
from mdpo_core.interfaces.model import Encoder
from mdpo_core.testing.sentences import Broken, contents, require
from mdpo_core.types.batch import EncodedPrompt, same_inputs
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK

if TYPE_CHECKING:
    from torch import Tensor


def check_encoder(name: str, make: Callable[[], Encoder], examples: Sequence[Example]) -> None:
    """Check an adapter's encoder on valid examples. ``name``: the adapter's name, for messages."""
    encoder = make()
    copied = pickle.loads(pickle.dumps(encoder))
    for example in examples:
        _check_prompt(name, encoder, copied, example)
        _check_marks(name, encoder, example)
        for response in example.responses:
            _check_response(name, encoder, example.text(response))
    _check_end(name, encoder, [example.text(response) for example in examples for response in example.responses])


def _check_prompt(name: str, encoder: Encoder, copied: Encoder, example: Example) -> None:
    before = contents(example)
    encoded, again = encoder.encode_prompt(example), copied.encode_prompt(example)
    require(contents(example) == before, f"{name} changes example '{example.id}' when it encodes it")
    require(
        isinstance(encoded, EncodedPrompt),
        f"{name} returns {shown(encoded)} for the prompt of '{example.id}'; it must return an EncodedPrompt",
    )
    _check_ids(name, f"the prompt of '{example.id}'", encoded.token_ids)
    require(
        encoded.token_ids.equal(again.token_ids) and all(map(same_inputs, encoded.images, again.images)),
        f"{name} encodes example '{example.id}' differently in a pickled copy of its encoder; workers use such copies",
    )
    count, wanted = len(encoded.images), len(example.images)
    with_whole_videos = wanted - sum(len(video) - 1 for video in example.videos)
    require(
        count in (wanted, with_whole_videos) and all(encoded.images),
        f"{name} gives inputs for {count} images, but example '{example.id}' has {wanted}",
    )


def _check_marks(name: str, encoder: Encoder, example: Example) -> None:
    one_more = _with_one_more_mark(example)
    try:
        encoder.encode_prompt(one_more)
    except DataError:
        return
    raise Broken(
        f"{name} encodes a prompt with {one_more.num_marks} {IMAGE_MARK} marks and {len(example.images)} images; it "
        "must raise DataError"
    )


def _with_one_more_mark(example: Example) -> Example:
    if isinstance(example.prompt, str):
        return replace(example, prompt=f"{IMAGE_MARK}\n{example.prompt}")
    *before, last = example.prompt
    return replace(example, prompt=(*before, replace(last, text=f"{IMAGE_MARK}\n{last.text}")))


def _check_response(name: str, encoder: Encoder, text: str) -> None:
    ids = encoder.encode_response(text)
    _check_ids(name, f"the response {text!r}", ids)
    again = encoder.encode_response(encoder.decode(ids))
    require(
        again.equal(ids), f"{name} decodes the tokens of {text!r} to {encoder.decode(ids)!r}, which has other tokens"
    )


def _check_end(name: str, encoder: Encoder, texts: Sequence[str]) -> None:
    ends = {int(encoder.encode_response(text)[-1]) for text in texts}
    require(
        len(ends) == 1,
        f"{name} ends responses with different tokens, {sorted(ends)}; each must end with the same end token",
    )
    (end,) = ends
    for text in texts:
        inside = encoder.encode_response(text)[:-1]
        require(not bool((inside == end).any()), f"{name} puts the end token {end} inside the response {text!r}")


def _check_ids(name: str, source: str, ids: Tensor) -> None:
    import torch

    require(
        isinstance(ids, torch.Tensor), f"{name} returns {shown(ids)} for {source}; it must return a tensor of token ids"
    )
    require(
        ids.ndim == 1 and ids.dtype == torch.int64 and len(ids) > 0,
        f"{name} gives {ids.dtype} {tuple(ids.shape)} for {source}; token ids must be int64, (time,), at least one",
    )
