"""Gemma 3 and PaliGemma."""

from __future__ import annotations

from support.builders.vlms.shapes import EXACT, HIDDEN, Small, clip, text

_GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


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
