"""Make the base model again: ``python -m mdpo_digits.pretrain --out FOLDER``.

A LLaVA of about 0.9 million parameters learns captions in which up to two of the four digits are wrong. So it reads
most digits correctly and hallucinates some. Training takes half a minute on 2 cores. Repeated on one machine, it gives
the same bytes.
"""

from __future__ import annotations

import random

import torch
from mdpo_vlm import TinyLlava, save_pretrained, train_steps
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from mdpo_digits.mosaics import PROMPT, STYLES, WORDS, caption, draw_mosaic, with_mistakes

STEPS, BATCH, LEARNING_RATE, SEED = 200, 64, 1e-3, 0
SIZES = TinyLlava(side=32, patch=8, vision_width=96, vision_layers=3)


def build_processor() -> LlavaProcessor:
    """Build the processor; its tokenizer knows the few words in captions."""
    texts = [PROMPT, *(word for style in STYLES for word in style), *WORDS, "a and , ."]
    return SIZES.processor([word for text in texts for word in text.split()], WhitespaceSplit())


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
    model = SIZES.model(processor).train()

    def loss() -> torch.Tensor:
        found: torch.Tensor = model(**batch(processor, rng)).loss
        return found

    train_steps([*model.parameters()], STEPS, LEARNING_RATE, loss, "describes")
    return model.eval(), processor


if __name__ == "__main__":
    save_pretrained("Pretrain the digits' base model.", pretrain)
