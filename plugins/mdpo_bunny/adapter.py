"""The `bunny` adapter."""

from __future__ import annotations

from typing import ClassVar

from mdpo_vlm import CheckpointLayout, OriginalsAdapter


class Bunny(OriginalsAdapter):
    """Bunny-v1.0 as its authors published it: with Phi-2, Phi-1.5, Phi-3, Llama 3 or Qwen 1.5."""

    layout: ClassVar[CheckpointLayout] = CheckpointLayout(
        key="model_type",
        languages={
            "bunny-phi": "phi",
            "bunny-phi3": "phi3",
            "bunny-llama": "llama",
            "bunny-qwen": "qwen2",
            "bunny-qwen2": "qwen2",
        },
        tower="siglip",
        covered={"use_s2": (False, None)},
        drop_last=True,
        ends_in_prompts=False,
    )
