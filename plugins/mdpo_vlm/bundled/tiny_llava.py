"""A LLaVA that is small enough to come with a plugin: its processor from words, its model from sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
_WIDTH, _HEADS = 128, 4  # of the Llama


@dataclass(frozen=True)
class TinyLlava:
    """The sizes of a LLaVA with about a million parameters: a small CLIP, and a Llama of three layers.

    ``side`` and ``patch``: pixels of a picture and of a patch, across and down. ``vision_width`` and
    ``vision_layers``: the features and the layers of the CLIP. ``ties_words``: whether the Llama reads and predicts
    words with the same vectors.
    """

    side: int
    patch: int
    vision_width: int
    vision_layers: int
    ties_words: bool = False

    def processor(self, words: Iterable[str], splits: PreTokenizer) -> LlavaProcessor:
        """A tokenizer that knows ``words``, each as one token, and CLIP's image processor.

        ``splits``: how a text becomes words.
        """
        from transformers import LlavaProcessor
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        crop = {"height": self.side, "width": self.side}
        return LlavaProcessor(
            image_processor=CLIPImageProcessorPil(size={"shortest_edge": self.side}, crop_size=crop),
            tokenizer=_tokenizer(words, splits),
            patch_size=self.patch,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )

    def model(self, processor: LlavaProcessor) -> LlavaForConditionalGeneration:
        """The model for the words of ``processor``, with random weights."""
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        return LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=self._vision(),
                text_config=self._language(processor.tokenizer),
                image_token_id=processor.tokenizer.convert_tokens_to_ids("<image>"),
                image_seq_length=(self.side // self.patch) ** 2,
                vision_feature_layer=-1,
                tie_word_embeddings=self.ties_words,
            )
        )

    def _vision(self) -> CLIPVisionConfig:
        from transformers import CLIPVisionConfig

        return CLIPVisionConfig(
            hidden_size=self.vision_width,
            intermediate_size=2 * self.vision_width,
            num_hidden_layers=self.vision_layers,
            num_attention_heads=_HEADS,
            image_size=self.side,
            patch_size=self.patch,
        )

    def _language(self, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=320,
            num_hidden_layers=3,
            num_attention_heads=_HEADS,
            num_key_value_heads=_HEADS,
            max_position_embeddings=128,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=self.ties_words,
        )


def _tokenizer(words: Iterable[str], splits: PreTokenizer) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = dict.fromkeys((*_SPECIAL, *words))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splits
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
