"""The contract of the model that an adapter loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.interfaces.model import Decoding, Encoder, VisionLanguageModel
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy, Reference
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.testing.sentences import require
from mdpo_core.types.batch import Batch, EncodedPrompt
from mdpo_core.types.example import Example
from mdpo_core.types.layout import PaddedView, pad_view
from mdpo_core.types.scores import ScorerOutput
from mdpo_core.types.view import View

# Nats by which a log-prob may differ between two ways to compute it in float32.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class ModelUnderTest:
    """The encoder and the examples that a model is checked with. ``name``: the adapter's name, for messages."""

    name: str
    encoder: Encoder
    examples: Sequence[Example]

    @property
    def views(self) -> tuple[View, ...]:
        """The clean view of each response in the examples."""
        return tuple(View(response) for response in self.examples[0].responses)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows."""
        builder = BatchBuilder(self.encoder, self.views, {}, (), 10**9, 0)
        return builder.build(self.examples, rows, epoch=0)

    def score(
        self, model: VisionLanguageModel, rows: Sequence[int], reference: Reference | None = None
    ) -> ScorerOutput:
        """Score the clean views of these rows."""
        scored: ScorerOutput = Scorer(model, TermInputs(self.views), reference)(self.batch(rows))
        return scored

    def log_probs(self, model: VisionLanguageModel, rows: Sequence[int]) -> list[list[Tensor]]:
        """Token log-probs without padding: one tensor for each row and view."""
        with torch.no_grad():
            policy = self.score(model, rows).policy
        return [
            [policy[view].values[index][policy[view].mask[index]] for view in self.views] for index in range(len(rows))
        ]


def check_padding(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that a padded batch gives the logits of each row alone, and that the padding's tokens do not matter."""
    encoded = [tested.encoder.encode_prompt(example) for example in tested.examples]
    responses = [item.response for item in tested.batch(range(len(encoded))).items[tested.views[0]]]
    rows = pad_view([prompt.token_ids for prompt in encoded], responses)
    other_ids = torch.where(rows.attention_mask.bool(), rows.token_ids, int(responses[0][0]))
    with torch.no_grad():
        together = _logits(model, rows, encoded)
        repadded = _logits(model, rows._replace(token_ids=other_ids), encoded)
        for row, length in enumerate(rows.attention_mask.sum(1).tolist()):
            alone = _logits(model, PaddedView(*(part[row : row + 1, :length] for part in rows)), encoded[row : row + 1])
            require_close(together[row, :length], alone[0], f"{tested.name}: padding changes the logits of row {row}")
            require_close(
                together[row, :length], repadded[row, :length], f"{tested.name}: row {row} attends to padding"
            )


