"""Out of memory: which options would help, and by how much."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.processes.world import current_world
from mdpo_core.recipe.consistency import can_be_cached
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import either, option
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.head import ON_CPU, logits_at_once
from mdpo_core.scoring.reference import FrozenCopy, Reference
from mdpo_core.types.batch import Batch
from mdpo_core.types.packing import pack
from mdpo_core.words.amounts import counted, memory_of

if TYPE_CHECKING:
    from mdpo_core.memory.estimate import Estimate

# Logits in float32, their gradient, and the model's own copy of them.
_BYTES_PER_LOGIT = 4 + 4 + 2
# What an estimate says of a step.
_KINDS = ("weights", "reference", "gradients", "optimizer", "activations", "logits")


def _where_to_ask() -> str:
    return either("\nWhat a step needs by kind, and what fits a card: mdpo check RECIPE --gpu GB", "")


@dataclass(frozen=True)
class MemoryAdvice:
    """Turns an out-of-memory error of a micro-batch into advice on what to change in the recipe.

    Says what a step of the micro-batch needs, by the estimate of `mdpo check --memory`, if there is one.
    """

    recipe: Recipe
    model: VisionLanguageModel
    reference: Reference | None

    @contextmanager
    def explained(self, batch: Batch) -> Iterator[None]:
        """Turn an out-of-memory error inside it into an `MdpoError` with advice; other errors stay as they are."""
        reason: list[str] = []
        with _noting_shortage(reason):
            yield
        if reason:
            lines = (
                self._reference(),
                self._prefix(batch),
                self._head(batch),
                self._layers(batch),
                self._pairs(len(batch)),
            )
            raise _out_of_memory(self._situation(batch), reason[0], lines)

    @contextmanager
    def explained_answers(self, number: int) -> Iterator[None]:
        """The same while the model writes ``number`` answers at once."""
        reason: list[str] = []
        with _noting_shortage(reason):
            yield
        if reason:
            situation = f"out of memory while {counted(number, 'answer was', 'answers were')} written at once"
            raise _out_of_memory(situation, reason[0], (self._reference(), self._pairs(number)))

    def _situation(self, batch: Batch) -> str:
        found = self._estimate(batch)
        needed = (
            f"weights: {memory_of(_size(self.model.module))}"
            if found is None
            else f"estimate of a step: {', '.join(f'{kind} {memory_of(getattr(found, kind))}' for kind in _KINDS)}; at "
            f"most {memory_of(found.peak)} in {found.where}"
        )
        return f"out of memory with micro-batches of {counted(len(batch), 'pair')} ({needed})"

    def _estimate(self, batch: Batch, **scoring: Any) -> Estimate | None:
        """What a step of ``batch`` needs with other options of ``scoring``; None if that cannot be told."""
        # Without gradients, nothing is kept.
        if not torch.is_grad_enabled():
            return None
        from mdpo_core.memory.estimate import Estimator

        recipe = self.recipe.model_copy(update={"scoring": self.recipe.scoring.model_copy(update=scoring)})
        on_gpu = device_of(self.model.module).type != "cpu"
        try:
            return Estimator(recipe, on_gpu=on_gpu).estimate(batch, recipe.train, current_world().size)
        except Exception:
            # An adapter or a backend that cannot be estimated, no memory for an estimate either, or what libraries
            # raise once memory ran out, such as a SystemError: it must not replace the error that is explained.
            return None

    def _reference(self) -> str:
        if not isinstance(self.reference, FrozenCopy) or not can_be_cached(self.recipe):
            return ""
        return f"reference: cached - frees the second model's {memory_of(_size(self.reference.model.module))}"

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
        tokens = self._num_scored(batch)
        held = tokens * self.model.vocab_size
        if limit is not None:
            held = min(held, limit)
        if held <= ON_CPU:
            return ""
        saved = memory_of((held - ON_CPU) * _BYTES_PER_LOGIT)
        return (
            f"scoring.max_logits: {ON_CPU} - about {saved} less for the logits of {counted(tokens, 'response token')}"
        )

    def _layers(self, batch: Batch) -> str:
        # Without gradients no activations are kept.
        if self.recipe.scoring.activation_checkpointing != "off" or not torch.is_grad_enabled():
            return ""
        now, then = self._estimate(batch), self._estimate(batch, activation_checkpointing="full")
        saved = (
            "fewer activations"
            if now is None or then is None
            else f"{memory_of(then.peak)} instead of {memory_of(now.peak)}"
        )
        return f"scoring.activation_checkpointing: full - {saved}, for about a third more time"

    def _pairs(self, number: int) -> str:
        smaller = [size for size in range(1, number) if self.recipe.train.batch_size % size == 0]
        if not smaller:
            return ""
        size = next((size for size in smaller[::-1] if size <= number / 2), smaller[-1])
        # The balance of experts is that of a micro-batch.
        same = "the same result" if self.recipe.train.router_aux_loss_coef is None else "nearly the same result"
        return f"train.micro_batch_size: {size} - {1 - size / number:.0%} fewer activations, {same}"

    def _num_scored(self, batch: Batch) -> int:
        """The response tokens whose logits are computed."""
        items = [item for of_view in batch.items.values() for item in of_view]
        if self.recipe.shares_prefix():
            return len(pack(items, sdpa_attention).predicted)
        return sum(len(item.response) for item in items)

    def _num_tokens(self, batch: Batch) -> tuple[int, int]:
        """Tokens of all views if each has its own prompt, and if they share prompts."""
        items = [item for of_view in batch.items.values() for item in of_view]
        separate = sum(len(item.prompt) + len(item.response) for item in items)
        return separate, pack(items, sdpa_attention).packed.token_ids.numel()


@contextmanager
def _noting_shortage(reason: list[str]) -> Iterator[None]:
    """Put the first line of an out-of-memory error into ``reason``, and free what the failed step held."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason.append(first_line(error))
        # The frames hold the failed step's tensors.
        traceback.clear_frames(error.__traceback__)


def _out_of_memory(situation: str, reason: str, lines: Iterable[str]) -> MdpoError:
    """The error, with a line for each piece of advice that is not empty."""
    advice = "\n".join(f"  {line}" for line in lines if line) or "  a device with more memory"
    return MdpoError(
        f"{situation}: {reason}\nWhat would help, also with {option('--resume')}:\n{advice}{_where_to_ask()}"
    )


@contextmanager
def explained_while(doing: str) -> Iterator[None]:
    """Turn an out-of-memory error outside of a micro-batch into an `MdpoError`. ``doing``: what runs inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MdpoError(f"out of memory while {doing}: {first_line(error)}{_where_to_ask()}") from error


def _is_out_of_memory(error: BaseException) -> bool:
    # Texts of torch on a CPU, and of CUDA's libraries.
    texts = ("can't allocate memory", "bad_alloc", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def _size(module: nn.Module) -> int:
    """The bytes of its weights."""
    return sum(value.numel() * value.element_size() for value in module.parameters())
