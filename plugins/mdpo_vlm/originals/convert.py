"""A checkpoint in its authors' layout into a folder of transformers' own."""

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
    """Write the whole model into ``folder``. Raises `DataError` before anything large is written."""
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
    _generation(original, config, image_id).save_pretrained(folder)
    save_processor(tower, tokenizer, text, folder)


def _generation(original: Original, config: LlavaConfig, image_id: int) -> GenerationConfig:
    """Which tokens begin, end and pad; what it says of sampling is the authors' demo's."""
    found: dict[str, Any] = dict(original.config)
    own = original.folder / "generation_config.json"
    if own.is_file():
        found |= read_json(own)
    ids = {name: found.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    # A row that was added has logits of 0, which is more than many a word has.
    added = config.get_text_config().vocab_size > required(original, "vocab_size")
    return GenerationConfig(**ids, **({"suppress_tokens": [image_id]} if added else {}))
