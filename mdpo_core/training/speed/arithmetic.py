"""The floating-point operations of a step, counted from the model's matrices and a batch's tokens.

Counted: matrix products and convolutions of all parts, and the attention of the language model, in which a token
attends to the tokens that it sees. A multiplication and its addition are 2 operations. Backward computes gradients of
inputs behind something that trains, and gradients of weights that train.

Not counted: padding, norms, softmax, the update, the vision encoder's attention, statistics and probes. All layers of
the vision encoder count, also the last one of a LLaVA, whose output is not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.training.speed.matrices import Matrix, behind, has_cross_attention, has_experts, matrices_of
from mdpo_core.types.batch import Batch
from mdpo_core.types.packing import pack

_QUERY, _MLP = ("q_proj",), ("mlp",)  # modules of transformers


class Flops(NamedTuple):
    """Operations of the policy's forward and backward, of the reference, and those that backward does ``again``.

    Recomputation does some of the forward again, so that memory does not have to hold its results.
    """

    forward: float = 0
    backward: float = 0
    reference: float = 0
    again: float = 0

    @property
    def needed(self) -> float:
        """All operations but those that are done again."""
        return self.forward + self.backward + self.reference

    def plus(self, other: Flops, times: float = 1) -> Flops:
        """The sum of these and ``times`` the other ones."""
        return Flops(*(one + another * times for one, another in zip(self, other, strict=True)))


class Arithmetic:
    """Counts the operations of the micro-batches of a run. ``image_token``: the id of an image's token in a prompt."""

    def __init__(self, recipe: Recipe, model: VisionLanguageModel, image_token: int) -> None:
        self._views = tuple(dict.fromkeys(view for term in recipe.objective for view in term.views()))
        self._shares_prefix, self._image_token = recipe.shares_prefix(), image_token
        self._costs = _Costs(recipe, model).by_unit

    @classmethod
    def of(cls, recipe: Recipe, model: VisionLanguageModel, image_token: int) -> Arithmetic | None:
        """None for a model whose matrices do not tell its operations, such as one with experts or cross-attention."""
        known = all(matrices_of(layer) for layer in model.layers())
        if not known or has_experts(model) or has_cross_attention(model):
            return None
        return cls(recipe, model, image_token)

    def flops(self, batch: Batch) -> Flops:
        """The operations of a micro-batch."""
        total = Flops()
        for unit, number in self._units(batch).items():
            total = total.plus(self._costs[unit], number)
        return total

    def _units(self, batch: Batch) -> Mapping[str, float]:
        laid_out = self._laid_out(batch)
        tokens = sum(map(sum, laid_out.lengths))
        return {
            "pixel": sum(
                value.numel() for image in batch.images for value in image.values() if value.is_floating_point()
            ),
            "feature": self._num_features(batch),
            "token": tokens,
            "read": laid_out.read if self._shares_prefix else tokens,
            "scored": laid_out.scored,
            "pair": sum(map(_pairs, laid_out.lengths)),
        }

    def _laid_out(self, batch: Batch) -> _LaidOut:
        items = [item for view in self._views if view in batch.digests for item in batch.items[view]]
        if self._shares_prefix:
            packing = pack(items, sdpa_attention)
            return _LaidOut(packing.packed.lengths, len(packing.packed.read), len(packing.predicted))
        lengths = [(len(item.prompt), len(item.response)) for item in items]
        scored = sum(len(item.response) for item in items)
        return _LaidOut(lengths, scored, scored)

    def _num_features(self, batch: Batch) -> float:
        """The features of the distinct images: a prompt has a token for each."""
        found: dict[int, float] = {}
        for row, by_condition in zip(batch.rows, batch.image_indices, strict=True):
            for condition, indices in by_condition.items():
                if not found.keys() >= set(indices):
                    tokens = int((row.prompts[condition].token_ids == self._image_token).sum())
                    found |= dict.fromkeys(indices, tokens / len(indices))
        return sum(found.values())


class _LaidOut(NamedTuple):
    """For each prompt that is computed, its length and those of its branches; tokens that are ``read`` and ``scored``.

    Tokens that are read predict others, some of them several; see `Packed.read`.
    """

    lengths: Sequence[tuple[int, ...]]
    read: int
    scored: int


