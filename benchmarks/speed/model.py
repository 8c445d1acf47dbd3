"""A LLaVA of a given shape with random weights, as a folder that every contestant loads as a user would."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.speed.job import PATCH, Job, Shape, Stack

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.builders.small_llava import build_tokenizer


def write_files(folder: Path, shape: Shape) -> LlavaConfig:
    """Save configuration and processor. The tokenizer knows few words: its size changes nothing that is measured."""
    tokenizer = build_tokenizer()
    size = shape.image_size
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size}),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=size, patch_size=PATCH, **_sizes(shape.vision)),
        text_config=LlamaConfig(
            vocab_size=shape.vocab_size,
            max_position_embeddings=4096,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            **_sizes(shape.language),
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=shape.image_tokens,
    )
    config.save_pretrained(folder)
    return config


def build(folder: Path, shape: Shape, device: str) -> None:
    """Save the model, too."""
    config = write_files(folder, shape)
    torch.manual_seed(0)
    # On the device: seven billion random numbers take a CPU minutes.
    torch.set_default_dtype(dtype_of(device))
    with torch.device(device):
        model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)


def _sizes(stack: Stack) -> dict[str, int]:
    return {
        "hidden_size": stack.hidden,
        "intermediate_size": stack.intermediate,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
    }


def dtype_of(device: str) -> torch.dtype:
    return torch.float32 if device == "cpu" else torch.bfloat16


def lora_config(job: Job) -> LoraConfig:
    return LoraConfig(
        r=job.shape.lora_rank,
        lora_alpha=2 * job.shape.lora_rank,
        lora_dropout=job.dropout,
        target_modules="all-linear",
        exclude_modules=r".*(vision_tower|multi_modal_projector).*",
        task_type="CAUSAL_LM",
    )


def load_with_lora(job: Job) -> PeftModel:
    """By transformers and peft alone."""
    base = LlavaForConditionalGeneration.from_pretrained(job.folder, dtype=dtype_of(job.device)).to(job.device)
    assert base.config.text_config._attn_implementation == "sdpa"
    return get_peft_model(base, lora_config(job))


def lora_weights(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, value) for name, value in module.named_parameters() if "lora_" in name)


@torch.no_grad()
def start_lora(module: torch.nn.Module) -> None:
    """The same weights for every contestant, none of them zero: a zero would hide an error in the other's gradient."""
    for name, value in lora_weights(module):
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        value.copy_(0.02 * torch.randn(value.shape, generator=generator))
