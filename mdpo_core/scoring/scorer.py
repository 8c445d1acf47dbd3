"""The scorer: computes the token log-probs of every view of a batch in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.interfaces.model import Head, VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.attention import ATTENTIONS
from mdpo_core.scoring.compilation import ROW_MULTIPLE
from mdpo_core.scoring.experts.balance import BalancedModel
from mdpo_core.scoring.head import logits_at_once, token_log_probs
from mdpo_core.scoring.hidden_states import PredictingHiddenStates, packed_states, padded_states
from mdpo_core.scoring.noise.embeddings import NoisyModel
from mdpo_core.scoring.probes import AllLayers, build_probes, outputs_of
from mdpo_core.scoring.reference import ModelReference, Reference, ReferenceOutput
from mdpo_core.scoring.statistics import ReferenceLogits, token_statistics
from mdpo_core.types.batch import Batch, EncodedImage
from mdpo_core.types.engine_state import POLICY_PREFIX
from mdpo_core.types.layout import Attention
from mdpo_core.types.scores import ScorerOutput, TokenLogProbs
from mdpo_core.types.transfer import MovedInputs, all_to_device
from mdpo_core.types.view import View

PLAIN = Scoring(share_prefix=False, max_logits=None)


class Scorer(nn.Module):
    """Scores all views of a batch under the policy and under the reference.

    Engines wrap this module. Its parameters are those of the policy and of the probes, which train together; the
    reference is neither trained nor saved. Scores those views of ``reads`` that the batch contains, or, of a
    batch for the policy only, all of its views. Without a ``reference`` only the policy is scored.
    ``options.share_prefix`` must be false for a model that cannot share prompts. ``seed``: the only source of the
    probes' first weights. ``attention``: instead of that of ``options``. ``noise``: the alpha of `NoisyModel`, for the
    policy with gradients. ``balanced``: also give the ``router_aux_loss`` of the policy with gradients.

    Only `use_reference` and `use_attention` change a scorer after its construction.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        reads: TermInputs,
        reference: Reference | None = None,
        options: Scoring = PLAIN,
        seed: int = 0,
        attention: Attention | None = None,
        noise: float | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.add_module(POLICY_PREFIX.removesuffix("."), model.module)
        self.model = model
        self._inputs = reads
        self._reference = reference
        multiple = ROW_MULTIPLE if options.compile else 1
        shared = partial(packed_states, attention=attention or ATTENTIONS[options.attention], multiple=multiple)
        self._states = shared if options.share_prefix else padded_states
        self._max_logits = options.max_logits
        self._images_are_frozen = _images_are_frozen(model)
        self.probes = build_probes(reads.probes, model, seed)
        self._trained = model if noise is None else NoisyModel(model, noise)
        self._routing = model.routing() if balanced else None

    def use_reference(self, reference: Reference) -> None:
        """Use another reference from the next forward on.

        A cached reference is computed by the engine that wraps this scorer, so it comes after the construction.
        """
        self._reference = reference

    def use_attention(self, attention: Attention) -> None:
        """Use another attention over shared prompts from the next forward on; separate prompts stay as they are."""
        if isinstance(self._states, partial):
            self._states = partial(self._states, attention=attention)

    def forward(self, batch: Batch) -> ScorerOutput:
        """Log-probs in float32 (float64 for a float64 model); the reference's carry no gradient."""
        images = encode_images(self.model, batch)
        if batch.policy_only:
            states = self._states(self.model, batch, list(batch.digests), images)
            return ScorerOutput(self._log_probs(self.model, states), {})
        views = [view for view in self._inputs.views if view in batch.digests]
        has_gradient = torch.is_grad_enabled()
        balanced = BalancedModel(self._trained, self._routing) if self._routing and has_gradient else None
        trained = (balanced or self._trained) if has_gradient else self.model
        policy = _with_all_parameters(self._states(trained, batch, views, images), batch, images)
        balance = None if balanced is None else balanced.loss()
        log_probs = self._log_probs(self.model, policy)
        reference = self._reference_output(batch, views, images)
        statistics = self._statistics_of(policy, reference.states)
        probed = self._probed(policy, reference.layers)
        return ScorerOutput(log_probs, reference.log_probs, statistics, probed, balance)

    def _reference_output(self, batch: Batch, views: Sequence[View], images: Sequence[EncodedImage]) -> ReferenceOutput:
        if self._reference is None:
            return ReferenceOutput({})
        return self._reference.output(batch, self.model, partial(self._score_reference, batch, views, images))

    def _score_reference(
        self, batch: Batch, views: Sequence[View], images: Sequence[EncodedImage], model: VisionLanguageModel
    ) -> ReferenceOutput:
        # If nothing before the language model trains, the reference can use the same features.
        seen = images if self._images_are_frozen else encode_images(model, batch)
        if all(probe.reads == "policy" for probe in self._inputs.probes.values()):
            states = self._states(model, batch, views, seen)
            return ReferenceOutput(self._log_probs(model, states), states)
        all_layers = self._states(AllLayers(model), batch, views, seen)
        # The head reads the last entry; the others are the layers' outputs.
        states = replace(all_layers, hidden=all_layers.hidden[:, -1])
        layers = replace(all_layers, hidden=all_layers.hidden[:, :-1])
        return ReferenceOutput(self._log_probs(model, states), states, layers)

    def _probed(
        self, policy: PredictingHiddenStates, reference: PredictingHiddenStates | None
    ) -> dict[str, dict[View, Tensor]]:
        last = replace(policy, hidden=policy.hidden[:, None])
        read = {"policy": last, "reference": reference}
        outputs = {}
        for name, module in self.probes.items():
            states = read[self._inputs.probes[name].reads]
            assert states is not None, "a probe of the reference without one"
            # Probes compute in float32, even if the engine casts the model to another type.
            with torch.autocast(states.hidden.device.type, enabled=False):
                outputs[name] = states.outputs_by_view(outputs_of(name, module, states.hidden.float()))
        return outputs

    def _log_probs(self, model: VisionLanguageModel, states: PredictingHiddenStates) -> dict[View, TokenLogProbs]:
        def compute(head: Head, hidden_states: Tensor) -> Tensor:
            return token_log_probs(head, hidden_states, states.token_ids, self._at_once(hidden_states))

        return states.by_view(model.through_head(compute, states.hidden))

    def _at_once(self, hidden_states: Tensor) -> int | None:
        return logits_at_once(self._max_logits, hidden_states.device.type)

    def _statistics_of(
        self, policy: PredictingHiddenStates, reference: PredictingHiddenStates | None
    ) -> dict[str, dict[View, Tensor]]:
        wanted = self._inputs.statistics
        if not wanted:
            return {}

        def compute(head: Head, hidden_states: Tensor) -> Tensor:
            logits = None if reference is None else self._reference_logits(reference, head)
            return token_statistics(wanted, head, hidden_states, logits, self._at_once(hidden_states))

        computed = self.model.through_head(compute, policy.hidden)
        return {
            name: {view: tokens.values for view, tokens in policy.by_view(values).items()}
            for name, values in zip(wanted, computed, strict=True)
        }

    def _reference_logits(self, states: PredictingHiddenStates, head: Head) -> ReferenceLogits:
        reference = self._reference
        assert isinstance(reference, ModelReference), "hidden states of a reference that runs no model"

        def logits(span: slice) -> Tensor:
            with torch.no_grad(), reference.active(self.model) as model:
                # The policy's head is already being called. A nested call would run its hooks and end the outer call.
                return (head if model is self.model else model.logits)(states.hidden[span])

        return logits


def _images_are_frozen(model: VisionLanguageModel) -> bool:
    parts = model.parts()
    names = (*parts["vision"], *parts["projector"])
    return not any(model.module.get_parameter(name).requires_grad for name in names)


def _with_all_parameters(
    states: PredictingHiddenStates, batch: Batch, images: Sequence[EncodedImage]
) -> PredictingHiddenStates:
    """The same numbers, but images that no prompt shows get a gradient of 0.

    If several processes share a model, each must take part in the sum of every gradient.
    """
    shown = any(indices for row in batch.image_indices for indices in row.values())
    if shown:
        return states
    nothing = [(image.features * 0).sum() for image in images if image.features.requires_grad]
    return replace(states, hidden=states.hidden + sum(nothing, torch.zeros(())).to(states.hidden))


def encode_images(model: VisionLanguageModel, batch: Batch) -> Sequence[EncodedImage]:
    """The features of every distinct image of the batch, each computed once."""
    device = device_of(model.module)
    moved = iter(all_to_device([values for image in batch.images for values in image.values()], device))
    inputs = [MovedInputs({name: next(moved) for name in image}, on_cpu=image) for image in batch.images]
    return model.encode_images(inputs) if inputs else ()
