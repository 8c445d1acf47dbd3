"""The vision tower of an original checkpoint: its sizes, the folder of its weights, and its image processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, SiglipVisionConfig
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from mdpo_vlm.files.folder import read_json, unfit
from mdpo_vlm.originals.checkpoint_layout import Original

_CONFIGS = {"siglip": SiglipVisionConfig, "clip": CLIPVisionConfig}
_PIXELS = {"siglip": (IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD), "clip": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)}
# Published sizes by name: weights do not show all of them (the number of heads).
_KNOWN: Mapping[str, Mapping[str, int]] = {
    "siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
    "clip-vit-large-patch14-336": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
    },
}


@dataclass(frozen=True)
class Tower:
    """A vision tower. ``folder`` contains its weights; None if the checkpoint contains them.

    ``config``: the configuration with the layers that are kept. ``drops_last``: True if the last layer is not kept.
    ``mean`` and ``std``: of the pixels, for each color.
    """

    folder: Path | None
    config: SiglipVisionConfig | CLIPVisionConfig
    drops_last: bool
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def num_patches(self) -> int:
        """Number of patches in an image."""
        return int(self.config.image_size // self.config.patch_size) ** 2


def find_tower(original: Original, inside: bool) -> Tower:
    """Find the tower. ``inside``: True if the checkpoint contains the tower's weights. Raises `DataError`."""
    layout = original.layout
    inside = inside and original.vision_tower is None
    folder = original.local_tower() if inside else original.find_tower()
    sizes = dict(_known_sizes(original) if folder is None else _sizes(folder, layout.tower))
    # These models do not use the head that pools patches; its weights are not converted.
    config = _CONFIGS[layout.tower].from_dict(sizes | ({"vision_use_head": False} if layout.tower == "siglip" else {}))
    if layout.drop_last:
        config.num_hidden_layers -= 1
    mean, std = _pixels(folder, layout.tower)
    return Tower(None if inside else folder, config, layout.drop_last, mean, std)


def _sizes(folder: Path, kind: str) -> Mapping[str, Any]:
    file = folder / "config.json"
    config = read_json(file)
    model_type = config.get("model_type")
    if model_type not in (kind, f"{kind}_vision_model"):
        raise unfit(file, f"model_type is {model_type!r}; the vision tower of this model must be a {kind}")
    return dict(config.get("vision_config", config))


def _known_sizes(original: Original) -> Mapping[str, Any]:
    known, file = _KNOWN.get(Path(original.tower_name).name), original.folder / "vision_config.json"
    if known is not None:
        return known
    if file.is_file():
        return read_json(file)
    message = (
        f"mm_vision_tower is {original.tower_name!r}, which is neither a folder nor a tower of known sizes "
        f"({', '.join(_KNOWN)}); set model.vision_tower to the tower's folder"
    )
    raise unfit(original.folder / "config.json", message)


def _pixels(folder: Path | None, kind: str) -> tuple[Sequence[float], Sequence[float]]:
    mean, std = _PIXELS[kind]
    if folder is None or not (folder / "preprocessor_config.json").is_file():
        return mean, std
    config = read_json(folder / "preprocessor_config.json")
    return config.get("image_mean", mean), config.get("image_std", std)
