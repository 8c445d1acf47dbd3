"""Adapters of checkpoints in their authors' layout: converted once, then used like any other model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_core import ModelSummary
from mdpo_vlm.adapter import TransformersAdapter
from mdpo_vlm.files.folder import read_json
from mdpo_vlm.files.recognition import prompts_for
from mdpo_vlm.files.traits import TRAITS
from mdpo_vlm.loading.merged import described, offer_for
from mdpo_vlm.originals.checkpoint_layout import CheckpointLayout, Original

if TYPE_CHECKING:
    from mdpo_vlm.encoding.encoder import VlmEncoder


class OriginalsAdapter(TransformersAdapter):
    """A `LlavaForConditionalGeneration`, also from a checkpoint in the layout of its authors.

    Such a checkpoint is first converted to the layout of transformers. Exports therefore always belong to a model that
    plain transformers loads.
    """

    layout: ClassVar[CheckpointLayout]
    # Model types of transformers that `mdpo new-recipe` reads with this adapter.
    made_for: ClassVar[tuple[str, ...]] = ()
    # `files` covers the contents of these folders by digest.
    only_training: ClassVar[frozenset[str]] = TransformersAdapter.only_training | {"converted", "vision_tower"}

    path: str = Field(description="a folder or a hub name, in the layout of transformers or of the model's authors")
    vision_tower: str | None = Field(
        default=None,
        description="folder or hub name of the vision tower of an original checkpoint; default: the tower that the "
        "checkpoint names",
    )
    converted: Path | None = Field(
        default=None,
        description="folder for original checkpoints after conversion; default: converted/ in $MDPO_CACHE, or in mdpo/ "
        "of the user's cache folder if that is not set",
    )

    def folder(self) -> Path:
        folder = super().folder()
        config = read_json(folder / "config.json")
        if "text_config" in config:
            return folder
        from mdpo_vlm.originals.cache import converted

        name = Path(self.path).name or folder.resolve().name
        return converted(Original(self.layout, name, folder, config, self.vision_tower), self.converted)

    @classmethod
    def summarize(cls, path: str, *, ready: bool) -> ModelSummary | None:
        folder = described(path)
        config = read_json(folder / "config.json")
        if config.get("model_type") in cls.made_for and "text_config" in config:
            about = f"a model of the type {config['model_type']}"
            return ModelSummary(about, prompts_for(folder, ready=ready), offer=offer_for(path))
        named = config.get(cls.layout.key)
        names = named if isinstance(named, list) else [named]
        if not any(name in cls.layout.languages for name in names):
            return None
        # The conversion gives every such model the template of its instruction tuning.
        about = f"{cls.__name__} as its authors published it"
        return ModelSummary(about, "ready" if ready else "chat", offer=offer_for(path))

    def check_files(self) -> None:
        self.require_model_type("llava")
        super().check_files()

    def _encoder(self, folder: Path) -> VlmEncoder:
        traits = read_json(self.folder() / "config.json").get(TRAITS)
        if traits is None:
            return super()._encoder(folder)
        from mdpo_vlm.originals.encoder import OriginalsEncoder

        chat, pixels, special = self.prompts == "chat", self.max_resized_pixels, self.special_tokens
        return OriginalsEncoder(folder, self.folder(), self.family(), chat, pixels, special, self.unusual_texts, traits)
