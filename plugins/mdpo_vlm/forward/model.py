"""A loaded model of transformers, as separate calls that a scorer combines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import (
    DataError,
    Decoding,
    EncodedImage,
    EncodedPrompt,
    Head,
    ImageInputs,
    Packed,
    PaddedView,
    Part,
    Problem,
    Routing,
)
from mdpo_vlm.families import Family
from mdpo_vlm.files.config import image_token_id
from mdpo_vlm.files.folder import encoder_files
from mdpo_vlm.files.saving import save_model
from mdpo_vlm.files.traits import TRAITS
from mdpo_vlm.forward.answers.generation import generate
from mdpo_vlm.forward.attention import NO_MASK
from mdpo_vlm.forward.calls import open_calls
from mdpo_vlm.forward.images import encode_images, model_inputs
from mdpo_vlm.forward.positions import packed_positions, padded_positions
from mdpo_vlm.forward.routers import routing
from mdpo_vlm.forward.ways_in.marks import marked
from mdpo_vlm.forward.ways_in.own_embedding import take_features
from mdpo_vlm.forward.ways_in.own_projector import decode
from mdpo_vlm.parts.continued import has_start, only_start
from mdpo_vlm.parts.lora import merged_lora, save_lora, set_lora_dropout
from mdpo_vlm.parts.names import PartNames, decoder_of


class VlmModel:
    """A `VisionLanguageModel` made from a model of transformers.

    ``base`` is the plain model inside ``module``, or ``module`` itself. ``encoder_folder`` contains the files of its
    tokenizer and processor. The vocabulary of a converted checkpoint may have rows that no text uses; logits have no
    entries for them. ``around``: the numbers of the family's tokens around images.
    """

    def __init__(
        self,
        module: nn.Module,
        base: PreTrainedModel,
        encoder_folder: Path,
        family: Family,
        around: Sequence[int] = (),
    ) -> None:
        self._module = module
        self._base = base
        self._encoder_folder = encoder_folder
        self._family = family
        self._around = tuple(around)
        self._num_words: int | None = getattr(base.config, TRAITS, {}).get("num_words")
        open_calls(base.get_output_embeddings())
        if not family.projects_itself:
            open_calls(base.model)
        if family.embeds_images:
            take_features(base)

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def hidden_size(self) -> int:
        # The head's attributes keep its shape even while ZeRO-3 splits its weight.
        return int(self._base.get_output_embeddings().in_features)

    @property
    def vocab_size(self) -> int:
        rows = int(self._base.get_output_embeddings().out_features)
        return rows if self._num_words is None else min(rows, self._num_words)

    def encode_images(self, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
        return encode_images(self._base, self._family, images)

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        positions = padded_positions(self._base, self._family, rows, images)
        position_inputs = {} if positions is None else {"position_ids": positions}
        self._require_features(int(self._is_image_token(rows.token_ids).sum()), images)
        return self._forward(
            rows.token_ids, rows.response_mask, images, attention_mask=rows.attention_mask, **position_inputs
        )

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        self._require_features(int(self._is_image_token(packed.token_ids_on_cpu).sum()), images)
        return self._forward(
            packed.token_ids,
            packed.responses[None],
            images,
            attention_mask=NO_MASK,
            position_ids=packed_positions(self._base, self._family, packed, images),
            packed=packed,
        )

    def _forward(
        self, token_ids: Tensor, response_mask: Tensor, images: Sequence[EncodedImage], **inputs: object
    ) -> Tensor:
        if self._family.projects_itself:
            decoded: Tensor = decode(self._base, token_ids, images, **inputs).last_hidden_state
            return decoded
        marks = marked(self._base, self._family, token_ids, response_mask, self._around)
        image_inputs = model_inputs(self._base, self._family, token_ids, images)
        output = self._base.model(input_ids=token_ids, use_cache=False, **marks, **image_inputs, **inputs)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _is_image_token(self, token_ids: Tensor) -> Tensor:
        is_image_token: Tensor = token_ids == image_token_id(self._base.config)
        return is_image_token

    def _require_features(self, num_tokens: int, images: Sequence[EncodedImage]) -> None:
        by_cross_attention = self._family.cross_attention
        num_features = len(images) if by_cross_attention else sum(len(image.features) for image in images)
        if num_tokens != num_features:
            kind = "images" if by_cross_attention else "image features"
            message = f"{num_tokens} image tokens for {num_features} {kind}"
            hint = "do the processor's settings (patch size, image size, number of image tokens) fit the model?"
            raise DataError([Problem(str(self._encoder_folder), "", f"{message}; {hint}")])

    def _to_logits(self, head: Head) -> Head:
        """The head, followed by this model's own steps: limit the logits, drop rows that no text uses."""
        cap = getattr(self._base.config.get_text_config(), "final_logit_softcapping", None)
        softcap = cap if self._family.softcap else None
        num_words = self._num_words
        if softcap is None and num_words is None:
            return head

        def logits(hidden_states: Tensor) -> Tensor:
            words = head(hidden_states)[..., :num_words]
            return words if softcap is None else torch.tanh(words / softcap) * softcap

        return logits

    def logits(self, hidden_states: Tensor) -> Tensor:
        return self._to_logits(self._base.get_output_embeddings())(hidden_states)

    def through_head(self, compute: Callable[[Head, Tensor], Tensor], hidden_states: Tensor) -> Tensor:
        def compute_logits(head: Head, states: Tensor) -> Tensor:
            return compute(self._to_logits(head), states)

        computed: Tensor = self._base.get_output_embeddings()(hidden_states, compute=compute_logits)
        return computed

    def input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self._base.get_input_embeddings()
        return embeddings

    def routing(self) -> Routing:
        return routing(self._base)

    @contextmanager
    def adapter_disabled(self) -> Iterator[None]:
        if not isinstance(self._module, PeftModel):
            raise ValueError("there is no adapter to turn off: the model was loaded without LoRA")
        with only_start(self._module) if has_start(self._module) else self._module.disable_adapter():
            yield

    def set_training(self, training: bool) -> None:
        set_lora_dropout(self._module, training)

    def layers(self) -> Sequence[nn.Module]:
        return list(decoder_of(self._base).layers)

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        names: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
        parts = PartNames(self._base, self._family)
        for name, _ in self._module.named_parameters():
            names[parts.part_of(name.removeprefix("base_model.model."))].append(name)
        return {part: tuple(of_part) for part, of_part in names.items()}

    def generate(self, prompts: Sequence[EncodedPrompt], decoding: Decoding) -> list[Tensor]:
        return generate(self._base, self._family, prompts, decoding, self._around)

    def export(self, folder: Path, *, merge: bool = False) -> None:
        if merge:
            save_model(merged_lora(self._module), folder)
        elif isinstance(self._module, PeftModel):
            save_lora(self._module, folder)
        else:
            save_model(self._base, folder)
        # Copy them unchanged; saving would write the format of the installed version of transformers.
        for file in encoder_files(self._encoder_folder):
            shutil.copyfile(file, folder / file.name)
