"""Families whose pictures transformers prepares with torchvision alone, and mdpo with torch."""

from __future__ import annotations

from support.builders.vlms.experts import GROUPS, LATENT
from support.builders.vlms.google import GEMMA_4_CHAT, GEMMA_4_NAMES
from support.builders.vlms.shapes import CHATML, EXACT, HEADS, HIDDEN, PATCH, SIDE, TEXT, VISION, Small, clip, text

_COHERE_NAMES = {
    "image_token": "<|IMG_PATCH|>",
    "boi_token": "<|START_OF_IMG|>",
    "eoi_token": "<|END_OF_IMG|>",
    "img_line_break_token": "<|IMG_LINE_BREAK|>",
}
# As the published model has it, but for shorter texts.
_YARN = {name: value for name, value in LATENT["rope_parameters"].items() if name != "llama_4_scaling_beta"}
_LFM_TOKENS = ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
_LFM_TILES = tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5))
_LLAMA_4 = (
    "{{- bos_token }}{% for message in messages %}<|header_start|>{{ message['role'] }}<|header_end|>\n\n"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<|image|>{% else %}{{ item['text'] }}"
    "{% endif %}{% endfor %}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>\n\n{% endif %}"
)
_LLAMA_4_TOKENS = (
    *("<|header_start|>", "<|header_end|>", "<|eot|>", "<|image_start|>", "<|image_end|>", "<|image|>", "<|patch|>"),
    *("<|tile_x_separator|>", "<|tile_y_separator|>"),
)
_PHI_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<|image|>{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PHI_NAMES = {"image_token": "<|image|>", "audio_token": "<|audio|>"}
# Its image processor counts the tokens of tiles of 32 times 32 patches.
_PHI_SIDE = 64

MODELS: dict[str, Small] = {
    "cohere2_vision": Small(
        "<|IMG_PATCH|>",
        CHATML.replace("IMAGE", "<|IMG_PATCH|>"),
        lambda token: {
            "vision_config": clip("siglip_vision_model", vision_use_head=False),
            "text_config": text("cohere2", token, sliding_window=4096),
            "image_token_id": token("<|IMG_PATCH|>"),
            "alignment_intermediate_size": 2 * HIDDEN,
        },
        "Cohere2VisionImageProcessor",
        {**EXACT, "max_patches": 4, "patch_size": 1},
        "Cohere2VisionProcessor",
        special=tuple(_COHERE_NAMES.values()),
        names=_COHERE_NAMES,
    ),
    "kimi_k25": Small(
        "<|media_pad|>",
        CHATML.replace("IMAGE", "<|media_pad|>"),
        lambda token: {
            "vision_config": {
                "hidden_size": HIDDEN,
                "intermediate_size": 2 * HIDDEN,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": PATCH,
                "pos_emb_height": 8,
                "pos_emb_width": 8,
            },
            "text_config": text("deepseek_v3", token, **{**GROUPS, **LATENT, "rope_parameters": _YARN}),
            "projection_hidden_size": HIDDEN,
            "image_token_id": token("<|media_pad|>"),
            "video_token_id": token("<|kimi_k25_video_placeholder|>"),
            "tie_word_embeddings": False,
        },
        "Kimi_K25ImageProcessor",
        {"patch_size": PATCH, "max_patches": 36},
        "Kimi_K25Processor",
        special=("<|media_pad|>", "<|kimi_k25_video_placeholder|>"),
    ),
    "llama4": Small(
        "<|image|>",
        _LLAMA_4,
        lambda token: {
            "vision_config": {
                **VISION,
                "intermediate_size": 4 * HIDDEN,  # the adapter joins four patches
                "patch_size": PATCH // 2,
                "vision_output_dim": HIDDEN + 8,
                "pixel_shuffle_ratio": 0.5,
                "projector_input_dim": HIDDEN + 8,
                "projector_output_dim": HIDDEN + 8,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            },
            "text_config": text(
                "llama4_text",
                token,
                num_hidden_layers=4,
                head_dim=HIDDEN // HEADS,
                intermediate_size_mlp=2 * HIDDEN,
                num_local_experts=4,
                num_experts_per_tok=2,
                interleave_moe_layer_step=2,
                no_rope_layer_interval=2,
                attention_chunk_size=4096,
                floor_scale=16,
                attn_scale=1.0,
                rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
            ),
            "boi_token_index": token("<|image_start|>"),
            "eoi_token_index": token("<|image_end|>"),
            "image_token_index": token("<|patch|>"),
        },
        "Llama4ImageProcessor",
        {**EXACT, "max_patches": 4},
        "Llama4Processor",
        {"patch_size": PATCH // 2, "pixel_shuffle_ratio": 0.5},
        special=_LLAMA_4_TOKENS,
        end="<|eot|>",
    ),
    "lfm2_vl": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": {**clip("siglip2_vision_model", num_patches=16), "vision_use_head": False},
            "text_config": text(
                "lfm2",
                token,
                num_hidden_layers=3,
                layer_types=["conv", "full_attention", "conv"],
                conv_L_cache=3,
                block_auto_adjust_ff_dim=False,
            ),
            "image_token_id": token("<image>"),
            "projector_hidden_size": HIDDEN,
        },
        "Lfm2VlImageProcessor",
        {
            "downsample_factor": 2,
            "encoder_patch_size": PATCH,
            "tile_size": 2 * SIDE,
            "min_image_tokens": 1,
            "max_image_tokens": 1,
            "max_tiles": 4,
        },
        "Lfm2VlProcessor",
        special=(*_LFM_TOKENS, *_LFM_TILES),
    ),
    "phi4_multimodal": Small(
        "<|image|>",
        _PHI_CHAT,
        lambda token: {
            **TEXT,
            "vision_config": {
                **VISION,
                "num_hidden_layers": 3,
                "image_size": _PHI_SIDE,
                "crop_size": _PHI_SIDE,
                "patch_size": _PHI_SIDE // 32,
                "image_token_id": token("<|image|>"),
            },
            "audio_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_blocks": 1,
                "num_attention_heads": 2,
                "ext_pw_out_channel": 16,
                "depthwise_separable_out_channel": 16,
                "nemo_conv_channels": 8,
                "input_size": 16,
                "audio_token_id": token("<|audio|>"),
            },
        },
        "Phi4MultimodalImageProcessor",
        {"size": {"height": _PHI_SIDE, "width": _PHI_SIDE}, "patch_size": _PHI_SIDE // 32, "dynamic_hd": 4},
        "Phi4MultimodalProcessor",
        special=("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", *_PHI_NAMES.values()),
        names=_PHI_NAMES,
        end="<|end|>",
        large=r"img_processor\.(encoder|head)\..*(proj|fc[12])\.weight",
    ),
    "gemma4_unified": Small(
        "<|image|>",
        GEMMA_4_CHAT,
        lambda token: {
            "vision_config": {
                "patch_size": 4,
                "pooling_kernel_size": 2,
                "mm_embed_dim": HIDDEN,
                "mm_posemb_size": 128,
                "output_proj_dims": HIDDEN,
            },
            "audio_config": {"audio_embed_dim": HIDDEN},
            "text_config": text(
                "gemma4_unified_text",
                token,
                layer_types=["sliding_attention", "full_attention"],
                head_dim=HIDDEN // HEADS,
                sliding_window=16,
                final_logit_softcapping=30.0,
            ),
            **{f"{kind}_token_id": token(f"<|{kind}|>") for kind in ("image", "video", "audio")},
            "boi_token_id": token("<|image>"),
            "eoi_token_id": token("<image|>"),
            "boa_token_id": token("<|audio>"),
            "eoa_token_index": token("<audio|>"),
        },
        "Gemma4UnifiedImageProcessor",
        {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        "Gemma4UnifiedProcessor",
        special=(*GEMMA_4_NAMES.values(), "<|video|>", "<|turn>", "<turn|>"),
        names=GEMMA_4_NAMES,
        end="<turn|>",
    ),
}
