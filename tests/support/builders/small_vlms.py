"""Small real models of every family that `chat_vlm` names, as a user finds them: random weights, real processors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from support.builders.small_llava import TEXT

HIDDEN, LAYERS, HEADS, SIDE, PATCH = 32, 2, 4, 28, 14
_TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
_QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": PATCH, "spatial_merge_size": 2, "temporal_patch_size": 2}
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}IMAGE{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_SMOL = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<image>{% else %} {{ item['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True)
class Small:
    """How a family's small model is built. ``end``: what ends a turn; ``names``: special tokens that have a name."""

    image: str
    template: str | None
    config: Callable[[Callable[[str], int]], dict[str, Any]]
    image_processor: str
    image_options: Mapping[str, Any]
    processor: str
    processor_options: Mapping[str, Any] = field(default_factory=dict)
    special: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    end: str = "<|im_end|>"


def _clip(kind: str = "clip_vision_model", **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **_VISION, **more}


def _text(kind: str, token: Callable[[str], int], **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **_TEXT, **more}


_SQUARE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
_EXACT = {"size": {"height": SIDE, "width": SIDE}}
_PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
_PIXELS = {"shortest_edge": 4 * PATCH * PATCH, "longest_edge": 36 * PATCH * PATCH}
_QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_VIDEO = "{% elif item['type'] == 'video' %}" + _QWEN_IMAGE.replace("image_pad", "video_pad") + "{% else %}"


