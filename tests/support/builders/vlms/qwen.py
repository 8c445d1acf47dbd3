"""Qwen-VL: positions in three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from support.builders.vlms.shapes import CHATML, HEADS, HIDDEN, PATCH, Small, text

_QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": PATCH, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_VIDEO = "{% elif item['type'] == 'video' %}" + _QWEN_IMAGE.replace("image_pad", "video_pad") + "{% else %}"
QWEN_CHAT = CHATML.replace("IMAGE", _QWEN_IMAGE).replace("{% else %}", _QWEN_VIDEO)


def qwen(kind: str, language: str, of_text: Mapping[str, Any] = MappingProxyType({}), **vision: Any) -> Small:
    """A model of Qwen's kind; ``of_text``: more settings of its language model."""

    def config(token: Callable[[str], int]) -> dict[str, Any]:
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
        common = {"rope_parameters": rope, "head_dim": HIDDEN // HEADS}
        return {
            "vision_config": {**_QWEN_VISION, **vision},
            "text_config": text(language, token, **{**common, **of_text}),
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
            "vision_start_token_id": token("<|vision_start|>"),
            "vision_end_token_id": token("<|vision_end|>"),
        }

    patch = vision.get("patch_size", PATCH)
    pixels = {"shortest_edge": 4 * patch * patch, "longest_edge": 36 * patch * patch}
    return Small(
        "<|image_pad|>",
        QWEN_CHAT,
        config,
        "Qwen2VLImageProcessorPil",
        {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "size": pixels},
        kind,
        special=QWEN_TOKENS,
    )


MODELS: dict[str, Small] = {
    "qwen2_vl": qwen("Qwen2VLProcessor", "qwen2_vl_text", embed_dim=HIDDEN, hidden_size=HIDDEN),
    "qwen2_5_vl": qwen(
        "Qwen2_5_VLProcessor",
        "qwen2_5_vl_text",
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        out_hidden_size=HIDDEN,
        fullatt_block_indexes=[1],
        window_size=4 * PATCH,
    ),
    "qwen3_vl": qwen(
        "Qwen3VLProcessor",
        "qwen3_vl_text",
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        out_hidden_size=HIDDEN,
        deepstack_visual_indexes=[0],
        num_position_embeddings=64,
        patch_size=16,
    ),
}
