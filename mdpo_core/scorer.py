"""The scorer: a batch in, token log-probs of every view out, in one forward."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mdpo_core.batch import Batch
from mdpo_core.head import token_log_probs
from mdpo_core.protocols import VisionLanguageModel
from mdpo_core.recipe import Scoring
from mdpo_core.reference import Reference
from mdpo_core.scores import Scored, TokenLogProbs
from mdpo_core.states import separate_states, shared_states
from mdpo_core.view import View

PLAIN = Scoring(share_prefix=False, max_logits=None)


class Scorer(nn.Module):
    """Scores all views of a batch under the policy and under the reference.

    Engines wrap this module. Only the policy's parameters are its own: a frozen reference is neither trained nor
    saved with it. ``options.share_prefix`` must be false for a model that cannot.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        views: Sequence[View],
        reference: Reference | None = None,
        options: Scoring = PLAIN,
    ) -> None:
        super().__init__()
        self.policy = model.module
        self._model = model
        self._views = tuple(views)
        self._reference = reference
        self._states = shared_states if options.share_prefix else separate_states
        self._max_logits = options.max_logits
        self._images_are_frozen = not any(
            model.module.get_parameter(name).requires_grad
            for part in ("vision", "projector")
            for name in model.parts()[part]
        )

    def forward(self, batch: Batch) -> Scored:
        """Log-probs in float32 (float64 for a float64 model); the reference's carry no gradient."""
        features = _encode_images(self._model, batch)
        policy = self._score(self._model, batch, features)
        if self._reference is None:
            return Scored(policy, {})

        def score(model: VisionLanguageModel) -> dict[View, TokenLogProbs]:
            # Where nothing before the language model trains, the reference sees the same features.
            return self._score(model, batch, features if self._images_are_frozen else _encode_images(model, batch))

        return Scored(policy, self._reference.log_probs(batch, self._model, score))

    def _score(self, model: VisionLanguageModel, batch: Batch, features: Tensor | None) -> dict[View, TokenLogProbs]:
        states = self._states(model, batch, self._views, features)
        return states.by_view(token_log_probs(model.logits, states.hidden, states.token_ids, self._max_logits))


def _encode_images(model: VisionLanguageModel, batch: Batch) -> Tensor | None:
    """Features of every distinct image of the batch, each computed once."""
    if not batch.images:
        return None
    device = next(model.module.parameters()).device
    return model.encode_images({name: values.to(device) for name, values in batch.images.items()})