def _qwen(kind: str, text: str, **vision: Any) -> Small:
    def config(token: Callable[[str], int]) -> dict[str, Any]:
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
        return {
            "vision_config": {**_QWEN_VISION, **vision},
            "text_config": _text(text, token, rope_parameters=rope, head_dim=HIDDEN // HEADS),
            "image_token_id": token("<|image_pad|>"),
            "video_token_id": token("<|video_pad|>"),
            "vision_start_token_id": token("<|vision_start|>"),
            "vision_end_token_id": token("<|vision_end|>"),
        }

    patch = vision.get("patch_size", PATCH)
    pixels = {"shortest_edge": 4 * patch * patch, "longest_edge": 36 * patch * patch}
    return Small(
        "<|image_pad|>",
        _CHATML.replace("IMAGE", _QWEN_IMAGE).replace("{% else %}", _QWEN_VIDEO),
        config,
        "Qwen2VLImageProcessorPil",
        {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2, "size": pixels},
        kind,
        special=_QWEN_TOKENS,
    )


def _idefics(kind: str, image_processor: str) -> Small:
    def config(token: Callable[[str], int]) -> dict[str, Any]:
        return {
            "vision_config": _clip("idefics3_vision" if kind == "Idefics3Processor" else "smolvlm_vision"),
            "text_config": _text("llama", token),
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


SMALL: dict[str, Small] = {
    "llava": Small(
        "<image>",
        _CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": _clip(),
            "text_config": _text("llama", token),
            "image_token_id": token("<image>"),
            "image_seq_length": 4,
        },
        "CLIPImageProcessorPil",
        _SQUARE,
        "LlavaProcessor",
        {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        special=("<image>",),
        names={"image_token": "<image>"},
    ),
    "llava_next": Small(
        "<image>",
        _CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": _clip(),
            "text_config": _text("mistral", token, sliding_window=None),
            "image_token_id": token("<image>"),
            "image_grid_pinpoints": _PINPOINTS,
            "image_seq_length": 4,
        },
        "LlavaNextImageProcessorPil",
        {**_SQUARE, "image_grid_pinpoints": _PINPOINTS},
        "LlavaNextProcessor",
        {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        special=("<image>",),
        names={"image_token": "<image>"},
    ),
    "llava_onevision": Small(
        "<image>",
        _CHATML.replace("IMAGE", "<image>"),
        lambda token: {
            "vision_config": _clip("siglip_vision_model", vision_use_head=False),
            "text_config": _text("qwen2", token),
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
    "qwen2_vl": _qwen("Qwen2VLProcessor", "qwen2_vl_text", embed_dim=HIDDEN, hidden_size=HIDDEN),
    "qwen2_5_vl": _qwen(
        "Qwen2_5_VLProcessor",
        "qwen2_5_vl_text",
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        out_hidden_size=HIDDEN,
        fullatt_block_indexes=[1],
        window_size=4 * PATCH,
    ),
    "qwen3_vl": _qwen(
        "Qwen3VLProcessor",
        "qwen3_vl_text",
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        out_hidden_size=HIDDEN,
        deepstack_visual_indexes=[0],
        num_position_embeddings=64,
        patch_size=16,
    ),
    "internvl": Small(
        "<IMG_CONTEXT>",
        _CHATML.replace("IMAGE", "<IMG_CONTEXT>"),
        lambda token: {
            "vision_config": {
                "model_type": "internvl_vision",
                **_VISION,
                "image_size": [SIDE, SIDE],
                "patch_size": [PATCH, PATCH],
            },
            "text_config": _text("qwen2", token),
            "image_token_id": token("<IMG_CONTEXT>"),
            "image_seq_length": 1,
            "downsample_ratio": 0.5,
        },
        "GotOcr2ImageProcessorPil",
        {**_EXACT, "crop_to_patches": True, "max_patches": 4},
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
    "idefics3": _idefics("Idefics3Processor", "Idefics3ImageProcessorPil"),
    "smolvlm": _idefics("SmolVLMProcessor", "SmolVLMImageProcessorPil"),
    "gemma3": Small(
        "<image_soft_token>",
        _GEMMA,
        lambda token: {
            "vision_config": _clip("siglip_vision_model", vision_use_head=False),
            "text_config": _text("gemma3_text", token, head_dim=8, sliding_window=16),
            "image_token_index": token("<image_soft_token>"),
            "boi_token_index": token("<start_of_image>"),
            "eoi_token_index": token("<end_of_image>"),
            "mm_tokens_per_image": 4,
        },
        "Gemma3ImageProcessorPil",
        _EXACT,
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
            "vision_config": _clip("siglip_vision_model", vision_use_head=False),
            "text_config": _text("gemma", token, head_dim=8),
            "image_token_id": token("<image>"),
            "projection_dim": HIDDEN,
            "hidden_size": HIDDEN,
        },
        "SiglipImageProcessorPil",
        {**_EXACT, "image_seq_length": 4},
        "PaliGemmaProcessor",
        special=("<image>",),
        names={"image_token": "<image>"},
        end="<eos>",
    ),
}

# A family that has no row.
NAMELESS: dict[str, Small] = {
    "vipllava": replace(
        SMALL["llava"],
        config=lambda token: {
            "vision_config": _clip(),
            "text_config": _text("llama", token),
            "image_token_id": token("<image>"),
            "image_seq_length": 4,
            "vision_feature_layers": [-2, -1],
        },
    ),
}


# One for each way of scoring: positions of transformers' own, M-RoPE, and prompts that cannot be shared.
MECHANISMS = ("gemma3", "llava", "qwen2_5_vl")


NIGHTLY = pytest.mark.nightly(reason="a family of the same mechanism is tried more often")


def one_family_of_each_mechanism(*marks: pytest.MarkDecorator, others: pytest.MarkDecorator = NIGHTLY) -> list[Any]:
    """All families as parameters; those of `MECHANISMS` have ``marks``, the rest the mark ``others``."""
    return [pytest.param(name, marks=marks if name in MECHANISMS else others) for name in sorted(SMALL)]


def build_vlm(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a family's small model, tokenizer and image processor into ``folder``."""
    small = {**SMALL, **NAMELESS}[family]
    tokenizer = _tokenizer(small)
    _save_processor(small, tokenizer, folder)
    config = CONFIG_MAPPING[family](**small.config(tokenizer.convert_tokens_to_ids))
    config.get_text_config().vocab_size = len(tokenizer)
    config.get_text_config().eos_token_id = tokenizer.convert_tokens_to_ids(small.end)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Logits of some size: with the usual tiny weights every answer is about as likely as any other. Nor may
            # a projector of zeros (Gemma 3's) hide the picture.
            if parameter.ndim >= 2:
                parameter.mul_(4) if parameter.any() else parameter.normal_(std=0.1)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(small.end)
    model.save_pretrained(folder)
    return folder


def _tokenizer(small: Small) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<unk>", "<|im_start|>", "<|im_end|>", *small.special]
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token=small.end,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=dict(small.names),
        chat_template=small.template,
    )


def _save_processor(small: Small, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The parts: processors that take videos, too, cannot be made without torchvision."""
    tokenizer.save_pretrained(folder)
    module = next(name for name in _pil_modules() if hasattr(import_module(name), small.image_processor))
    getattr(import_module(module), small.image_processor)(**small.image_options).save_pretrained(folder)
    kept = {"processor_class": small.processor, **small.processor_options}

    (folder / "processor_config.json").write_text(json.dumps(kept))


def _pil_modules() -> list[str]:
    root = Path(transformers.__file__).parent
    return [
        ".".join(("transformers", *file.relative_to(root).with_suffix("").parts))
        for file in sorted(root.glob("models/*/image_processing_pil_*.py"))
    ]
