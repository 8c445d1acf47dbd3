"""Adapters of checkpoints in the layout of the project that made them: converted once, then as any other model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mdpo_vlm.adapter import TransformersAdapter
from mdpo_vlm.files.folder import find_folder, read_json
from mdpo_vlm.files.traits import TRAITS
from mdpo_vlm.originals.checkpoint_layout import CheckpointLayout, Original

if TYPE_CHECKING:
    from mdpo_vlm.encoding.encoder import VlmEncoder


class OriginalsAdapter(TransformersAdapter):
    """A `LlavaForConditionalGeneration` that may also be given in the layout of its authors.

    Such a checkpoint is converted into a folder of transformers' own layout before anything else is done with it, so
    that whatever is exported belongs to a model that plain transformers loads.
    """

    layout: ClassVar[CheckpointLayout]
    # Which folders they name is told by the digests of what lies there.
    only_training: ClassVar[frozenset[str]] = TransformersAdapter.only_training | {"converted", "vision_tower"}

    path: str = Field(description="a folder or a name on the hub, in transformers' layout or in that of its authors")
    vision_tower: str | None = Field(
        default=None,
        description="folder or hub name of the vision tower of an original checkpoint; default: as the checkpoint says",
    )
    converted: Path | None = Field(
        default=None,
        description="where original checkpoints are kept in transformers' layout; default: converted/ in $MDPO_CACHE, "
        "or else in mdpo/ of the user's cache folder",
    )

    def folder(self) -> Path:
        folder = find_folder(self.path)
        config = read_json(folder / "config.json")
        if "text_config" in config:
            return folder
        from mdpo_vlm.originals.cache import converted

        name = Path(self.path).name or folder.resolve().name
        return converted(Original(self.layout, name, folder, config, self.vision_tower), self.converted)

    def check_files(self) -> None:
        self.require_model_type("llava")
        super().check_files()

    def _encoder(self, folder: Path) -> VlmEncoder:
        traits = read_json(self.folder() / "config.json").get(TRAITS)
        if traits is None:
            return super()._encoder(folder)
        from mdpo_vlm.originals.encoder import OriginalsEncoder

        return OriginalsEncoder(folder, self.folder(), self.family(), chat=self.prompts == "chat", traits=traits)
