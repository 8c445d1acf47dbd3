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
}


def write_folder(sizes: Sizes, folder: Path) -> Path:
    """A model's folder with its published sizes, and without weights."""
    build_vlm(sizes.family, folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    words = config["text_config"]["vocab_size"]
    config |= sizes.top
    config["text_config"] |= {name: value for name, value in sizes.text.items() if value is not None}
    config["text_config"].pop("layer_types", None)
    config["vision_config"] |= sizes.vision
    config["tie_word_embeddings"] = sizes.text.get("tie_word_embeddings", sizes.family == "gemma3")
    assert config["text_config"]["vocab_size"] >= words
    (folder / "config.json").write_text(json.dumps(config))
    for name, changes in (("preprocessor_config.json", sizes.images), ("processor_config.json", sizes.processor)):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder
