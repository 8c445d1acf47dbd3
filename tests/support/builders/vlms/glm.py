"""GLM-4.1V and GLM-4.6V: positions in three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from support.builders.vlms.shapes import CHATML, HEADS, HIDDEN, PATCH, SIDE, Small, text

_IMAGE = "<|begin_of_image|><|image|><|end_of_image|>"
_NAMES = ("image_start", "image_end", "video_start", "video_end")
_TOKENS = ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
_VISION = {
    "model_type": "glm4v_vision",
    "depth": 2,
    "num_heads": 2,
    "hidden_size": HIDDEN,
    "out_hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "image_size": 4 * SIDE,
    "patch_size": PATCH,
}


def glm(kind: str, language: str = "glm4v_text", of_text: Mapping[str, Any] = MappingProxyType({})) -> Small:
    """A model of GLM's kind; ``of_text``: more settings of its language model."""

    def config(token: Callable[[str], int]) -> dict[str, Any]:
        rope = {
            "rope_type": "default",
            "mrope_section": [1, 1, 2],
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        }
        return {
            "vision_config": _VISION,
            "text_config": text(language, token, rope_parameters=rope, head_dim=2 * HIDDEN // HEADS, **of_text),
            "image_token_id": token("<|image|>"),
            "video_token_id": token("<|video|>"),
            **{f"{name}_token_id": token(each) for name, each in zip(_NAMES, _TOKENS, strict=True)},
        }

    return Small(
        "<|image|>",
        CHATML.replace("IMAGE", _IMAGE),
        config,
        f"{kind}ImageProcessorPil",
        {"patch_size": PATCH, "size": {"shortest_edge": 8 * PATCH**2, "longest_edge": 72 * PATCH**2}},
        f"{kind}Processor",
        special=("<|image|>", "<|video|>", *_TOKENS),
    )


MODELS: dict[str, Small] = {"glm4v": glm("Glm4v"), "glm46v": glm("Glm46V")}
