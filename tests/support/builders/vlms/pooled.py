"""Molmo 2: features pool patches of overlapping crops, and tokens around images are marked, too."""

from __future__ import annotations

from support.builders.vlms.shapes import CHATML, HEADS, HIDDEN, PATCH, SIDE, Small, text

_PATCH = PATCH // 2
_AROUND = ("<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<im_low>")
_BEYOND = (*_AROUND, "<|image|>", "<frame_start>", "<frame_end>", "<|video|>")
_TOWER = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": HIDDEN // 2,
}

MODELS: dict[str, Small] = {
    "molmo2": Small(
        "<|image|>",
        CHATML.replace("IMAGE", "<|image|>"),
        lambda token: {
            # No feature reads the last layer.
            "vision_config": {**_TOWER, "num_hidden_layers": 3, "image_size": [SIDE, SIDE], "patch_size": _PATCH},
            "adapter_config": {**_TOWER, "vision_feature_layer": [1, -3], "text_hidden_size": HIDDEN},
            "text_config": text(
                "molmo2_text",
                token,
                head_dim=HIDDEN // HEADS,
                additional_vocab_size=len(_BEYOND),
                rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            ),
            "image_start_token_id": token("<im_start>"),
            "low_res_image_start_token_id": token("<low_res_im_start>"),
            "image_end_token_id": token("<im_end>"),
            "image_patch_id": token("<im_patch>"),
            "frame_start_token_id": token("<frame_start>"),
            "frame_end_token_id": token("<frame_end>"),
        },
        "Molmo2ImageProcessor",
        # Crops overlap, and their patches do not fill all windows that are pooled.
        {
            "size": {"height": SIDE, "width": SIDE},
            "patch_size": _PATCH,
            "overlap_margins": [1, 0],
            "max_crops": 4,
            "pooling_size": [2, 2],
        },
        "Molmo2Processor",
        beyond=_BEYOND,
    ),
}
