"""The files of a model: found on the disk or the hub, and read without loading the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdpo_core import DataError, Problem

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# The files of an encoder. Which of them exist depends on the model and on the version of transformers that saved it.
ENCODER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PATTERNS = ["*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt"]


def find_folder(name: str) -> Path:
    """The folder ``name``, or the local copy of a model on the hub, downloaded if necessary. Raises `DataError`."""
    path = Path(name)
    if path.is_dir():
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not path.parent.is_dir():
        return _from_hub(name)
    nearest = next((parent for parent in path.parents if parent.is_dir()), Path())
    raise unfit(path, f"no such folder (the nearest folder that exists: {nearest})")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises `DataError` if the file is missing, or contains anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "is missing; a model's folder needs it" if absent else f"cannot be read: {error}; download it again"
        raise unfit(path, reason) from error
    if not isinstance(content, dict):
        raise unfit(path, "is not a JSON object; download it again")
    return content


def weight_files(folder: Path, names: tuple[str, str] = WEIGHTS) -> Sequence[Path]:
    """The file of all weights, or the shards that an index names. Raises `DataError` if a file is missing."""
    single, index = (folder / name for name in names)
    if index.is_file():
        shards = [folder / shard for shard in _shards(index)]
        missing = [
            Problem(str(file), "", f"missing, although {index.name} names it") for file in shards if not file.is_file()
        ]
        if missing:
            raise DataError(missing)
        return shards
    if not single.is_file():
        raise unfit(folder, f"no weights: neither {single.name} nor {index.name} exists")
    return [single]


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise unfit(index, "weight_map must name the file of every tensor; download it again")
    return sorted(set(names))


def require_encoder(folder: Path) -> None:
    """Raise `DataError` if the settings of the tokenizer or of the image processor are missing."""
    if not (folder / "tokenizer_config.json").is_file():
        raise unfit(folder, "tokenizer_config.json is missing; save the processor beside the model")
    # One of the two contains the image processor; the version that saved it decides which.
    processor, image_processor = folder / "processor_config.json", folder / "preprocessor_config.json"
    if image_processor.is_file():
        return
    remedy = "save the processor beside the model"
    if not processor.is_file():
        raise unfit(folder, f"{processor.name} is missing; {remedy}")
    if "image_processor" not in read_json(processor):
        raise unfit(processor, f"contains no image processor, and {image_processor.name} does not exist; {remedy}")


def require_tokenizer(folder: Path) -> None:
    """Raise `DataError` if the folder contains no vocabulary."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise unfit(folder, f"no tokenizer: none of {', '.join(_TOKENIZERS)} exists; save it beside the model")


def encoder_files(folder: Path) -> list[Path]:
    """The files of a folder from which tokenizer and processor are loaded."""
    return [folder / name for name in ENCODER_FILES if (folder / name).is_file()]


def unfit(path: Path, message: str) -> DataError:
    """The error for one file or folder that cannot be used."""
    return DataError([Problem(str(path), "", message)])


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise unfit(Path(name), f"no such folder, and the hub does not give it ({reason}); use a folder") from error
