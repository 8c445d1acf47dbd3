"""Make the base model again: ``python -m mdpo_digits.pretrain --out FOLDER``.

A LLaVA of about 0.9 million parameters learns captions in which up to two of the four digits are wrong. So it reads
most digits correctly and hallucinates some. Training takes half a minute on 2 cores. Repeated on one machine, it gives
the same bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mdpo_digits.mosaics import PROMPT, STYLES, WORDS, caption, draw_mosaic, with_mistakes

STEPS, BATCH, LEARNING_RATE, SEED = 200, 64, 1e-3, 0
_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")


def build_processor() -> LlavaProcessor:
    """Build a word-level tokenizer of the few words in captions, and CLIP's image processor at 32 pixels."""
    texts = [PROMPT, *(word for style in STYLES for word in style), *WORDS, "a and , ."]
    words = dict.fromkeys(word for text in texts for word in text.split())
    names = dict.fromkeys((*_SPECIAL, *words))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    size = {"height": 32, "width": 32}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size),
        tokenizer=fast,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def build_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Build a LLaVA of a 3-layer CLIP and a 3-layer Llama, with random weights."""
    tokenizer = processor.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    text = LlamaConfig(
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
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=16,
            vision_feature_layer=-1,
        )
    )


def batch(processor: LlavaProcessor, rng: random.Random) -> dict[str, torch.Tensor]:
    """A batch of new mosaics, whose captions have up to two wrong digits; only captions have labels."""
    mosaics = [draw_mosaic(rng, "train") for _ in range(BATCH)]
    captions = [
        caption(with_mistakes(mosaic.digits, rng.randint(0, 2), rng), rng.randrange(len(STYLES))) for mosaic in mosaics
    ]
    texts = [f"{PROMPT} {text} </s>" for text in captions]
    inputs = processor(images=[mosaic.image for mosaic in mosaics], text=texts, padding=True, return_tensors="pt")
    prompt = len(processor(images=mosaics[0].image, text=PROMPT)["input_ids"][0])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :prompt] = -100
    return {**inputs, "labels": labels}


def pretrain() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Train the base model from random weights."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    processor = build_processor()
    model = build_model(processor).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        loss = model(**batch(processor, rng)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if (step + 1) % 50 == 0:
            sys.stderr.write(f"step {step + 1}/{STEPS}  loss {loss.item():.3f}\n")
    return model.eval(), processor


def main() -> None:
    """Train the base model and save it in ``--out``."""
    parser = argparse.ArgumentParser(description="Pretrain the digits' base model.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to save it in")
    folder = parser.parse_args().out
    model, processor = pretrain()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


if __name__ == "__main__":
    main()
