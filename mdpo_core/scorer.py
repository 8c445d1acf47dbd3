"""The scorer: a batch in, token log-probs of every view out, in one forward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mdpo_core.batch import Batch, EncodedPrompt
from mdpo_core.layout import pad_view
from mdpo_core.protocols import VisionLanguageModel
from mdpo_core.reference import Reference
from mdpo_core.scores import Scored, TokenLogProbs
from mdpo_core.view import View


class Scorer(nn.Module):
    """Scores all views of a batch under the policy and under the reference.

    Engines wrap this module. Only the policy's parameters are its own: a frozen reference is neither trained nor
    saved with it.
    """

    def __init__(self, model: VisionLanguageModel, views: Sequence[View], reference: Reference | None = None) -> None:
        super().__init__()
        self.policy = model.module
        self._model = model
        self._views = tuple(views)
        self._reference = reference

    def forward(self, batch: Batch) -> Scored:
        """Log-probs in float32 (float64 for a float64 model); the reference's carry no gradient."""
        policy = self._score(self._model, batch)
        if self._reference is None:
            return Scored(policy, {})
        with torch.no_grad(), self._reference.active(self._model) as model:
            return Scored(policy, self._score(model, batch))

    def _score(self, model: VisionLanguageModel, batch: Batch) -> dict[View, TokenLogProbs]:
        features = {
            condition: _encode_images(model, batch.prompts[condition])
            for condition in dict.fromkeys(view.condition for view in self._views)
        }
        return {
            view: score_view(
                model, batch.prompts[view.condition], batch.responses[view.response], features[view.condition]
            )
            for view in self._views
        }


def score_view(
    model: VisionLanguageModel,
    prompts: Sequence[EncodedPrompt],
    responses: Sequence[Tensor],
    image_features: Tensor | None,
) -> TokenLogProbs:
    """Token log-probs of one view by one full forward; the head is applied to response positions only."""
    device = _device(model)
    token_ids, attention_mask, response_mask = (part.to(device) for part in pad_view(prompts, responses))
    hidden = model.hidden_states(token_ids, attention_mask, image_features)
    # The hidden state before a token predicts it.
    predicting = hidden[:, :-1][response_mask[:, 1:]]
    log_probs = token_log_probs(model.logits(predicting), token_ids[response_mask])
    mask = _length_mask([len(response) for response in responses], device)
    values = torch.zeros(mask.shape, dtype=log_probs.dtype, device=device)
    return TokenLogProbs(values.masked_scatter(mask, log_probs), mask)


def token_log_probs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log-probs ``(tokens,)`` of ``token_ids (tokens,)`` under ``logits (tokens, vocab)``, at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.log_softmax(dim=-1).gather(-1, token_ids[:, None]).squeeze(-1)


def _encode_images(model: VisionLanguageModel, prompts: Sequence[EncodedPrompt]) -> Tensor | None:
    with_images = [prompt.images for prompt in prompts if prompt.images]
    if not with_images:
        return None
    device = _device(model)
    return model.encode_images(
        {name: torch.cat([images[name] for images in with_images]).to(device) for name in with_images[0]}
    )


def _length_mask(lengths: Sequence[int], device: torch.device) -> Tensor:
    steps = torch.arange(max(lengths), device=device)
    return steps < torch.tensor(lengths, device=device)[:, None]


def _device(model: VisionLanguageModel) -> torch.device:
    return next(model.module.parameters()).device
