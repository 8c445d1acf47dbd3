"""Which changes of a model's or adapter's files may change what a model computes: those that mean something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Keys of which another value of the same kind is another model, and a valid one. Every other key must be refused, or
# change nothing.
_MEANS_SOMETHING = {
    *(
        "hidden_act",
        "projector_hidden_act",
        "attn_implementation",
        "rope_theta",
        "rope_type",
        "factor",
        "rope_parameters",
    ),
    *("rms_norm_eps", "layer_norm_eps", "eps", "vision_feature_layer", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "tie_word_embeddings", "is_causal", "pretraining_tp", "dtype"),
    *("do_resize", "do_rescale", "do_normalize", "do_convert_rgb", "do_center_crop", "rescale_factor", "resample"),
    *("image_mean", "image_std", "size", "crop_size", "shortest_edge", "height", "width"),
    *("bos_token", "eos_token", "unk_token", "pad_token", "image_token", "add_bos_token", "add_prefix_space"),
    *("extra_special_tokens", "tokenizer_class", "image_processor_type", "chat_template"),
    *("lora_alpha", "use_rslora", "alpha_pattern"),
}
# A tokenizer's parts are data; a template is text.
_DATA = ("tokenizer.json", "chat_template.jinja")


def is_explained(sound: Path, changed: Path) -> bool:
    """Whether a file was changed into one that is valid, and says something else."""
    if sound.name in _DATA:
        return True
    if sound.suffix != ".json":
        return False
    try:
        before, after = (json.loads(file.read_text()) for file in (sound, changed))
    except ValueError:
        return False
    return any(_MEANS_SOMETHING & set(path) for path in _differences(before, after, ()))


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The places of values of the same kind that differ, or that only one of the two has."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            if key in before and key in after:
                yield from _differences(before[key], after[key], (*path, key))
            else:
                yield (*path, key)
    elif before != after and (after is None or _kind(before) == _kind(after)):
        yield path


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
