"""Whether mdpo can compute a model at all, by its ``config.json`` alone: no weights are read, and no code of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mdpo_vlm.families import FAMILIES, refusal
from mdpo_vlm.files.folder import read_json, unfit

# Layouts of models' authors, and the adapters that read them.
_ORIGINALS = {"llava_llama": "llava", "bunny": "bunny"}
_LETTERS = 80  # of a name; those of transformers have at most 40
_ALIKE = 0.4  # of 1: less similar names have nothing in common


def require_known(file: Path) -> None:
    """Raise `DataError` for a ``config.json`` of a model that `chat_vlm` cannot compute, with the reason."""
    config = read_json(file)
    if reason := _reason(config):
        raise unfit(file, reason)


def _reason(config: Mapping[str, Any]) -> str:
    """Why a model with this configuration cannot be used; empty if it can be tried."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        return "model_type is missing, so nobody can tell which model this is; download the file again"
    if len(model_type) > _LETTERS:
        return f"model_type is {len(model_type)} letters long, '{model_type[:_LETTERS]} ...'; download the file again"
    if refused := refusal(config):
        return f"models of type '{model_type}' are not supported: {refused}"
    for original, adapter in _ORIGINALS.items():
        if model_type.startswith(original):
            return f"model_type is '{model_type}', the layout of the model's authors; use adapter: {adapter}"
    return "" if model_type in FAMILIES else _reason_without_row(model_type, config)


def _reason_without_row(model_type: str, config: Mapping[str, Any]) -> str:
    """The same for a model type that mdpo has no row for. It is tried if transformers has it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if model_type not in CONFIG_MAPPING:
        near = nearest(model_type, CONFIG_MAPPING_NAMES if not config.get("auto_map") else FAMILIES)
        if config.get("auto_map"):
            return (
                f"models of type '{model_type}' need code that their authors put beside them (auto_map), which mdpo "
                f"does not run; {near}"
            )
        return f"transformers has no models of type '{model_type}'; install a newer one, or correct model_type; {near}"
    if model_type not in CONFIG_MAPPING_NAMES:
        return ""  # a plugin has told transformers of it
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return (
            f"models of type '{model_type}' take no images, or write no texts about them: transformers has no "
            "AutoModelForImageTextToText for them; choose a vision-language model"
        )
    return ""


def nearest(model_type: str, known: Collection[str]) -> str:
    """What to look at instead of an unknown type: the one with the most similar name, or the page with all of them."""
    found = get_close_matches(model_type.lower(), known, n=1, cutoff=_ALIKE)
    if found:
        return f"the nearest type is '{found[0]}'"
    return "docs/guides/models.md lists the families that were tried"
