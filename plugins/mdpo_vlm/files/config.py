"""The configuration of a model: read, and refused if it asks for what no model has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from mdpo_core import DataError, Problem
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import read_json, unfit

# The largest value of the keys that a pattern matches; the first pattern counts. Larger values fill the memory or take
# hours to build, and no model has them.
_LIMITS = (
    (re.compile(r"num_labels$"), 10**5),
    (re.compile(r"layers$|depths?$"), 1000),
    (re.compile(r"(^|_)size$|_dim$|channels?$|heads$|experts$"), 10**7),
    (re.compile(r"image_seq_length$|num_image_tokens$"), 10**6),
    (re.compile(r""), 10**12),
)
# Names of attention in transformers. It fetches every other name from the hub, as code.
_ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")
_GENERATION = "generation_config.json"
_SECONDS = 6.0
_LARGEST_SETTING = 1000


def load_config(folder: Path) -> PreTrainedConfig:
    """The configuration as transformers reads it. Raises `DataError`."""
    file, generation = folder / "config.json", folder / _GENERATION
    files = [file, generation] if generation.exists() else [file]
    return deepcopy(_config(folder, *(json.dumps(read_json(each)) for each in files)))


@lru_cache(maxsize=4)  # a run asks for one or two folders, many times
def _config(folder: Path, *contents: str) -> PreTrainedConfig:
    """The same, of files with these ``contents``."""
    file = folder / "config.json"
    require_sane(file, read_json(file))
    with reading(file, "transformers cannot read it", [file], _SECONDS) as staged:
        config = AutoConfig.from_pretrained(staged, trust_remote_code=False)
        text = config.get_text_config()
        _require_tokens(file, config, text)
        _require_rope(file, text)
    # Exported adapters name this folder.
    config.name_or_path = str(folder)
    return config


def require_sane(file: Path, content: Mapping[str, Any]) -> None:
    """Raise `DataError` with everything in the ``content`` of a configuration that mdpo does not load."""
    problems = [Problem(str(file), "", problem) for problem in _problems(content, "")]
    if problems:
        raise DataError(problems)


def _problems(values: Mapping[str, Any], path: str) -> Iterator[str]:
    """Everything in a configuration, or in a part of it at ``path``, that mdpo does not load."""
    for key, value in values.items():
        name = f"{path}{key}"
        if key == "quantization_config" and value:
            yield f"{name}: the weights are quantized, and mdpo does not train them; use those that they were made from"
        elif key.endswith("attn_implementation"):
            yield from _attention_problems(name, value)
        elif isinstance(value, Mapping):
            yield from _problems(value, f"{name}.")
        else:
            yield from _size_problems(name, key, value)


def _attention_problems(name: str, value: object) -> Iterator[str]:
    for each in value.values() if isinstance(value, Mapping) else (value,):
        if each is not None and each not in _ATTENTIONS:
            yield f"{name} is {each!r}, which is not one of {', '.join(_ATTENTIONS)}; remove it"


def _size_problems(name: str, key: str, value: object) -> Iterator[str]:
    limit = next(limit for pattern, limit in _LIMITS if pattern.search(key))
    for number in value if isinstance(value, list) else (value,):
        if isinstance(number, int) and abs(number) > limit:
            yield f"{name} is {number}; mdpo takes at most {limit}, more than any model has"


def embedding_rows(text: PreTrainedConfig) -> int:
    """The number of tokens that can be read. Llama 3.2 Vision and Molmo 2 have more, which they do not write."""
    more = {"mllama_text_model": 8, "molmo2_text": getattr(text, "additional_vocab_size", 0)}
    return int(text.vocab_size) + more.get(text.model_type, 0)


def image_token_id(config: PreTrainedConfig) -> Any:
    """The token that stands for one feature of an image; None if the model has none. Phi-4's encoder names it."""
    vision = getattr(config, "vision_config", None)
    return getattr(config, "image_token_id", getattr(vision, "image_token_id", None))


