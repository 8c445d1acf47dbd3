"""A model's processor, and what is made of it before the first row: special tokens, chat template, video input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin

from mdpo_vlm.encoding.own_video import OwnVideo
from mdpo_vlm.encoding.plain_text import PlainText
from mdpo_vlm.encoding.processors import load_processor
from mdpo_vlm.encoding.special_tokens import SpecialTokens
from mdpo_vlm.encoding.template import ChatTemplate, has_template
from mdpo_vlm.encoding.unusual_texts import UnusualTexts, UnusualTextsOption
from mdpo_vlm.families import VideoInput
from mdpo_vlm.files.config import embedding_rows, image_token_id


@dataclass(frozen=True)
class Loaded:
    """What a `VlmEncoder` encodes with. ``template``: None if prompts are ready.

    ``num_rows``: of the embedding; ``num_words``: of the head, which may have fewer.
    """

    processor: ProcessorMixin
    image_token: int
    num_rows: int
    num_words: int
    special_tokens: SpecialTokens
    plain: PlainText
    unusual: UnusualTexts
    template: ChatTemplate | None
    video: OwnVideo | None

    @property
    def tensors(self) -> str:
        """The tensors that a processor is asked for: torch's if torch makes its pixels (Llama 4's are in bfloat16)."""
        image_processor: Any = self.processor.image_processor
        return "pt" if image_processor.backend == "torchvision" else "np"

    @classmethod
    def of(
        cls,
        folder: Path,
        model: Path,
        video: VideoInput | None,
        chat: bool,
        allowed: Sequence[str],
        unusual_texts: UnusualTextsOption,
    ) -> Loaded:
        """See `VlmEncoder`. ``video``: the model's own input of videos, if they use it. Raises `DataError`."""
        processor, config = load_processor(folder, model)
        image_token: int = image_token_id(config)
        text = str(processor.tokenizer.decode([image_token]))
        # Other messages say more of an image token that is also the mark of an image.
        special = SpecialTokens(processor.tokenizer, allowed, text if text == processor.image_token else "")
        return cls(
            processor,
            image_token,
            embedding_rows(config.get_text_config()),
            config.get_text_config().vocab_size,
            special,
            PlainText(processor.tokenizer, special.known),
            UnusualTexts(chat, has_template(processor), special.known, unusual_texts),
            ChatTemplate.of(processor, model) if chat else None,
            None if video is None else OwnVideo(processor, config, video, folder),
        )
