"""What a model's folder says of itself before an adapter is configured for it; see `ModelAdapter.summarize`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mdpo_vlm.files.folder import read_json

_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_SETTINGS = ("tokenizer_config.json", "processor_config.json")


def has_chat_template(folder: Path) -> bool:
    """Whether a chat template is among the files of a model. Raises `DataError` for a damaged file."""
    if any((folder / name).is_file() for name in _TEMPLATES):
        return True
    found = (folder / name for name in _SETTINGS if (folder / name).is_file())
    return any(read_json(file).get("chat_template") for file in found)


def prompts_for(folder: Path, *, ready: bool) -> Literal["ready", "chat"]:
    """The option ``prompts`` for ready-made texts, or for questions; a model without a template takes texts alone."""
    return "ready" if ready or not has_chat_template(folder) else "chat"
