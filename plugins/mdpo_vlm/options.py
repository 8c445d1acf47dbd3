"""The options of adapters for models in the layout of transformers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ModelAdapter, Part
from mdpo_vlm.encoding.unusual_texts import UnusualTextsOption


class TransformersOptions(ModelAdapter):
    """The options of `TransformersAdapter`."""

    only_training: ClassVar[frozenset[str]] = ModelAdapter.only_training | {
        *("path", "base", "continue_lora", "max_resized_pixels")
    }

    path: str = Field(
        description="a folder that transformers saved, or a name on the hub; or an adapter of peft, which is merged "
        "into its model once, and is then part of the model before training"
    )
    base: str | None = Field(
        default=None,
        description="if path is an adapter of peft: its model, a folder or a name on the hub; default: the one that "
        "the adapter names",
    )
    continue_lora: bool = Field(
        default=False,
        description="if path is an adapter of peft: train it on, beside its model, and do not merge it; lora must then "
        "have its rank, alpha and targets",
    )
    prompts: Literal["ready", "chat"] = Field(
        default="ready",
        description="ready: a text prompt is used unchanged; chat: it becomes a user turn in the chat template; "
        "conversations need chat",
    )
    special_tokens: tuple[str, ...] = Field(
        default=(),
        description="special tokens that responses and prompts may contain, such as those around a box; others are "
        "refused, except where they belong to the format of a ready prompt",
    )
    unusual_texts: UnusualTextsOption = Field(
        default="refuse",
        description="rows whose texts are seldom meant: ready-made prompts under chat, bare questions under ready, end "
        "tokens of other models; refuse: they are bad; keep: they are used as they are; {keep: [ready_prompts]} keeps "
        "some of ready_prompts, bare_questions and end_tokens",
    )
    freeze: tuple[Part, ...] = Field(default=("vision",), description=ModelAdapter.model_fields["freeze"].description)
    max_resized_pixels: int = Field(
        default=178_956_970,
        gt=0,
        description="a row is bad if the processor would scale or pad its image to more pixels",
    )
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="keep the language model's layers in 4 bits, frozen: nf4 (QLoRA, on CUDA only; needs "
        "mdpo[qlora]); the exported adapter belongs to the weights before quantization",
    )
    kernels: Literal["liger"] | None = Field(
        default=None,
        description="kernels of the layers, on CUDA only: liger (norms, SwiGLU or GeGLU, and rotary positions "
        "of liger-kernel; needs mdpo[liger]); absent: those of torch",
    )

    @model_validator(mode="after")
    def _quantized_weights_need_lora(self) -> Self:
        if self.lora is None and self.quantize is not None:
            raise ValueError("quantize needs lora: 4-bit weights do not train")
        return self

    @model_validator(mode="after")
    def _trained_adapters_are_lora(self) -> Self:
        if not self.continue_lora:
            return self
        if not self.has_lora:
            raise ValueError("continue_lora needs lora, with the rank, alpha and targets of the adapter in path")
        full = [part for part, each in self.training.items() if each.mode == "full"]
        remedies = [f"write parts.{part}: {{train: frozen}}" for part in full]
        if any(each.lora is not None and each.lora.save for each in self.training.values()):
            remedies.append("leave lora.save out")
        if remedies:
            raise ValueError(f"continue_lora trains LoRA alone; {' and '.join(remedies)}")
        return self

    @property
    def unquantized(self) -> Self:
        return self.model_copy(update={"quantize": None})

    @property
    def without_kernels(self) -> Self:
        return self.model_copy(update={"kernels": None})