def check_sizes(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that ``hidden_size`` and ``vocab_size`` match the hidden states and the logits."""
    prompt = tested.encoder.encode_prompt(tested.examples[0])
    rows = pad_view([prompt.token_ids], [prompt.token_ids[:0]])
    with torch.no_grad():
        hidden = model.hidden_states(rows, model.encode_images(prompt.images) if prompt.images else ())
        sizes = {"hidden_size": hidden.shape[-1], "vocab_size": model.logits(hidden).shape[-1]}
    for name, size in sizes.items():
        declared = getattr(model, name)
        require(
            declared == size, f"{tested.name}: the model's {name} is {declared}, but its output has the size {size}"
        )


def check_batching(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that log-probs do not depend on the other rows of a batch or on their order."""
    rows = list(range(len(tested.examples)))
    together = tested.log_probs(model, rows)
    reordered = tested.log_probs(model, rows[::-1])[::-1]
    for row in rows:
        alone = tested.log_probs(model, [row])[0]
        for view, single, batched, turned in zip(tested.views, alone, together[row], reordered[row], strict=True):
            require_close(single, batched, f"{tested.name}: the batch changes the log-probs of '{view}' in row {row}")
            require_close(turned, batched, f"{tested.name}: the order changes the log-probs of '{view}' in row {row}")


def check_reference(tested: ModelUnderTest, model: VisionLanguageModel, reference: VisionLanguageModel) -> None:
    """Check that an untrained policy equals the reference, whose log-probs have no gradient."""
    rows = range(len(tested.examples))
    policy, frozen, *_ = tested.score(model, rows, FrozenCopy(reference))
    for view in tested.views:
        require_close(
            policy[view].values.detach(),
            frozen[view].values,
            f"{tested.name}: an untrained policy differs from the reference on '{view}'",
        )
        require(policy[view].values.requires_grad, f"{tested.name}: the policy's log-probs have no gradient")
        require(not frozen[view].values.requires_grad, f"{tested.name}: gradients flow into the reference")


def check_generation(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that greedy answers begin with the likeliest token, contain no end token and do not depend on the batch."""
    limit = 5
    prompts = [tested.encoder.encode_prompt(example) for example in tested.examples]
    end = int(tested.encoder.encode_response("a")[-1])
    with torch.no_grad():
        together = model.generate(prompts, Decoding(limit))
        for row, (prompt, made) in enumerate(zip(prompts, together, strict=True)):
            answer = f"{tested.name}: the answer to row {row}"
            require(
                made.ndim == 1 and len(made) <= limit,
                f"{answer} has the shape {tuple(made.shape)}; it must be (time,), with at most {limit} tokens",
            )
            require(not bool((made == end).any()), f"{answer} contains the end token {end}")
            require(
                made.equal(model.generate([prompt], Decoding(limit))[0]),
                f"{answer} depends on the other prompts of the batch",
            )
            rows = pad_view([prompt.token_ids], [prompt.token_ids[:0]])
            likeliest = int(_logits(model, rows, [prompt])[0, -1].argmax())
            first = int(made[0]) if len(made) else end
            require(first == likeliest, f"{answer} begins with token {first}, but the likeliest is {likeliest}")


def check_gradients(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that the parameters that train get gradients, and that the others get none."""
    model.module.zero_grad()
    policy = tested.score(model, range(len(tested.examples))).policy
    torch.autograd.backward(sum((tokens.values.sum() for tokens in policy.values()), torch.zeros(())))
    for part, names in model.parts().items():
        parameters = [model.module.get_parameter(name) for name in names]
        reached = [value for value in parameters if value.grad is not None and bool(value.grad.any())]
        wrong = [value for value in parameters if value.grad is not None and not value.requires_grad]
        require(not wrong, f"{tested.name}: {len(wrong)} frozen parameters of the part '{part}' get gradients")
        require(
            bool(reached) == any(value.requires_grad for value in parameters),
            f"{tested.name}: the part '{part}' trains, but no gradient reaches it",
        )
        idle = [name for name in names if _is_idle(model.module.get_parameter(name))]
        # Processes that exchange gradients would wait for these parameters, and such a run could not be resumed.
        require(not idle, f"{tested.name}: {len(idle)} parameters train but get no gradient, among them {idle[:3]}")
    model.module.zero_grad()


def _is_idle(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad and parameter.grad is None


def change_what_trains(model: VisionLanguageModel) -> None:
    """Change the weights that train, as training would: a new LoRA is usually zero, which hides mistakes."""
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)


def check_dropout(tested: ModelUnderTest, model: VisionLanguageModel, drops: bool) -> None:
    """Check that only training is random, and only if an adapter has dropout (``drops``)."""
    before = everything(tested, model)
    model.set_training(True)
    training = [everything(tested, model) for _ in range(2)]
    model.set_training(False)
    require(before.equal(everything(tested, model)), f"{tested.name}: two forwards outside of training differ")
    random = not training[0].equal(training[1])
    require(random or not drops, f"{tested.name}: two forwards in training are equal, although the adapter has dropout")
    require(drops or not random, f"{tested.name}: two forwards in training differ, although no adapter has dropout")


def everything(tested: ModelUnderTest, model: VisionLanguageModel) -> Tensor:
    """The log-probs of all response tokens of all examples, ``(time,)``."""
    pairs = tested.log_probs(model, range(len(tested.examples)))
    return torch.cat([tokens for pair in pairs for tokens in pair])


def check_adapter_disabled(tested: ModelUnderTest, model: VisionLanguageModel, reference: VisionLanguageModel) -> None:
    """Check that the model equals the base model while its adapter is disabled, however the adapter was trained."""
    rows = range(len(tested.examples))
    policy, off, *_ = tested.score(model, rows, AdapterOff())
    _, base, *_ = tested.score(model, rows, FrozenCopy(reference))
    for view in tested.views:
        equal = off[view].values.equal(base[view].values)
        require(equal, f"{tested.name}: with its adapter disabled, the model differs from the base model on '{view}'")
        require(
            not policy[view].values.equal(base[view].values),
            f"{tested.name}: a changed adapter does not change the log-probs; adapter_disabled() must enable it again",
        )


def _logits(model: VisionLanguageModel, rows: PaddedView, prompts: Sequence[EncodedPrompt]) -> Tensor:
    images = [image for prompt in prompts for image in prompt.images]
    return model.logits(model.hidden_states(rows, model.encode_images(images) if images else ()))


def require_close(one: Tensor, other: Tensor, sentence: str) -> None:
    """Raise `AssertionError` with ``sentence`` unless the tensors are equal up to rounding in float32."""
    gap = float((one - other).abs().max())
    require(gap <= _ROUNDING * (1 + float(other.abs().max())), f"{sentence} (by {gap:.2g})")
