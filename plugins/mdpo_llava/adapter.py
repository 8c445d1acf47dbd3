"""The `llava` adapter."""

from __future__ import annotations

from mdpo_vlm import TransformersAdapter


class Llava(TransformersAdapter):
    """A `LlavaForConditionalGeneration`: LLaVA-1.5 and models of its shape, from a folder or a hub name."""

    def check_files(self) -> None:
        self.require_model_type("llava")
        super().check_files()
