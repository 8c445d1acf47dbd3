"""LLaVA and its successors, and InternVL."""

from __future__ import annotations

from dataclasses import replace

from support.builders.vlms.shapes import CHATML, EXACT, PATCH, SIDE, SQUARE, VISION, Small, clip, text

_PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]


MODELS: dict[str, Small] = {
    "llava": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": clip(),
            "text_config": text("llama", token),
            "image_token_id": token("<image>"),
            "image_seq_length": 4,
        },
        "CLIPImageProcessorPil",
        SQUARE,
        "LlavaProcessor",
        {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        special=("<image>",),
        names={"image_token": "<image>"},
    ),
    "llava_next": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": clip(),
            "text_config": text("mistral", token, sliding_window=None),
            "image_token_id": token("<image>"),
            "image_grid_pinpoints": _PINPOINTS,
            "image_seq_length": 4,
        },
        "LlavaNextImageProcessorPil",
        {**SQUARE, "image_grid_pinpoints": _PINPOINTS},
        "LlavaNextProcessor",
        {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        special=("<image>",),
        names={"image_token": "<image>"},
    ),
    "llava_onevision": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": clip("siglip_vision_model", vision_use_head=False),
            "text_config": text("qwen2", token),
            "image_token_id": token("<image>"),
            "video_token_id": token("<video>"),
            "image_grid_pinpoints": _PINPOINTS,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        "LlavaOnevisionImageProcessorPil",
        {"size": {"height": SIDE, "width": SIDE}, "image_grid_pinpoints": _PINPOINTS},
        "LlavaOnevisionProcessor",
        {"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
        special=("<image>", "<video>"),
        names={"image_token": "<image>", "video_token": "<video>"},
    ),
    "internvl": Small(
        "<IMG_CONTEXT>",
        CHATML.replace("IMAGE", "<IMG_CONTEXT>"),
        lambda token: {
            "vision_config": {
                "model_type": "internvl_vision",
                **VISION,
                "image_size": [SIDE, SIDE],
                "patch_size": [PATCH, PATCH],
            },
            "text_config": text("qwen2", token),
            "image_token_id": token("<IMG_CONTEXT>"),
            "image_seq_length": 1,
            "downsample_ratio": 0.5,
        },
        "GotOcr2ImageProcessorPil",
        {**EXACT, "crop_to_patches": True, "max_patches": 4},
        "InternVLProcessor",
        {"image_seq_length": 1},
        special=("<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
        names={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
}

MODELS["llava_next_video"] = replace(
    MODELS["llava_next"],
    config=lambda token: {
        "vision_config": clip(),
        "text_config": text("llama", token),
        "image_token_index": token("<image>"),
        "video_token_index": token("<video>"),
        "image_grid_pinpoints": _PINPOINTS,
        "image_seq_length": 4,
    },
    processor="LlavaNextVideoProcessor",
    special=("<image>", "<video>"),
    names={"image_token": "<image>", "video_token": "<video>"},
)

# A family that has no row.
NAMELESS: dict[str, Small] = {
    "vipllava": replace(
        MODELS["llava"],
        config=lambda token: {
            "vision_config": clip(),
            "text_config": text("llama", token),
            "image_token_id": token("<image>"),
            "image_seq_length": 4,
            "vision_feature_layers": [-2, -1],
        },
    ),
}
