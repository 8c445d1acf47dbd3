"""Families whose layers have a state that goes from token to token: gated linear attention, short convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.builders.vlms.qwen import QWEN_CHAT, QWEN_TOKENS, qwen
from support.builders.vlms.shapes import CHATML, HEADS, HIDDEN, PATCH, Small, text

# Half of each head's dimensions turn with the position. The state goes through a layer of attention and comes after it.
_QWEN_3_5 = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "head_dim": 16,
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    },
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_EXPERTS = {
    "moe_intermediate_size": HIDDEN,
    "shared_expert_intermediate_size": HIDDEN,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
_VISION: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 64,
    "patch_size": 16,
}
_LFM3_TEXT = {
    "num_hidden_layers": 3,
    "layer_types": ["conv", "full_attention", "sliding_attention"],
    "head_dim": HIDDEN // HEADS,
    "conv_L_cache": 4,
    "sliding_window": 16,
}
_MINICPM_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def _minicpm(processor: str, **markers: str) -> Small:
    def config(token: Callable[[str], int]) -> dict[str, Any]:
        return {
            "vision_config": {
                "hidden_size": HIDDEN,
                "intermediate_size": 2 * HIDDEN,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 4 * PATCH,
                "patch_size": PATCH // 2,
            },
            "text_config": text("qwen3_5_text", token, **_QWEN_3_5),
            "insert_layer_id": 1,
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
            **{name: token(marker) for name, marker in markers.items()},
        }

    return Small(
        "<|image_pad|>",
        CHATML.replace("IMAGE", "<|image_pad|>"),
        config,
        "MiniCPMV4_6ImageProcessorPil",
        {"patch_size": PATCH // 2, "scale_resolution": 4 * PATCH, "max_slice_nums": 4},
        processor,
        special=tuple(_MINICPM_TOKENS.values()),
        names=_MINICPM_TOKENS,
    )


MODELS: dict[str, Small] = {
    "qwen3_5": qwen("Qwen3VLProcessor", "qwen3_5_text", _QWEN_3_5, **_VISION),
    "qwen3_5_moe": qwen("Qwen3VLProcessor", "qwen3_5_moe_text", {**_QWEN_3_5, **_EXPERTS}, **_VISION),
    "minicpmv4_6": _minicpm("MiniCPMV4_6Processor"),
    "minicpmv4_7": _minicpm(
        "MiniCPMV4_7Processor",
        image_start_id="<image>",
        image_end_id="</image>",
        slice_start_id="<slice>",
        slice_end_id="</slice>",
        newline_id="Ċ",
    ),
    "lfm3_vl": Small(
        "<|image_pad|>",
        QWEN_CHAT,
        lambda token: {
            "vision_config": {
                "hidden_size": HIDDEN,
                "intermediate_size": 2 * HIDDEN,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "patch_size": PATCH,
            },
            "text_config": text("lfm3", token, **_LFM3_TEXT),
            "projector_hidden_size": HIDDEN,
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
            "vision_start_token_id": token("<|vision_start|>"),
            "vision_end_token_id": token("<|vision_end|>"),
        },
        "Qwen2VLImageProcessorPil",
        {
            "patch_size": PATCH,
            "merge_size": 2,
            "temporal_patch_size": 2,
            "size": {"shortest_edge": 4 * PATCH**2, "longest_edge": 36 * PATCH**2},
        },
        "Lfm3VlProcessor",
        special=QWEN_TOKENS,
    ),
}
