"""Read properties of a model from its configuration, without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from mdpo_core import Depth
from mdpo_vlm.files.config import load_config, ropes, ties_head
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import has_weights, weight_files
from mdpo_vlm.files.stored import stored_tensors
from mdpo_vlm.loading.doors import auto_class

_SECONDS = 15.0
_LARGEST_FACTOR = 10**4


def sliding_window(folder: Path) -> int | None:
    """The number of tokens that the language model can look back, or None if there is no limit.

    Layers that attend in chunks can look back as far as a chunk is long.
    """
    text = load_config(folder).get_text_config()
    limits = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((limit for limit in limits if limit is not None), default=None)


def max_positions(folder: Path) -> int | None:
    """The tokens of the longest sequence that the language model can read, or None if its configuration has no limit.

    Configurations differ in whether max_position_embeddings includes the factor of scaled positions (RoPE), so the
    largest reading counts.
    """
    text = load_config(folder).get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    return max([positions, *(_scaled(positions, rope) for rope in ropes(text))])


def _scaled(positions: int, rope: Mapping[str, Any]) -> int:
    """The original number of positions times the factor, as transformers defines it; 0 without a factor."""
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings") or positions
    if not isinstance(factor, int | float) or not isinstance(original, int) or rope.get("rope_type") == "default":
        return 0
    return int(original * factor) if 1 < factor < _LARGEST_FACTOR else 0


def without_weights(folder: Path, dtype: str = "float32", depth: int | None = None) -> PreTrainedModel:
    """The model of a folder on torch's meta device: it has names and shapes, but no numbers.

    ``depth``: the number of layers of its language model; None: all.
    """
    config = load_config(folder)
    if depth is not None:
        _shorten(config.get_text_config(), depth)
    with reading(folder / "config.json", "transformers cannot build its model", [], _SECONDS), torch.device("meta"):
        model: PreTrainedModel = auto_class(config).from_config(
            config, trust_remote_code=False, dtype=getattr(torch, dtype)
        )
        model.tie_weights()
        _untie_own_head(model, folder)
    return model


def _untie_own_head(base: PreTrainedModel, folder: Path) -> None:
    """Give the model a head of its own if its weights contain one, though its class ties it by default."""
    head = base.get_output_embeddings()
    ties = getattr(base.config, "tie_word_embeddings", False)  # Llama 3.2 Vision says it of its text alone
    if not ties or head is None or ties_head(folder) or not has_weights(folder):
        return
    name = next(name for name, module in base.named_modules() if module is head)
    end = f".{name.rpartition('.')[2]}.weight"
    if any(f".{stored}".endswith(end) for stored in stored_tensors(weight_files(folder))):
        head.weight = nn.Parameter(torch.empty_like(head.weight))
        base.config.tie_word_embeddings = False


def depth_of(folder: Path) -> Depth:
    """The depth of the language model of a folder."""
    config = load_config(folder)
    text = config.get_text_config()
    kinds = _kinds(text)
    period = next(size for size in range(1, len(kinds) + 1) if kinds[size:] == kinds[:-size])
    # Qwen3-VL adds features of inner vision layers to the outputs of its first layers.
    special = len(getattr(getattr(config, "vision_config", None), "deepstack_visual_indexes", None) or ())
    return Depth(int(text.num_hidden_layers), period, special)


def _kinds(text: PretrainedConfig) -> list[object]:
    """What differs from layer to layer; one kind if nothing does."""
    shared = getattr(text, "num_kv_shared_layers", None) or 0
    # Llama 3.2 Vision tells by number which layers have cross-attention.
    numbers = getattr(text, "cross_attention_layers", None) or ()
    kinds = getattr(text, "layer_types", None) or [number in numbers for number in range(text.num_hidden_layers)]
    # The last layers of small Gemma 4 use keys and values of layers before them.
    return [(kind, number >= len(kinds) - shared) for number, kind in enumerate(kinds)]


def _shorten(text: PretrainedConfig, depth: int) -> None:
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
