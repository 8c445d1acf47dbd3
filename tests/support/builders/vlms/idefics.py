"""Idefics2, Idefics3 and SmolVLM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.builders.vlms.shapes import HIDDEN, SIDE, Small, clip, text

_SMOL = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<image>{% else %} {{ item['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _idefics(kind: str, image_processor: str) -> Small:
    def config(token: Callable[[str], int]) -> dict[str, Any]:
        return {
            "vision_config": clip("idefics3_vision" if kind == "Idefics3Processor" else "smolvlm_vision"),
            "text_config": text("llama", token),
            "image_token_id": token("<image>"),
            "scale_factor": 2,
            "pad_token_id": 0,
        }

    return Small(
        "<image>",
        _SMOL,
        config,
        image_processor,
        {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}},
        kind,
        {"image_seq_len": 1},
        special=(
            "<image>",
            "<fake_token_around_image>",
            "<global-img>",
            "<end_of_utterance>",
            *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
        ),
        names={
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        end="<end_of_utterance>",
    )


MODELS: dict[str, Small] = {
    "idefics2": Small(
        "<image>",
        _SMOL.removeprefix("<|im_start|>"),
        lambda token: {
            "vision_config": clip("idefics2_vision", image_size=3 * SIDE),
            "perceiver_config": {
                "hidden_size": HIDDEN,
                "resampler_n_latents": 3,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 8,
                "num_key_value_heads": 1,
            },
            "text_config": text("mistral", token, sliding_window=4096),
            "image_token_id": token("<image>"),
        },
        "Idefics2ImageProcessorPil",
        {"size": {"shortest_edge": SIDE, "longest_edge": 3 * SIDE}},
        "Idefics2Processor",
        {"image_seq_len": 3},
        special=("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
        names={"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
        end="<end_of_utterance>",
    ),
    "idefics3": _idefics("Idefics3Processor", "Idefics3ImageProcessorPil"),
    "smolvlm": _idefics("SmolVLMProcessor", "SmolVLMImageProcessorPil"),
}