def _require_tokens(file: Path, config: PreTrainedConfig, text: PreTrainedConfig) -> None:
    """Raise `DataError` for a token that is not a row of the embedding."""
    rows = getattr(text, "vocab_size", None)
    if not isinstance(rows, int) or rows < 1:
        raise unfit(file, f"vocab_size is {rows!r}; it must be the number of rows of the embedding")
    rows = embedding_rows(text)
    _require_rows(file, "the image token", image_token_id(config), rows)
    # torch counts negative rows from the end; old configurations have -1.
    _require_rows(file, "pad_token_id", getattr(text, "pad_token_id", None), rows, least=-1)
    generation = file.with_name(_GENERATION)
    if generation.exists():
        # transformers would go on without a file that it cannot read.
        _require_generation(generation, read_json(generation), rows)


def _require_generation(file: Path, settings: Mapping[str, Any], rows: int) -> None:
    """Raise `DataError` for settings with which no answer can be generated."""
    for name in ("bos_token_id", "eos_token_id"):
        _require_rows(file, name, settings.get(name), rows)
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        tokens = settings.get(name)
        if tokens is not None and not isinstance(tokens, list):
            raise unfit(file, f"{name} is {tokens!r}; it must be a list of tokens")
        _require_rows(file, name, tokens, rows, least=-1)
    for name, kind in (("num_beams", int), ("repetition_penalty", int | float)):
        number = settings.get(name)
        if number is not None and not (isinstance(number, kind) and 0 < number < _LARGEST_SETTING):
            raise unfit(file, f"{name} is {number!r}; it must be a number above 0, and below {_LARGEST_SETTING}")
    if settings.get("stop_strings") is not None:
        raise unfit(
            file, "stop_strings end answers at a text, which mdpo does not do; remove them, or set eos_token_id"
        )


def _require_rows(file: Path, name: str, tokens: object, rows: int, least: int = 0) -> None:
    for token in tokens if isinstance(tokens, list) else (tokens,):
        if token is not None and (not isinstance(token, int) or not least <= token < rows):
            raise unfit(file, f"{name} is {token!r}, but the embedding has {rows} rows (vocab_size)")


def ropes(text: PreTrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The parameters of scaled positions (RoPE): of all layers, or of each type of layer."""
    parameters = getattr(text, "rope_parameters", None)
    if isinstance(parameters, Mapping):
        yield parameters
        yield from (each for each in parameters.values() if isinstance(each, Mapping))


def _require_rope(file: Path, text: PreTrainedConfig) -> None:
    """Raise `DataError` for lists of factors of another length: a list of one would be used for all frequencies."""
    for rope in ropes(text):
        for name in ("short_factor", "long_factor"):
            factors = rope.get(name)
            if not isinstance(factors, list):
                continue
            size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
            wanted = int(size * (rope.get("partial_rotary_factor") or 1)) // 2
            if len(factors) != wanted:
                raise unfit(file, f"{name} has {len(factors)} numbers for {wanted} frequencies")


def require_same_kind(config: PreTrainedConfig, base: PreTrainedConfig, folder: Path) -> None:
    """Raise `DataError` if an exported model is of another kind than the model that it was trained from."""
    for name, found, wanted in (
        ("model_type", config.model_type, base.model_type),
        ("vocab_size", config.get_text_config().vocab_size, base.get_text_config().vocab_size),
        ("the image token", image_token_id(config), image_token_id(base)),
    ):
        if found != wanted:
            message = f"{name} is {found!r}, but {wanted!r} in the recipe's model; it was not exported from a run of it"
            raise unfit(folder / "config.json", message)


def ties_head(folder: Path) -> bool:
    """Whether ``config.json`` says that head and embedding are one tensor, not only its class by default."""
    written = read_json(folder / "config.json")
    text = written.get("text_config") or {}
    return bool(written.get("tie_word_embeddings", text.get("tie_word_embeddings")))
