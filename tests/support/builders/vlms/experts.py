"""Mixtures of experts: Qwen3-VL, the thinker of Qwen3-Omni, GLM-4.5V, and Mistral Small 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from support.builders.vlms.glm import glm
from support.builders.vlms.more import MODELS as MORE
from support.builders.vlms.qwen import MODELS as QWEN
from support.builders.vlms.qwen import QWEN_TOKENS
from support.builders.vlms.shapes import HEADS, HIDDEN, Small, text

_EXPERTS = {"moe_intermediate_size": HIDDEN + 16, "num_experts": 4, "num_experts_per_tok": 2}
# DeepSeek's kind: experts in groups, one for all tokens, and a first layer without experts.
GROUPS = {
    "moe_intermediate_size": HIDDEN,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
# Keys and values are compressed; those of queries and keys have another width than values. Scaled by the position.
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": HEADS,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 256.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}
_AUDIO = {
    "num_mel_bins": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": HIDDEN,
    "d_model": HIDDEN,
    "output_dim": HIDDEN,
    "downsample_hidden_size": 8,
}


def _with(small: Small, of_text: Mapping[str, Any], **more: Any) -> Small:
    """``small`` with other settings of its language model, and ``more`` of the whole model."""

    def config(token: Callable[[str], int]) -> dict[str, Any]:
        before = small.config(token)
        return {**before, "text_config": {**before["text_config"], **of_text}, **more}

    return replace(small, config=config)


def _mistral4() -> Small:
    small = MORE["mistral3"]

    def config(token: Callable[[str], int]) -> dict[str, Any]:
        return {**small.config(token), "text_config": text("mistral4", token, **{**GROUPS, **LATENT})}

    return replace(small, config=config, model_type="mistral3")


_OMNI = replace(
    QWEN["qwen3_vl"],
    processor="Qwen3OmniMoeProcessor",
    special=(*QWEN_TOKENS, "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>"),
    names={
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "audio_token": "<|audio_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
    },
)

MODELS: dict[str, Small] = {
    "qwen3_vl_moe": _with(QWEN["qwen3_vl"], {**_EXPERTS, "model_type": "qwen3_vl_moe_text"}),
    "qwen3_omni_moe_thinker": _with(_OMNI, {**_EXPERTS, "model_type": "qwen3_omni_moe_text"}, audio_config=_AUDIO),
    "glm4v_moe": glm("Glm4v", "glm4v_moe_text", GROUPS),
    "mistral4": _mistral4(),
}
