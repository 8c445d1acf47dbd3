"""The configuration and the file names of original checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mdpo_core import DataError, Problem
from mdpo_vlm.files.folder import WEIGHTS, find_folder, unfit, weight_files

_BIN = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_COVERED: Mapping[str, tuple[object, ...]] = {
    "image_aspect_ratio": ("pad",),
    "mm_projector_type": ("mlp2x_gelu",),
    "tie_word_embeddings": (False, None),
    "quantization_config": (None,),
}


@dataclass(frozen=True)
class CheckpointLayout:
    """The layout of one project's checkpoints.

    ``key``: the key of config.json that names the language model. ``languages``: the model type in transformers for
    each value of ``key``. ``covered``: the supported values of further keys; None is an absent key. ``drop_last``: True
    if features come from the vision tower's second-to-last layer, and the last layer is dropped; if False,
    ``mm_vision_select_layer`` names the layer. ``ends_in_prompts``: False removes end tokens from ready-made prompts.
    """

    key: Literal["model_type", "architectures"]
    languages: Mapping[str, str]
    tower: Literal["siglip", "clip"]
    covered: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    drop_last: bool = False
    ends_in_prompts: bool = True


@dataclass(frozen=True)
class Original:
    """A checkpoint: its folder, its config.json, and the vision tower that the recipe names (or None)."""

    layout: CheckpointLayout
    name: str
    folder: Path
    config: Mapping[str, Any]
    vision_tower: str | None

    @property
    def language(self) -> str:
        """The language model's type in transformers."""
        return self.layout.languages[self._language_key()]

    def _language_key(self) -> str:
        value = self.config.get(self.layout.key)
        return str(value[0] if isinstance(value, list) and value else value)

    def require_covered(self) -> None:
        """Raise `DataError` with every key whose value is not supported."""
        problems = list(self._problems())
        if problems:
            raise DataError(problems)

    def _problems(self) -> Iterator[Problem]:
        file, language = str(self.folder / "config.json"), self._language_key()
        if language not in self.layout.languages:
            known = " or ".join(map(repr, self.layout.languages))
            yield Problem(file, "", f"{self.layout.key} is {language!r}; original checkpoints must have {known}")
        for key, supported in {**_COVERED, **self.layout.covered}.items():
            value = self.config.get(key)
            if not any(value is each or value == each for each in supported):
                yield Problem(file, "", f"{key} is {value!r}; it must be {' or '.join(map(repr, supported))}")

    def weights(self) -> list[Path]:
        """The files with the weights. Raises `DataError` if there are none, or if shards are missing."""
        return files_of_weights(self.folder)

    @property
    def tower_name(self) -> str:
        """Folder or hub name of the vision tower, from the recipe or else from the checkpoint."""
        return str(self.vision_tower or self.config.get("mm_vision_tower"))

    def local_tower(self) -> Path | None:
        """The tower's folder, if it is a path or a folder in the checkpoint; None if not. Does not use the hub."""
        named = Path(self.tower_name)
        folders = (named,) if self.vision_tower else (self.folder / self.tower_name, named)
        return next((folder for folder in folders if (folder / "config.json").is_file()), None)

    def find_tower(self) -> Path:
        """The tower's folder, downloaded from the hub if necessary. Raises `DataError`."""
        local = self.local_tower()
        if local is not None:
            return local
        try:
            return find_folder(self.tower_name)
        except DataError as error:
            key = "model.vision_tower" if self.vision_tower else "mm_vision_tower"
            message = f"{key} is {self.tower_name!r}, {error.problems[0].message}; set model.vision_tower to its folder"
            raise unfit(self.folder, message) from error


def files_of_weights(folder: Path) -> list[Path]:
    """The safetensors files, or ``pytorch_model*.bin`` if there are none. Raises `DataError` if both are missing."""
    if any((folder / name).is_file() for name in WEIGHTS):
        return list(weight_files(folder))
    if any((folder / name).is_file() for name in _BIN):
        return list(weight_files(folder, _BIN))
    raise unfit(folder, f"no weights: none of {', '.join((*WEIGHTS, *_BIN))} exists")
