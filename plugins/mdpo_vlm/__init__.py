"""Vision-language models of transformers, and the common code of their adapters.

`TransformersAdapter` and `Family` are public: adapters of other packages may use them, see docs/extend/add-a-model.md.
`OriginalsAdapter` and `CheckpointLayout` are for adapters that also read checkpoints in the layout of their authors.
`BundledAdapter` and `TinyLlava` are for plugins that bring a small model; `train_steps` and `save_pretrained` make it.

The rooms from the ground up. A room imports only rooms on lines above its own:

    families              what each family of models needs
    files                 a model's folder, on the disk or the hub
    parts                 vision, projector, language; LoRA
    encoding, forward     text and images to model inputs; model inputs to logits
    loading               weights to a model
    options               the options of a recipe
    adapter               a model and its files
    originals             checkpoints in the layout of their authors
    bundled               small models that come with a plugin
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from mdpo_core import Component, ModelSummary, hookimpl
from mdpo_vlm.adapter import TransformersAdapter
from mdpo_vlm.bundled.adapter import BundledAdapter
from mdpo_vlm.bundled.pretraining import save_pretrained, train_steps
from mdpo_vlm.bundled.tiny_llava import TinyLlava
from mdpo_vlm.families import FAMILIES, Family, Recurrent, VideoInput
from mdpo_vlm.files.folder import read_json
from mdpo_vlm.files.known import require_known
from mdpo_vlm.files.recognition import prompts_for
from mdpo_vlm.loading.merged import described, offer_for
from mdpo_vlm.originals.adapter import OriginalsAdapter
from mdpo_vlm.originals.checkpoint_layout import CheckpointLayout

__all__ = [
    "BundledAdapter",
    "ChatVlm",
    "CheckpointLayout",
    "Family",
    "OriginalsAdapter",
    "Recurrent",
    "TinyLlava",
    "TransformersAdapter",
    "VideoInput",
    "save_pretrained",
    "train_steps",
]


class ChatVlm(TransformersAdapter):
    """Any `AutoModelForImageTextToText` of transformers, and Phi-4 multimodal, with its processor.

    docs/guides/models.md lists the families that we have tested, and what each can do.
    """

    prompts: Literal["ready", "chat"] = Field(
        default="chat",
        description="chat: a text prompt becomes a user turn in the chat template; ready: it is used unchanged; "
        "conversations need chat",
    )
    video: Literal["frames", "own"] = Field(
        default="frames",
        description="how a video enters: frames: each frame is an image; own: by the model's own video input, which "
        "Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5 have",
    )

    @property
    def shows_videos(self) -> bool:
        return self.video == "own"

    @classmethod
    def summarize(cls, path: str, *, ready: bool) -> ModelSummary | None:
        folder = described(path)
        config = read_json(folder / "config.json")
        model_type = str(config.get("model_type"))
        is_known = model_type in FAMILIES
        if not is_known and not isinstance(config.get("vision_config"), Mapping):
            require_known(folder / "config.json")
            return None
        about = f"a model of the type {model_type}" + ("" if is_known else ", a family that nobody has tested here")
        return ModelSummary(about, prompts_for(folder, ready=ready), is_made_for_it=False, offer=offer_for(path))


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"chat_vlm": ChatVlm}
