"""Mistral 3, Aya Vision, Ovis2, DeepSeek-VL and VideoLLaMA 3: each has parts of its own."""

from __future__ import annotations

from support.builders.vlms.shapes import CHATML, EXACT, HIDDEN, PATCH, SIDE, VISION, Small, clip, text

_OVIS = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
_AYA = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL")

MODELS: dict[str, Small] = {
    "mistral3": Small(
        "[IMG]",
        CHATML.replace("IMAGE", "[IMG]"),
        lambda token: {
            "vision_config": {**clip("pixtral", image_size=4 * SIDE), "head_dim": HIDDEN // 2},
            "text_config": text("mistral", token, sliding_window=None, head_dim=8),
            "image_token_index": token("[IMG]"),
            "vision_feature_layer": -1,
            "spatial_merge_size": 2,
        },
        "PixtralImageProcessorPil",
        {"patch_size": PATCH, "size": {"longest_edge": 4 * SIDE}},
        "PixtralProcessor",
        {"patch_size": PATCH, "spatial_merge_size": 2},
        special=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    ),
    "aya_vision": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": clip("siglip_vision_model", vision_use_head=False),
            "text_config": text("cohere2", token, sliding_window=4096),
            "image_token_index": token("<|IMG_PATCH|>"),
        },
        "GotOcr2ImageProcessorPil",
        {**EXACT, "crop_to_patches": True, "max_patches": 4},
        "AyaVisionProcessor",
        {"patch_size": PATCH, "img_size": SIDE, "downsample_factor": 2},
        special=_AYA,
    ),
    "ovis2": Small(
        "<image>",
        CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": {
                "model_type": "ovis2_vision",
                **VISION,
                "hidden_stride": 2,
                "vocab_size": 69,
            },
            "text_config": text("qwen2", token),
            "hidden_size": HIDDEN,
            "image_token_id": token("<IMG_ATOM>"),
            "visual_indicator_token_ids": [token(each) for each in _OVIS],
        },
        "Ovis2ImageProcessorPil",
        {**EXACT, "crop_to_patches": True, "max_patches": 4},
        "Ovis2Processor",
        {"image_seq_length": 1},
        special=("<IMG_ATOM>", *_OVIS),
    ),
    "deepseek_vl": Small(
        "<image_placeholder>",
        CHATML.replace("IMAGE", "<image_placeholder>"),
        lambda token: {
            "vision_config": clip("siglip_vision_model"),
            "text_config": text("llama", token),
            "image_token_id": token("<image_placeholder>"),
        },
        "DeepseekVLImageProcessorPil",
        EXACT,
        "DeepseekVLProcessor",
        {"num_image_tokens": 4},
        special=("<image_placeholder>",),
        names={"image_token": "<image_placeholder>"},
    ),
    "video_llama_3": Small(
        "<|image_pad|>",
        CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
        lambda token: {
            "vision_config": clip("video_llama_3_vision"),
            "text_config": text("qwen2", token),
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
        },
        "VideoLlama3ImageProcessorPil",
        {"patch_size": PATCH, "merge_size": 2, "size": {"shortest_edge": 4 * PATCH**2, "longest_edge": 36 * PATCH**2}},
        "VideoLlama3Processor",
        special=("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    ),
}
