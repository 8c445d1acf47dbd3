"""Llama 3.2 Vision (mllama): pictures enter by cross-attention."""

from __future__ import annotations

from support.builders.vlms.shapes import EXACT, HIDDEN, VISION, Small, text

_LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<|image|>{% else %}{{ item['text'] }}"
    "{% endif %}{% endfor %}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

MODELS: dict[str, Small] = {
    "mllama": Small(
        "<|image|>",
        _LLAMA,
        lambda token: {
            "vision_config": {
                "model_type": "mllama_vision_model",
                **VISION,
                "attention_heads": VISION["num_attention_heads"],
                "num_global_layers": 1,
                "intermediate_layers_indices": [0],
                "vision_output_dim": 2 * HIDDEN,
            },
            "text_config": text("mllama_text_model", token, num_hidden_layers=4, cross_attention_layers=[1, 3]),
            "image_token_index": token("<|image|>"),
        },
        "MllamaImageProcessorPil",
        EXACT,
        "MllamaProcessor",
        special=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
        end="<|eot_id|>",
        beyond=("<|image|>",),
    ),
}
