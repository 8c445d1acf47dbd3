"""Converts a checkpoint in its authors' layout to the layout of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig, LlavaConfig

from mdpo_vlm.files.folder import read_json
from mdpo_vlm.files.traits import TRAITS
from mdpo_vlm.originals.checkpoint_layout import Original
from mdpo_vlm.originals.config import llava_config, required
from mdpo_vlm.originals.text import image_text, load_tokenizer, save_processor
from mdpo_vlm.originals.tower import find_tower
from mdpo_vlm.originals.weights import Sources


def convert(original: Original, folder: Path) -> None:
    """Write the complete model into ``folder``. Raises `DataError` before anything large is written."""
    sources = Sources(original)
    tower = find_tower(original, inside=sources.hold_tower)
    tokenizer = load_tokenizer(original)
    image_id = tokenizer.convert_tokens_to_ids(tokenizer.image_token)
    config = llava_config(original, tower, image_id)
    text = image_text(tokenizer)
    num_words = required(original, "vocab_size")
    traits = {"num_words": num_words, "image_text": text, "ends_in_prompts": original.layout.ends_in_prompts}
    setattr(config, TRAITS, traits)
    sources.write(tower, config, num_words, folder)
    config.save_pretrained(folder)
    _generation_config(original, config, image_id).save_pretrained(folder)
    save_processor(tower, tokenizer, text, folder)


def _generation_config(original: Original, config: LlavaConfig, image_id: int) -> GenerationConfig:
    """The begin, end and padding tokens. Leaves out the sampling settings, which belong to the authors' demo."""
    settings: dict[str, Any] = dict(original.config)
    file = original.folder / "generation_config.json"
    if file.is_file():
        settings |= read_json(file)
    ids = {name: settings.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    # An added row has logits of 0, which is more than the logits of many words.
    added = config.get_text_config().vocab_size > required(original, "vocab_size")
    return GenerationConfig(**ids, **({"suppress_tokens": [image_id]} if added else {}))
