"""Build the scenes' model with random weights: a CLIP that looks at one place at a time, and a small Llama."""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mdpo_scenes.pictures import CELL, SIDE
from mdpo_scenes.scenes import ACROSS, COLORS, KINDS, ROOMS
from mdpo_scenes.texts import DESCRIBE, STYLES

_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
_OTHERS = "a an and , . with Yes No Is there the in this image ?"
_WORD = r"\w+|[^\w\s]"


def build_processor() -> LlavaProcessor:
    """Build a word-level tokenizer of the words in texts, and CLIP's image processor."""
    texts = [DESCRIBE, *(part for style in STYLES for part in style), *KINDS, *ROOMS, *COLORS, _OTHERS]
    names = dict.fromkeys((*_SPECIAL, *(word for text in texts for word in re.findall(_WORD, text))))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer=fast,
        patch_size=CELL,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def build_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Build a LLaVA of a 2-layer CLIP and a 3-layer Llama, whose words have the same vectors at both ends."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=CELL,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=_language(processor.tokenizer),
            image_token_id=processor.tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=ACROSS**2,
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )
    )


def _language(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
