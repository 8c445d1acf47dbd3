"""The `llava` adapter."""

from __future__ import annotations

from typing import ClassVar

from mdpo_vlm import CheckpointLayout, OriginalsAdapter


class Llava(OriginalsAdapter):
    """LLaVA-1.5 and models of the same architecture, as transformers saves them or as their authors published them."""

    made_for: ClassVar[tuple[str, ...]] = ("llava",)
    layout: ClassVar[CheckpointLayout] = CheckpointLayout(
        # Not ``model_type``: some published configurations have the model type of transformers.
        key="architectures",
        languages={"LlavaLlamaForCausalLM": "llama"},
        tower="clip",
        covered={
            "mm_vision_select_feature": ("patch", None),
            "mm_use_im_start_end": (False, None),
            "mm_use_im_patch_token": (False, None),
            "mm_resampler_type": (None,),
        },
    )
