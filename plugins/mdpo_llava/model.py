"""A loaded LLaVA, in the pieces that a scorer puts together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from mdpo_core import DataError, EncodedPrompt, Packed, Part, Placement, Problem, current_world, device_of
from mdpo_llava.attention import NO_MASK, use_packed_attention
from mdpo_llava.head import Head, open_head
from mdpo_llava.last_layer import trim_last_layer
from mdpo_llava.lora import add_lora, save_lora, set_lora_dropout
from mdpo_llava.vision import unused_in_vision

if TYPE_CHECKING:
    from mdpo_llava.adapter import Llava

_PART_OF: dict[str, Part] = {"vision_tower": "vision", "multi_modal_projector": "projector"}


def load_model(adapter: Llava, folder: Path, placement: Placement, trainable: bool) -> LlavaModel:
    """Load, place, and mark what trains. `DataError` names weights that are missing or left over."""
    base = _quantized(folder, placement) if adapter.quantize else _plain(folder, placement)
    use_packed_attention(base)
    trim_last_layer(base)
    if not trainable:
        return LlavaModel(base, base, folder)
    if adapter.lora is not None:
        return LlavaModel(add_lora(base, adapter.lora).eval(), base, folder)
    model = LlavaModel(base, base, folder)
    for part, names in model.parts().items():
        for name in names:
            base.get_parameter(name).requires_grad_(part not in adapter.freeze)
    if "vision" not in adapter.freeze:
        for name in unused_in_vision(base):
            base.model.vision_tower.get_parameter(name).requires_grad_(False)
    return model


def load_exported(source: Path, folder: Path, placement: Placement) -> LlavaModel:
    """What `LlavaModel.export` wrote; an adapter is put onto the model in ``source``."""
    if not (folder / "adapter_config.json").is_file():
        base = _plain(folder, placement)
        return LlavaModel(base, base, folder)
    base = _plain(source, placement)
    # Left to itself, peft reads it into an accelerator first.
    module = PeftModel.from_pretrained(base, folder, torch_device=placement.device)
    return LlavaModel(module.eval(), base, folder)


def _plain(folder: Path, placement: Placement) -> LlavaForConditionalGeneration:
    return _from_pretrained(folder, placement).to(placement.device)


def _quantized(folder: Path, placement: Placement) -> LlavaForConditionalGeneration:
    from mdpo_llava.quantized import loading_options

    return _from_pretrained(folder, placement, **loading_options(placement))


def _from_pretrained(folder: Path, placement: Placement, **options: Any) -> LlavaForConditionalGeneration:
    """Nothing of it trains. Raises `DataError`."""
    # Its bar would be drawn into the run's own.
    disable_progress_bar()
    # Weights that are shared out while they are read are drawn at random first; LoRA's shall not depend on that.
    with torch.random.fork_rng(devices=[]):
        base, report = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, placement.dtype), output_loading_info=True, trust_remote_code=False, **options
        )
    _require_complete(report, folder)
    return base.eval().requires_grad_(False)


def _require_complete(report: Mapping[str, Sequence[str]], folder: Path) -> None:
    wrong = {kind: sorted(report[f"{kind}_keys"]) for kind in ("missing", "unexpected", "mismatched")}
    found = [
        Problem(str(folder), "", f"{len(names)} {kind} tensors, among them {names[:3]}")
        for kind, names in wrong.items()
        if names
    ]
    if found:
        raise DataError(found)


class LlavaModel:
    """See `mdpo_core.VisionLanguageModel`. ``base`` is the plain model inside ``module``, or ``module`` itself."""

    def __init__(self, module: nn.Module, base: LlavaForConditionalGeneration, source: Path) -> None:
        self._module = module
        self._base = base
        self._source = source
        open_head(base.lm_head)

    @property
    def module(self) -> nn.Module:
        return self._module

    def encode_images(self, images: Mapping[str, Tensor]) -> Tensor:
        pixels = images["pixel_values"].to(self._base.dtype)
        features: Tensor = torch.stack(list(self._base.get_image_features(pixels).pooler_output))
        return features

    def hidden_states(self, token_ids: Tensor, attention_mask: Tensor, image_features: Tensor | None) -> Tensor:
        return self._decode(self._embed(token_ids, image_features), attention_mask=attention_mask)

    def packed_hidden_states(self, packed: Packed, image_features: Tensor | None) -> Tensor:
        embedded = self._embed(packed.token_ids, image_features)
        return self._decode(embedded, attention_mask=NO_MASK, position_ids=packed.position_ids, packed=packed)

    def _embed(self, token_ids: Tensor, image_features: Tensor | None) -> Tensor:
        embedded: Tensor = self._base.get_input_embeddings()(token_ids)
        places = token_ids == self._base.config.image_token_id
        num_places, num_features = int(places.sum()), 0 if image_features is None else image_features[..., 0].numel()
        if num_places != num_features:
            raise ValueError(f"{num_places} image tokens for {num_features} image features")
        if image_features is None:
            return embedded
        return embedded.masked_scatter(places[..., None], image_features.to(embedded.dtype))

    def _decode(self, embedded: Tensor, **inputs: object) -> Tensor:
        output = self._base.model.language_model(inputs_embeds=embedded, use_cache=False, **inputs)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden_states: Tensor) -> Tensor:
        logits: Tensor = self._base.lm_head(hidden_states)
        return logits

    def through_head(self, compute: Callable[[Head, Tensor], Tensor], hidden_states: Tensor) -> Tensor:
        computed: Tensor = self._base.lm_head(hidden_states, compute=compute)
        return computed

    @contextmanager
    def adapter_disabled(self) -> Iterator[None]:
        if not isinstance(self._module, PeftModel):
            raise ValueError("there is no adapter to switch off: the model was loaded without LoRA")
        with self._module.disable_adapter():
            yield

    def set_training(self, training: bool) -> None:
        set_lora_dropout(self._module, training)

    def layers(self) -> Sequence[nn.Module]:
        return list(self._base.model.language_model.layers)

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        names: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
        for name, _ in self._module.named_parameters():
            part: Part = next((part for word, part in _PART_OF.items() if f"{word}." in name), "language")
            names[part].append(name)
        return {part: tuple(found) for part, found in names.items()}

    def generate(self, prompts: Sequence[EncodedPrompt], max_new_tokens: int) -> list[Tensor]:
        length = max(len(prompt.token_ids) for prompt in prompts)
        device = device_of(self._module)
        token_ids = torch.zeros(len(prompts), length, dtype=torch.long)
        attention_mask = torch.zeros_like(token_ids)
        for row, prompt in enumerate(prompts):
            token_ids[row, length - len(prompt.token_ids) :] = prompt.token_ids
            attention_mask[row, length - len(prompt.token_ids) :] = 1
        pixels = [prompt.images["pixel_values"] for prompt in prompts if prompt.images]
        # Not even None may be passed without images: transformers would encode it.
        images = {"pixel_values": torch.cat(pixels).to(device, self._base.dtype)} if pixels else {}
        made = self._base.generate(
            input_ids=token_ids.to(device),
            attention_mask=attention_mask.to(device),
            **images,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            # Where processes share out the weights, each goes on until the last one has finished.
            synced_gpus=current_world().size > 1,
            pad_token_id=self._end_token(),
        )
        return [_until(ids[length:].cpu(), self._end_token()) for ids in made]

    def export(self, folder: Path, *, merge: bool = False) -> None:
        if merge:
            self._merged().save_pretrained(folder)
        elif isinstance(self._module, PeftModel):
            save_lora(self._module, folder)
        else:
            self._base.save_pretrained(folder)
        AutoProcessor.from_pretrained(self._source, backend="pil", trust_remote_code=False).save_pretrained(folder)

    def _merged(self) -> LlavaForConditionalGeneration:
        if not isinstance(self._module, PeftModel):
            raise ValueError("there is no adapter to merge: the model was loaded without LoRA")
        return self._module.merge_and_unload()

    def _end_token(self) -> int:
        end = self._base.generation_config.eos_token_id
        if end is None:
            end = self._base.config.text_config.eos_token_id
        return int(end[0] if isinstance(end, list) else end)


def _until(token_ids: Tensor, end: int) -> Tensor:
    ends = (token_ids == end).nonzero()
    return token_ids[: int(ends[0])] if len(ends) else token_ids
