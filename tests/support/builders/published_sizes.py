"""Folders of published models without weights: the sizes of their configurations, small vocabularies of text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.builders.small_vlms import build_vlm


@dataclass(frozen=True)
class Sizes:
    """What differs from the small model of ``family`` in the tests: entries of its configuration files."""

    family: str
    text: dict[str, Any]
    vision: dict[str, Any]
    top: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    audio: dict[str, Any] = field(default_factory=dict)


def _text(hidden: int, wide: int, layers: int, heads: int, of_keys: int, words: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": of_keys,
        "vocab_size": words,
        "max_position_embeddings": 32768,
        "head_dim": hidden // heads,
        "layer_types": None,
        **more,
    }


def _tower(hidden: int, wide: int, layers: int, heads: int, side: Any, patch: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": side,
        "patch_size": patch,
    }


def _llava(*text: int) -> Sizes:
    side = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    tower = _tower(1024, 4096, 24, 16, 336, 14)
    return Sizes("llava", _text(*text), tower, {"image_seq_length": 576}, side)  # type: ignore[arg-type]


def _qwen2_5(text: dict[str, Any], wide: int) -> Sizes:
    head = text["hidden_size"] // text["num_attention_heads"]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [head // 8, head * 3 // 16, head * 3 // 16]}
    tower = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": wide,
        "num_heads": 16,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "out_hidden_size": text["hidden_size"],
    }
    pixels = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}, "patch_size": 14, "merge_size": 2}
    return Sizes("qwen2_5_vl", {**text, "rope_parameters": rope}, tower, images=pixels)


def _qwen3() -> Sizes:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}
    tower = {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "patch_size": 16,
        "out_hidden_size": 4096,
        "deepstack_visual_indexes": [8, 16, 24],
        "num_position_embeddings": 2304,
    }
    pixels = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16, "merge_size": 2}
    text = _text(4096, 12288, 36, 32, 8, 151936, head_dim=128, rope_parameters=rope)
    return Sizes("qwen3_vl", text, tower, images=pixels)


def _internvl() -> Sizes:
    tower = _tower(1024, 4096, 24, 16, [448, 448], [14, 14])
    images = {"size": {"height": 448, "width": 448}, "crop_to_patches": True, "max_patches": 12}
    text = _text(3584, 18944, 28, 28, 4, 151674)
    return Sizes("internvl", text, tower, {"image_seq_length": 256}, images, {"image_seq_length": 256})


def _gemma3() -> Sizes:
    text = _text(3840, 15360, 48, 16, 8, 262208, head_dim=256, sliding_window=1024)
    images = {"size": {"height": 896, "width": 896}, "image_seq_length": 256}
    tower = _tower(1152, 4304, 27, 16, 896, 14)
    return Sizes("gemma3", text, tower, {"mm_tokens_per_image": 256}, images, {"image_seq_length": 256})


def _llava_next() -> Sizes:
    tiles = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    side = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    top = {"image_seq_length": 576, "image_grid_pinpoints": tiles}
    text, tower = _text(4096, 14336, 32, 32, 8, 32064), _tower(1024, 4096, 24, 16, 336, 14)
    return Sizes("llava_next", text, tower, top, {**side, "image_grid_pinpoints": tiles})


def _mistral3() -> Sizes:
    text = _text(5120, 32768, 40, 32, 8, 131072, head_dim=128, max_position_embeddings=131072)
    tower = {**_tower(1024, 4096, 24, 16, 1540, 14), "head_dim": 64, "hidden_act": "silu"}
    return Sizes("mistral3", text, tower, images={"size": {"longest_edge": 1540}})


def _qwen3_5() -> Sizes:
    rope = {"rope_type": "default", "rope_theta": 1e7, "mrope_section": [11, 11, 10], "partial_rotary_factor": 0.25}
    linear = {
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
    }
    text = _text(4096, 12288, 32, 16, 4, 248320, head_dim=256, rope_parameters=rope, **linear)
    tower = {name: size for name, size in _qwen3().vision.items() if name != "deepstack_visual_indexes"}
    return Sizes("qwen3_5", text, tower, images=_qwen3().images)


def _gemma4() -> Sizes:
    of_each_layer = {"vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256}
    window = {"sliding_window": 512, "use_bidirectional_attention": None}
    attention = {"head_dim": 256, "num_kv_shared_layers": 18, **window}
    # Every sixth layer attends to all tokens, with wider heads.
    wider = {"per_layer_config": {str(number): {"head_dim": 512} for number in range(5, 42, 6)}}
    text = _text(2560, 10240, 42, 8, 2, 262144, tie_word_embeddings=True, **of_each_layer, **attention, **wider)
    tower = {
        **_tower(768, 3072, 16, 12, None, 16),
        "num_key_value_heads": 12,
        "head_dim": 64,
        "pooling_kernel_size": 3,
        "position_embedding_size": 10240,
    }
    images = {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 280}
    audio = {
        "hidden_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "subsampling_conv_channels": [128, 32],
        "output_proj_dims": 1536,
    }
    return Sizes("gemma4", text, tower, images=images, audio=audio)


def _smolvlm() -> Sizes:
    text, tower = _text(2048, 8192, 24, 32, 32, 49280), _tower(1152, 4304, 27, 16, 384, 14)
    images = {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}}
    return Sizes("smolvlm", text, tower, {"scale_factor": 3}, images, {"image_seq_len": 81})


PUBLISHED = {
    "LLaVA-1.5 7B": _llava(4096, 11008, 32, 32, 32, 32064),
    "LLaVA-1.5 13B": _llava(5120, 13824, 40, 40, 40, 32064),
    "Qwen2.5-VL 3B": _qwen2_5(_text(2048, 11008, 36, 16, 2, 151936, tie_word_embeddings=True), 3420),
    "Qwen2.5-VL 7B": _qwen2_5(_text(3584, 18944, 28, 28, 4, 152064), 3420),
    "Qwen2.5-VL 32B": _qwen2_5(_text(5120, 27648, 64, 40, 8, 152064), 3456),
    "Qwen2.5-VL 72B": _qwen2_5(_text(8192, 29568, 80, 64, 8, 152064), 3456),
    "Qwen3-VL 8B": _qwen3(),
    "InternVL3 8B": _internvl(),
    "Gemma 3 12B": _gemma3(),
    "LLaVA-NeXT 7B": _llava_next(),
    "Qwen3.5 9B": _qwen3_5(),
    "Gemma 4 E4B": _gemma4(),
    "SmolVLM2 2.2B": _smolvlm(),
    "Mistral Small 3.1 24B": _mistral3(),
}


def write_folder(sizes: Sizes, folder: Path) -> Path:
    """A model's folder with its published sizes, and without weights."""
    build_vlm(sizes.family, folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    words = config["text_config"]["vocab_size"]
    config |= sizes.top
    config["text_config"] |= sizes.text
    config["text_config"].pop("layer_types", None)
    config["vision_config"] |= {name: size for name, size in sizes.vision.items() if size is not None}
    if sizes.audio:
        config["audio_config"] |= sizes.audio
    config["tie_word_embeddings"] = sizes.text.get("tie_word_embeddings", sizes.family == "gemma3")
    assert config["text_config"]["vocab_size"] >= words
    (folder / "config.json").write_text(json.dumps(config))
    for name, changes in (("preprocessor_config.json", sizes.images), ("processor_config.json", sizes.processor)):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder
