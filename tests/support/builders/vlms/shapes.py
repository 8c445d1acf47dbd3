"""What the small models share: sizes, templates, and how a family's small model is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HIDDEN, LAYERS, HEADS, SIDE, PATCH = 32, 2, 4, 28, 14
TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}IMAGE{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SQUARE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
EXACT = {"size": {"height": SIDE, "width": SIDE}}


@dataclass(frozen=True)
class Small:
    """How a family's small model is built.

    ``end``: what ends a turn; ``names``: special tokens that have a name; ``model_type``: if it is not
    the family's name; ``beyond``: special tokens that are rows of the embedding, and not of the head; ``large``: a
    pattern for weights that transformers draws with a spread of 1.
    """

    image: str
    template: str | None
    config: Callable[[Callable[[str], int]], dict[str, Any]]
    image_processor: str
    image_options: Mapping[str, Any]
    processor: str
    processor_options: Mapping[str, Any] = field(default_factory=dict)
    special: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    end: str = "<|im_end|>"
    model_type: str = ""
    beyond: Sequence[str] = ()
    large: str = "$^"


def clip(kind: str = "clip_vision_model", **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **VISION, **more}


def text(kind: str, token: Callable[[str], int], **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **TEXT, **more}
