"""Out of memory: which options would help, and by how much."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.processes.world import current_world
from mdpo_core.recipe.consistency import can_be_cached
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.head import ON_CPU, logits_at_once
from mdpo_core.scoring.reference import FrozenCopy, Reference
from mdpo_core.types.batch import Batch
from mdpo_core.types.layout import PaddedView, pack

# Logits in float32, their gradient, and the model's own copy of them.
_BYTES_PER_LOGIT = 4 + 4 + 2
_ASK = "What a step needs by kind, and what fits a card: mdpo check RECIPE --gpu GB"


@dataclass(frozen=True)
class MemoryAdvice:
    """Turns an out-of-memory error of a micro-batch into advice on what to change in the recipe.

    In a run of one process it measures on the model how much each change saves.
    """

    recipe: Recipe
    model: VisionLanguageModel
    reference: Reference | None

    @contextmanager
    def explained(self, batch: Batch) -> Iterator[None]:
        """Turn an out-of-memory error inside it into an `MdpoError` with advice; other errors stay as they are."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            # The frames hold the failed step's tensors.
            traceback.clear_frames(error.__traceback__)
        else:
            return
        raise MdpoError(
            f"{self._situation(batch)}: {reason}\nWhat would help, also with --resume:\n{self._advice(batch)}\n{_ASK}"
        )

    def _situation(self, batch: Batch) -> str:
        weights = _gigabytes(self.model.module)
        return f"out of memory with micro-batches of {len(batch)} pairs (weights: {weights:.1f} GB)"

    def _advice(self, batch: Batch) -> str:
        lines = (self._reference(), self._prefix(batch), self._head(batch), self._layers(batch), self._pairs(batch))
        return "\n".join(f"  {line}" for line in lines if line) or "  a device with more memory"

    def _reference(self) -> str:
        if not isinstance(self.reference, FrozenCopy) or not can_be_cached(self.recipe):
            return ""
        return f"reference: cached - frees the second model's {_gigabytes(self.reference.model.module):.2g} GB"

    def _prefix(self, batch: Batch) -> str:
        if self.recipe.scoring.share_prefix or not self.recipe.model.shares_prefix:
            return ""
        separate, shared = self._num_tokens(batch)
        return (
            f"scoring.share_prefix: true - {shared} tokens instead of {separate}, so {1 - shared / separate:.0%} less "
            "activations"
        )

    def _head(self, batch: Batch) -> str:
        limit = logits_at_once(self.recipe.scoring.max_logits, device_of(self.model.module).type)
        if current_world().size > 1:
            more = limit is None or limit > ON_CPU
            return f"scoring.max_logits: {ON_CPU} - fewer logits at a time" if more else ""
        tokens = sum(len(item.response) for items in batch.items.values() for item in items)
        held = tokens * self.model.vocab_size
        if limit is not None:
            held = min(held, limit)
        if held <= ON_CPU:
            return ""
        saved = (held - ON_CPU) * _BYTES_PER_LOGIT / 1e9
        return f"scoring.max_logits: {ON_CPU} - about {saved:.2g} GB less for the logits of {tokens} response tokens"

    def _layers(self, batch: Batch) -> str:
        # Without gradients no activations are kept.
        if self.recipe.scoring.activation_checkpointing != "off" or not torch.is_grad_enabled():
            return ""
        if current_world().size > 1:
            return "scoring.activation_checkpointing: full - fewer activations, for about a third more time"
        separate, shared = self._num_tokens(batch)
        tokens = shared if self.recipe.shares_prefix() else separate
        element = next(self.model.module.parameters()).element_size()
        with _arithmetic(self.recipe.backend, device_of(self.model.module)):
            kept = tokens * activation_bytes_per_token(self.model)
        inputs = len(self.model.layers()) * self.model.hidden_size * element
        return (
            f"scoring.activation_checkpointing: full - {tokens * inputs / 1e9:.2g} GB of the layers' activations are "
            f"kept instead of {kept / 1e9:.2g} GB, for about a third more time"
        )

    def _pairs(self, batch: Batch) -> str:
        smaller = [size for size in range(1, len(batch)) if self.recipe.train.batch_size % size == 0]
        if not smaller:
            return ""
        size = next((size for size in smaller[::-1] if size <= len(batch) / 2), smaller[-1])
        return f"train.micro_batch_size: {size} - {1 - size / len(batch):.0%} fewer activations, the same result"

    def _num_tokens(self, batch: Batch) -> tuple[int, int]:
        """Tokens of all views if each has its own prompt, and if they share prompts."""
        items = [item for of_view in batch.items.values() for item in of_view]
        separate = sum(len(item.prompt) + len(item.response) for item in items)
        return separate, pack(items, sdpa_attention).packed.token_ids.numel()


@contextmanager
def explained_before_steps(doing: str) -> Iterator[None]:
    """Turn an out-of-memory error before the first step into an `MdpoError`. ``doing``: what the code inside does."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MdpoError(f"out of memory while {doing}: {first_line(error)}\n{_ASK}") from error


def activation_bytes_per_token(model: VisionLanguageModel, num_tokens: int = 16) -> float:
    """Bytes that the language model keeps for backward with each token: what ``num_tokens`` more tokens add to a row.

    What does not grow with the tokens is left out, such as the copies of weights that autocast keeps.
    """
    return (_kept_bytes(model, 2 * num_tokens) - _kept_bytes(model, num_tokens)) / num_tokens


def _arithmetic(backend: Backend, device: torch.device) -> AbstractContextManager[object]:
    if backend.arithmetic == backend.computes_in:
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, backend.arithmetic))


def _kept_bytes(model: VisionLanguageModel, num_tokens: int) -> int:
    kept: dict[int, int] = {}

    def count(values: Tensor) -> Tensor:
        kept[_address(values)] = values.untyped_storage().nbytes()
        return values

    with saved_tensors_hooks(count, lambda values: values):
        hidden = model.hidden_states(_row_of(num_tokens, device_of(model.module)), ())
    # The graph held every tensor until here, so every address belongs to one tensor.
    del hidden
    return sum(kept.values())


def _address(values: Tensor) -> int:
    return values.untyped_storage().data_ptr()


def _row_of(num_tokens: int, device: torch.device) -> PaddedView:
    """A row without padding, images and response."""
    token_ids = torch.zeros(1, num_tokens, dtype=torch.long, device=device)
    return PaddedView(token_ids, torch.ones_like(token_ids), torch.zeros_like(token_ids, dtype=torch.bool))


def _is_out_of_memory(error: BaseException) -> bool:
    # Texts of torch on a CPU, and of CUDA's libraries.
    texts = ("can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def _gigabytes(module: nn.Module) -> float:
    return sum(value.numel() * value.element_size() for value in module.parameters()) / 1e9
