"""Checks an adapter's claim that its model can share a prompt among responses."""

from __future__ import annotations

import torch
from torch import Tensor

from mdpo_core.errors import PluginError
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.scoring.hidden_states import PredictingHiddenStates, packed_states, padded_states
from mdpo_core.scoring.scorer import encode_images
from mdpo_core.types.batch import Batch
from mdpo_core.types.layout import Attention
from mdpo_core.types.packing import joined
from mdpo_core.types.view import View

# The distance between two computations of one model's hidden states, relative to their norm. With 24 layers, two
# correct computations differed by at most 2e-6 in float32 and 0.02 in bfloat16; TF32 lies between the two. Wrong masks
# and images gave 0.3 and more, wrong positions 0.03 and more. The contract of adapters, in float32, finds them all.
_ROUNDING = {torch.float64: 1e-2, torch.float32: 1e-2}
_COARSE = 0.1  # bfloat16, float16, and whatever weights may be quantized to


def require_shared_prefix(adapter: str, model: VisionLanguageModel, batch: Batch, attention: Attention) -> None:
    """Compute a batch with shared prompts and without; raise `PluginError` if the results differ.

    For adapters with ``shares_prefix``. Computes without gradients and dropout. ``adapter``: the name for messages.
    ``attention``: the implementation that the run will use.
    """
    if not hasattr(model, "packed_hidden_states"):
        raise _broken(adapter, "its model has no packed_hidden_states")
    views = tuple(batch.digests)
    model.set_training(False)
    with torch.no_grad():
        images = encode_images(model, batch)
        shared = packed_states(model, batch, views, images, attention)
        separate = padded_states(model, batch, views, images)
    model.set_training(True)
    # LoRA and the weights below it may have different types; the coarser type limits the precision.
    limit = max(_ROUNDING.get(value.dtype, _COARSE) for value in model.module.parameters())
    for view in views:
        distance = _distance(_of(view, shared), _of(view, separate))
        if not distance <= limit:
            raise _broken(adapter, f"the hidden states of '{view}' differ by {distance:.1%} from a separate forward")


def _of(view: View, states: PredictingHiddenStates) -> Tensor:
    return torch.cat([joined(states.hidden, parts) for parts in states.spans[view]])


def _distance(shared: Tensor, separate: Tensor) -> float:
    """The relative difference to the plain result, over its finite numbers; the others say nothing about sharing."""
    known = separate.isfinite()
    shared, separate = shared[known].double(), separate[known].double()
    return float((shared - separate).norm() / separate.norm().clamp(min=1e-30))


def _broken(adapter: str, reason: str) -> PluginError:
    return PluginError(
        f"the adapter '{adapter}' says that its model computes a prompt once for all its responses (shares_prefix), "
        f"but {reason}; set scoring.share_prefix: false, and tell the adapter's author"
    )
