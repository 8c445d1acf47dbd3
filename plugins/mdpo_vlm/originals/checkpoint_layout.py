"""What original checkpoints look like, as far as their configuration and file names tell."""

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
    """The checkpoints of one project.

    ``key``: the key of config.json that names the language model, and ``languages``: its values, with the model type in
    transformers. ``covered``: for further keys, the values that this code is right for; None is an absent key.
    ``drop_last``: features are the states behind the vision tower's last layer but one, and the last is dropped;
    otherwise ``mm_vision_select_layer`` says which. ``ends_in_prompts``: False takes end tokens out of ready-made
    prompts.
    """

    key: Literal["model_type", "architectures"]
    languages: Mapping[str, str]
    tower: Literal["siglip", "clip"]
    covered: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    drop_last: bool = False
    ends_in_prompts: bool = True


@dataclass(frozen=True)
class Original:
    """A checkpoint: its folder, its config.json, and the vision tower that the recipe names, if it does."""

    layout: CheckpointLayout
    name: str
    folder: Path
    config: Mapping[str, Any]
    vision_tower: str | None

    @property
    def language(self) -> str:
        """The language model's type in transformers."""
        return self.layout.languages[self._language()]

    def _language(self) -> str:
        found = self.config.get(self.layout.key)
        return str(found[0] if isinstance(found, list) and found else found)

    def require_covered(self) -> None:
        """Raise `DataError` with every key whose value this code is not right for."""
        problems = list(self._problems())
        if problems:
            raise DataError(problems)

    def _problems(self) -> Iterator[Problem]:
        where, language = str(self.folder / "config.json"), self._language()
        if language not in self.layout.languages:
            known = " or ".join(map(repr, self.layout.languages))
            yield Problem(where, "", f"{self.layout.key} is {language!r}; of original checkpoints {known} are covered")
        for key, values in {**_COVERED, **self.layout.covered}.items():
            found = self.config.get(key)
            if not any(found is value or found == value for value in values):
                yield Problem(where, "", f"{key} is {found!r}; covered is {' or '.join(map(repr, values))}")

    def weights(self) -> list[Path]:
        """Raises `DataError` if there are none, or shards are missing."""
        return files_of_weights(self.folder)

    @property
    def tower_name(self) -> str:
        return str(self.vision_tower or self.config.get("mm_vision_tower"))

    def local_tower(self) -> Path | None:
        """The tower's folder, if its name is one: beside the checkpoint's files, or as a path. No hub is asked."""
        places = (
            (Path(self.tower_name),) if self.vision_tower else (self.folder / self.tower_name, Path(self.tower_name))
        )
        return next((place for place in places if (place / "config.json").is_file()), None)

    def find_tower(self) -> Path:
        """The tower's folder, from the hub if need be. Raises `DataError`."""
        found = self.local_tower()
        if found is not None:
            return found
        try:
            return find_folder(self.tower_name)
        except DataError as error:
            key = "model.vision_tower" if self.vision_tower else "mm_vision_tower"
            text = f"{key} is {self.tower_name!r}, {error.problems[0].message}; set model.vision_tower to its folder"
            raise unfit(self.folder, text) from error


def files_of_weights(folder: Path) -> list[Path]:
    """Safetensors if there are any, or else ``pytorch_model*.bin``."""
    if any((folder / name).is_file() for name in WEIGHTS):
        return list(weight_files(folder))
    if any((folder / name).is_file() for name in _BIN):
        return list(weight_files(folder, _BIN))
    raise unfit(folder, f"no weights: none of {', '.join((*WEIGHTS, *_BIN))} is there")
