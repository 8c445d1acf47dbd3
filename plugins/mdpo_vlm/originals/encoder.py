"""Prompts of converted checkpoints, tokenized as in their authors' code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdpo_core import EncodedPrompt, Example
from mdpo_vlm.encoding.encoder import VlmEncoder
from mdpo_vlm.encoding.own_video import Shown
from mdpo_vlm.encoding.unusual_texts import UnusualTextsOption
from mdpo_vlm.families import Family


class OriginalsEncoder(VlmEncoder):
    """A `VlmEncoder` that applies ``traits`` to ready-made prompts; for conversations, the template applies them."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        family: Family,
        chat: bool,
        max_resized_pixels: int,
        special_tokens: Sequence[str],
        unusual_texts: UnusualTextsOption,
        traits: Mapping[str, Any],
    ) -> None:
        super().__init__(folder, model, family, chat, max_resized_pixels, special_tokens, unusual_texts)
        self._traits = traits
        self._ready = not chat

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self._arguments, self._traits)

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        prompt = super().encode_prompt(example)
        if not self._ready or self._traits["ends_in_prompts"]:
            return prompt
        # mDPO's collator masks end tokens, and they are removed when it inserts the image features.
        end = self.processor.tokenizer.eos_token_id
        return replace(prompt, token_ids=prompt.token_ids[prompt.token_ids != end])

    def _prompt_text(self, shown: Shown) -> str:
        if not self._ready:
            return super()._prompt_text(shown)
        return self._ready_prompt(shown.example, [self._traits["image_text"]] * len(shown.are_videos))
