"""Families whose pictures transformers prepares with torchvision alone, and mdpo with torch."""

from __future__ import annotations

from support.builders.vlms.experts import GROUPS, LATENT
from support.builders.vlms.google import GEMMA_4_CHAT, GEMMA_4_NAMES
from support.builders.vlms.shapes import CHATML, EXACT, HEADS, HIDDEN, PATCH, SIDE, Small, clip, text

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