def _pairs(lengths: Sequence[int]) -> int:
    """The pairs of a token and one that it sees."""
    prompt, *branches = lengths
    return sum(length * (length + 1) // 2 for length in lengths) + prompt * sum(branches)


class _Costs:
    """The operations of each unit of a batch: of a value of the pixels, a feature of an image, and so on.

    ``read``: a token whose last hidden state is read, in the MLP of the last layer. ``pair``: a token and one that it
    sees, in attention.
    """

    def __init__(self, recipe: Recipe, model: VisionLanguageModel) -> None:
        self.by_unit: dict[str, Flops] = defaultdict(Flops)
        self._model = model
        self._has_reference = recipe.reference_kind() in ("adapter_off", "frozen_copy")
        self._adapted = {part for part, options in recipe.model.training.items() if options.mode == "lora"}
        self._every = _every(recipe)
        images_train = self._add_images()
        embeddings = [each.weight for each in model.module.modules() if isinstance(each, nn.Embedding)]
        self._add_layers(images_train or any(weight.requires_grad for weight in embeddings))
        self._add_head(chunked=recipe.scoring.max_logits is not None)

    def _add_images(self) -> bool:
        """The vision encoder and the projector; whether one of them trains."""
        every, names = matrices_of(self._model.module), self._model.parts()
        vision, projector = (
            [each for each in every if each.weight in set(names[part])] for part in ("vision", "projector")
        )
        trains = any(each.trains for each in (*vision, *projector))
        # An image has as many tokens as its pixels fill inputs of the first matrix.
        shares = {"vision": 1 / vision[0].inputs if vision else 0, "projector": 1}
        opened = False
        for part, unit, matrices in (("vision", "pixel", vision), ("projector", "feature", projector)):
            for matrix, passes_on in behind(matrices, opened):
                # If no image trains, the reference takes the policy's features.
                cost = self._cost(matrix, passes_on, part, referred=trains)
                self.by_unit[unit] = self.by_unit[unit].plus(cost, shares[part])
                opened |= matrix.trains
        return trains

    def _add_layers(self, opened: bool) -> None:
        """The layers of the language model; ``opened``: something before them trains."""
        layers = self._model.layers()
        for number, layer in enumerate(layers):
            matrices, again = matrices_of(layer), bool(self._every) and number % self._every == 0
            for matrix, passes_on in behind(matrices, opened):
                unit = "read" if number == len(layers) - 1 and matrix.is_in(_MLP) else "token"
                cost = self._cost(matrix, passes_on, "language", again=again)
                self.by_unit[unit] = self.by_unit[unit].plus(cost)
            opened |= any(matrix.trains for matrix in matrices)
            self.by_unit["pair"] = self.by_unit["pair"].plus(self._attention(matrices, again))

    def _attention(self, matrices: Sequence[Matrix], again: bool) -> Flops:
        """Two products forward, of queries with keys and of weights with values; backward, two for each of them."""
        width = max((each.outputs for each in matrices if each.is_in(_QUERY)), default=self._model.hidden_size)
        forward = 2 * 2 * width
        return Flops(forward, 2 * forward, forward * self._has_reference, forward * again)

    def _add_head(self, *, chunked: bool) -> None:
        model = self._model
        outputs = [each for each in matrices_of(model.module) if each.outputs >= model.vocab_size]
        trains = any(each.trains and each.inputs == model.hidden_size for each in outputs)
        head = Matrix((), model.hidden_size, model.vocab_size, trains)
        # A head that trains computes each chunk of its logits again.
        self.by_unit["scored"] = self._cost(head, True, "head", again=chunked and trains)

    def _cost(self, matrix: Matrix, passes_on: bool, part: str, *, again: bool = False, referred: bool = True) -> Flops:
        forward = 2 * matrix.inputs * matrix.outputs
        is_adapter = matrix.is_adapter and part in self._adapted
        reference = forward if self._has_reference and referred and not is_adapter else 0
        return Flops(forward, forward * (passes_on + matrix.trains), reference, forward * again)


def _every(recipe: Recipe) -> int:
    """Each n-th layer is computed again, from the first one; 0: none is."""
    which = recipe.scoring.activation_checkpointing
    return which if isinstance(which, int) else int(which == "full")
