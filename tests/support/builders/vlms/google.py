"""Gemma 3, Gemma 4 and PaliGemma."""

from __future__ import annotations

from support.builders.vlms.shapes import EXACT, HEADS, HIDDEN, LAYERS, Small, clip, text

_GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

GEMMA_4_CHAT = (
    "{{ bos_token }}{% for message in messages %}<|turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<|image|>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
# Layers 2 and 3 use the keys and values of layers 0 and 1.
_GEMMA_4_TEXT = {
    "num_hidden_layers": 2 * LAYERS,
    "layer_types": ["sliding_attention", "full_attention"] * LAYERS,
    "num_kv_shared_layers": LAYERS,
    "head_dim": HIDDEN // HEADS,
    "global_head_dim": 2 * HIDDEN // HEADS,
    "sliding_window": 16,
    "use_bidirectional_attention": "vision",
    "final_logit_softcapping": 30.0,
    "vocab_size_per_layer_input": 512,
    "hidden_size_per_layer_input": 8,
}
_GEMMA_4_VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": HIDDEN // 2,
    "patch_size": 4,
    "pooling_kernel_size": 2,
    "position_embedding_size": 512,
    "use_clipped_linears": True,
    "standardize": True,
}
_GEMMA_4_AUDIO = {
    "model_type": "gemma4_audio",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "subsampling_conv_channels": [8, 4],
    "output_proj_dims": HIDDEN,
}
GEMMA_4_NAMES = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


MODELS: dict[str, Small] = {
    "gemma3": Small(
        "<image_soft_token>",
        _GEMMA,
        lambda token: {
            "vision_config": clip("siglip_vision_model", vision_use_head=False),
            "text_config": text("gemma3_text", token, head_dim=8, sliding_window=16),
            "image_token_index": token("<image_soft_token>"),
            "boi_token_index": token("<start_of_image>"),
            "eoi_token_index": token("<end_of_image>"),
            "mm_tokens_per_image": 4,
        },
        "Gemma3ImageProcessorPil",
        EXACT,
        "Gemma3Processor",
        {"image_seq_length": 4},
        special=("<image_soft_token>", "<start_of_image>", "<end_of_image>", "<start_of_turn>", "<end_of_turn>"),
        names={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        end="<end_of_turn>",
    ),
    "gemma4": Small(
        "<|image|>",
        GEMMA_4_CHAT,
        lambda token: {
            "vision_config": _GEMMA_4_VISION,
            "audio_config": _GEMMA_4_AUDIO,
            "text_config": text("gemma4_text", token, **_GEMMA_4_TEXT),
            **{f"{kind}_token_id": token(f"<|{kind}|>") for kind in ("image", "video", "audio")},
            "boi_token_id": token("<|image>"),
            "eoi_token_id": token("<image|>"),
            "boa_token_id": token("<|audio>"),
            "eoa_token_index": token("<audio|>"),
        },
        "Gemma4ImageProcessorPil",
        {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        "Gemma4Processor",
        special=(*GEMMA_4_NAMES.values(), "<|video|>", "<|turn>", "<turn|>"),
        names=GEMMA_4_NAMES,
        end="<turn|>",
    ),
    "paligemma": Small(
        "<image>",
        None,
        lambda token: {
            "vision_config": clip("siglip_vision_model", vision_use_head=False),
            "text_config": text("gemma", token, head_dim=8),
            "image_token_id": token("<image>"),
            "projection_dim": HIDDEN,
            "hidden_size": HIDDEN,
        },
        "SiglipImageProcessorPil",
        {**EXACT, "image_seq_length": 4},
        "PaliGemmaProcessor",
        special=("<image>",),
        names={"image_token": "<image>"},
        end="<eos>",
    ),
}
