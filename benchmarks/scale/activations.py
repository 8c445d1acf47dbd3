"""What a forward keeps for its backward, of a small model in bf16: ``python -m benchmarks.scale.activations MODEL``.

Prints bytes that a layer of the language model keeps a token, as multiples of its hidden and intermediate sizes.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.scale.worker import VIEWS, make_batch
from mdpo_core import Placement, View, component
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.scorer import Scorer


def kept_by_a_layer(folder: str, lora: bool, recompute: bool) -> tuple[float, float]:
    """Bytes a token, over the hidden size and over the intermediate size."""
    options = {"rank": 64, "alpha": 64, "dropout": 0.05} if lora else None
    adapter: Any = component("adapter", "llava", path=folder, lora=options)
    model = adapter.load(Placement("cpu", "bfloat16"))
    recompute_in_backward(model.layers(), "full" if recompute else "off")
    model.set_training(True)  # with dropout
    scorer = Scorer(model, TermInputs(tuple(map(View.parse, VIEWS))), None, Scoring())
    batch = make_batch(adapter.encoder(), rank=0)
    language = model.module.config.text_config
    found: list[dict[int, Tensor]] = []
    for layer in model.layers():
        _count_in(layer, found)
    scorer(batch)
    tokens = sum(len(prompt.token_ids) for row in batch.rows for prompt in row.prompts.values())
    tokens += sum(len(item.response) for items in batch.items.values() for item in items)
    # The last layer computes less.
    kept = found[0].values()
    wide = sum(_bytes(each) for each in kept if each.shape[-1] == language.intermediate_size)
    return (
        (sum(map(_bytes, kept)) - wide) / tokens / language.hidden_size,
        wide / tokens / language.intermediate_size,
    )


def _count_in(layer: nn.Module, found: list[dict[int, Tensor]]) -> None:
    """Collect what autograd saves while the layer computes, each memory once, weights left out."""
    weights = {value.untyped_storage().data_ptr() for value in layer.parameters()}
    saved: dict[int, Tensor] = {}
    found.append(saved)
    forward = layer.forward

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            saved[place] = tensor
        return tensor

    def counted(*arguments: Any, **options: Any) -> Any:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            return forward(*arguments, **options)

    layer.forward = counted


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def main() -> None:
    print("| | recomputed | bytes / hidden | bytes / intermediate |\n|---|---|---|---|")
    for lora in (True, False):
        for recompute in (False, True):
            hidden, intermediate = kept_by_a_layer(sys.argv[1], lora, recompute)
            print(f"| {'LoRA' if lora else 'full'} | {recompute} | {hidden:.2f} | {intermediate:.2f} |")


if __name__ == "__main__":
    main()
