"""The configuration of a converted checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, LlavaConfig

from mdpo_vlm.files.folder import unfit
from mdpo_vlm.originals.checkpoint_layout import Original
from mdpo_vlm.originals.tower import Tower

# Keys of the language model that its configuration does not list by default, and keys that do not belong to it.
_ALSO = {"rope_theta", "rope_scaling", "partial_rotary_factor"}
_NOT = {"architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "_name_or_path"}


def llava_config(original: Original, tower: Tower, image_id: int) -> LlavaConfig:
    """The configuration of a LLaVA. ``image_id``: the token of a patch; the vocabulary grows if it has no such row."""
    text = _text_config(original)
    text.vocab_size = max(text.vocab_size, image_id + 1)
    drop_last = original.layout.drop_last
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=image_id,
        image_seq_length=tower.num_patches,
        vision_feature_layer=-1 if drop_last else required(original, "mm_vision_select_layer"),
        vision_feature_select_strategy="full" if drop_last else "default",
        projector_hidden_act="gelu",
    )
    config.architectures = ["LlavaForConditionalGeneration"]
    return config


def _text_config(original: Original) -> Any:
    kind = CONFIG_MAPPING[original.language]
    known = (set(kind().to_dict()) | _ALSO) - _NOT
    return kind.from_dict({name: value for name, value in original.config.items() if name in known})


def required(original: Original, key: str) -> int:
    """An integer from the checkpoint's configuration. Raises `DataError` if it has none."""
    value = original.config.get(key)
    if not isinstance(value, int):
        raise unfit(original.folder / "config.json", f"{key} must be a whole number, found {value!r}")
    return value
