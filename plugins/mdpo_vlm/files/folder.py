"""The files of a model: found on the disk or the hub, and read without loading the model."""

from __future__ import annotations

import json
import os
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
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# That of a large vocabulary has 30 MB.
_LARGEST_JSON = 512 * 2**20
_DEEPEST_JSON = 64
_LONGEST_NAME = 255  # bytes in the name of a file
_TOO_DEEP = "brackets in it are nested too deeply"
_PATTERNS = ["*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt"]


def find_folder(name: str) -> Path:
    """The folder ``name``, or the local copy of a model on the hub, downloaded if necessary. Raises `DataError`."""
    path = Path(name)
    try:
        if path.is_dir():
            return path
    except OSError as error:  # the name is too long, or a folder above it is closed to this account
        reason = f"cannot be looked for: {error.strerror}; give the folder of a model, or its name on the hub"
        raise unfit(Path(name[:_LONGEST_NAME]), reason) from error
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not path.parent.is_dir():
        return _from_hub(name)
    if path.is_file():
        raise unfit(path, "is a file; give the folder of a model, or its name on the hub")
    nearest = next((parent for parent in path.parents if parent.is_dir()), Path()).absolute()
    begins = "" if path.is_absolute() else "; paths begin where the command runs"
    raise unfit(path, f"the folder does not exist (the nearest folder that exists: {nearest}){begins}")


def from_folder(name: str, folder: Path) -> str:
    """``name``, or the path of ``folder / name`` if this is a folder, and ``name`` alone leads to none."""
    inner = folder / name
    # os.path takes names that no path can have.
    if os.path.isdir(name) or not os.path.isdir(inner):  # noqa: PTH112
        return name
    return str(inner.resolve())  # a path through .. would need ``folder`` later, too


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises `DataError` if the file is missing, or contains anything else."""
    require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = _TOO_DEEP if isinstance(error, RecursionError) else error
        raise unfit(path, f"cannot be read: {reason}; download it again") from error
    if not isinstance(content, dict):
        raise unfit(path, "is not a JSON object; download it again")
    _require_shallow(path, content)
    return content


def _require_shallow(path: Path, content: dict[str, Any]) -> None:
    """Raise `DataError` for values nested so deeply that functions which call themselves would fail on them.

    Python 3.12 reads them without an error.
    """
    level: list[Any] = [content]
    for _ in range(_DEEPEST_JSON):
        values = [value for each in level for value in (each.values() if isinstance(each, dict) else each)]
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise unfit(path, f"cannot be read: {_TOO_DEEP}; download it again")


def require_file(path: Path) -> None:
    """Raise `DataError` unless this is a regular file: reading a pipe, for example, would never end."""
    if path.is_file():
        if path.suffix == ".json" and path.stat().st_size > _LARGEST_JSON:
            raise unfit(path, f"has {path.stat().st_size} bytes, more than such a file of any model; download it again")
        return
    if path.exists() or path.is_symlink():
        raise unfit(path, "is not a file, or a link to nothing; download it again")
    raise unfit(path, "is missing; a model's folder needs it")


def weight_files(folder: Path, names: tuple[str, str] = WEIGHTS) -> Sequence[Path]:
    """The file of all weights, or the shards that an index names.

    Raises `DataError` if a file is missing, or if the folder contains both, so that programs differ in what they load.
    """
    single, index = (folder / name for name in names)
    if index.is_file():
        shards = [folder / shard for shard in _shards(index)]
        missing = [
            Problem(str(file), "", f"missing, although {index.name} names it") for file in shards if not file.is_file()
        ]
        if missing:
            raise DataError(missing)
        if single.exists() and shards != [single]:
            both = f"contains {single.name} and {index.name}, which names other files; remove one of them"
            raise unfit(folder, f"{both}: programs differ in which they load")
        return shards
    if not single.exists():
        raise unfit(folder, f"no weights: neither {single.name} nor {index.name} exists{_instead(folder, names)}")
    require_file(single)
    return [single]


def has_weights(folder: Path) -> bool:
    """Whether the folder contains weights, or a list of them; without them only `ModelAdapter.sketch` works."""
    return any((folder / name).exists() for name in WEIGHTS)


def _instead(folder: Path, names: tuple[str, str]) -> str:
    """What to do with weights of the old format that lie in the folder; empty if there are none."""
    old = sorted(file.name for file in folder.glob("*.bin"))
    if not old or names != WEIGHTS:
        return ""
    return (
        f", only {old[0]}; convert it: load the model in transformers by from_pretrained, and write it by "
        "save_pretrained, which makes safetensors files"
    )


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise unfit(index, "weight_map must name the file of every tensor; download it again")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name in names:
        if (
            Path(name).name != name
            or "\\" in name
            or "\0" in name
            or len(name.encode(errors="replace")) > _LONGEST_NAME
        ):
            raise unfit(
                index, f"names {name[:200]!r}, which is not a file of this folder; shards must lie beside the index"
            )
        if not name.endswith(suffix):
            raise unfit(index, f"names {name!r}, which is not a {suffix} file; download the model again")
    return sorted(set(names))


def model_files(folder: Path) -> list[Path]:
    """The files from which a model is loaded: configurations and weights. Raises `DataError` if one is missing."""
    weights = weight_files(folder)
    index = [] if weights == [folder / WEIGHTS[0]] else [folder / WEIGHTS[1]]
    settings = [folder / name for name in ("config.json", "generation_config.json")]
    present = [file for file in settings if file.exists()]
    for file in present:
        require_file(file)
    return [*present, *index, *weights]


def full_name(path: str, folder: Path) -> str:
    """The hub name or the absolute path of the model in ``folder``, which a recipe calls ``path``."""
    # The hub's cache is a folder of this machine, and a relative path one of this working directory.
    is_of_hub = folder.parent.name == "snapshots" and not Path(path).is_dir()
    return path if is_of_hub else str(folder.absolute())


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder contains the settings of a tokenizer."""
    return (folder / "tokenizer_config.json").is_file()


def has_processor(folder: Path) -> bool:
    """Whether a folder contains the settings of a processor."""
    return any((folder / name).is_file() for name in _PROCESSORS)


def require_encoder(folder: Path) -> None:
    """Raise `DataError` if the settings of the tokenizer or of the image processor are missing."""
    if not has_tokenizer(folder):
        raise unfit(folder, "tokenizer_config.json is missing; save the processor beside the model")
    # One of the two contains the image processor; the version that saved it decides which.
    processor, image_processor = (folder / name for name in _PROCESSORS)
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
    except LocalEntryNotFoundError as error:  # nothing was downloaded before, and the hub does not answer
        reason = str(error).splitlines()[0]
        text = f"the folder does not exist, and the hub could not be reached ({reason}); connect to it, or use a folder"
        raise unfit(Path(name), text) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise unfit(
            Path(name), f"the folder does not exist, and the hub does not have it ({reason}); use a folder"
        ) from error
