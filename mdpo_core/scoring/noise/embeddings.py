"""NEFTune (arXiv:2310.05914): noise on the embeddings of tokens, while the policy trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.types.batch import EncodedImage
from mdpo_core.types.layout import Packed, PaddedView


class NoisyModel:
    """A model whose embeddings get noise while this object computes hidden states, and only then.

    Each number gets a draw from the uniform distribution between ``-limit`` and ``limit``, where ``limit`` is
    ``alpha / sqrt(L * d)``: ``d`` is the width of the embeddings, and ``L`` the length of the sequence, of prompt and
    response. Tokens that several responses share, of their prompt and of their common beginning, get one draw, and the
    longest of these sequences counts.
    Features of images, which replace the embeddings of their tokens, stay as they are.
    """

    def __init__(self, model: VisionLanguageModel, alpha: float) -> None:
        self._model = model
        self._alpha = alpha
        self._lengths: Tensor | None = None
        model.input_embeddings().register_forward_hook(self._add)

    @property
    def module(self) -> nn.Module:
        """The module of the model."""
        return self._model.module

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        """As `VisionLanguageModel` has it, with noise."""
        last = rows.response_mask.flip(1).int().argmax(1)
        lengths = (rows.response_mask.shape[1] - last)[:, None].expand(rows.token_ids.shape)
        with self._noise(lengths):
            return self._model.hidden_states(rows, images)

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        """As `VisionLanguageModel` has it, with noise."""
        with self._noise(sequence_lengths(packed).to(packed.token_ids.device)):
            return self._model.packed_hidden_states(packed, images)

    @contextmanager
    def _noise(self, lengths: Tensor) -> Iterator[None]:
        self._lengths = lengths
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, module: nn.Module, inputs: object, embedded: Tensor) -> Tensor | None:
        if self._lengths is None:
            return None
        limits = self._alpha / (self._lengths * embedded.shape[-1]).sqrt()
        noise = torch.empty_like(embedded, requires_grad=False).uniform_(-1, 1)
        return embedded + noise * limits[..., None].to(embedded.dtype)


def sequence_lengths(packed: Packed) -> Tensor:
    """For each token of a packed row, the length of its sequence, prompt included, ``(1, time)`` on the CPU."""
    lengths: list[int] = []
    for prompt, *branches in packed.lengths:
        sequences = [prompt + branch for branch in branches]
        lengths += [max(sequences, default=prompt)] * prompt
        lengths += [whole for whole, branch in zip(sequences, branches, strict=True) for _ in range(branch)]
    return torch.tensor([lengths])
