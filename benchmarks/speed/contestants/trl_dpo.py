"""TRL's `DPOTrainer` on the same folder and pairs: plain DPO, two views, for it has no image term.

Its own training loop runs; a callback measures each step, from a collated batch to updated weights. Activation
checkpointing, on by default there, is off as it is for everybody here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoProcessor, LlavaForConditionalGeneration, TrainerCallback
from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]  # made when asked for

from benchmarks.speed.job import LEARNING_RATE, Job, Result
from benchmarks.speed.measure import Watch
from benchmarks.speed.model import dtype_of, lora_config, start_lora
from benchmarks.speed.pairs import BEGIN, END, make_batch, make_encoder, make_examples
from mdpo_core import View


class Measured(TrainerCallback):  # type: ignore[misc]
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._watch.begin()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._watch.end()


def run(job: Job) -> Result:
    watch = Watch(job)
    rows = make_rows(job)
    with tempfile.TemporaryDirectory() as out:
        trainer = DPOTrainer(
            model=LlavaForConditionalGeneration.from_pretrained(job.folder, dtype=dtype_of(job.device)),
            args=make_config(job, watch.num_steps, out),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoProcessor.from_pretrained(job.folder, backend="pil"),
            peft_config=lora_config(job),
            callbacks=[Measured(watch)],
        )
        start_lora(trainer.model)
        require_same_tokens(job, trainer.data_collator([dict(row) for row in rows])["input_ids"])
        trainer.train()
    return watch.result()


def make_config(job: Job, num_steps: int, out: str) -> DPOConfig:
    return DPOConfig(
        output_dir=out,
        beta=0.1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        per_device_train_batch_size=job.shape.num_pairs,
        max_steps=num_steps,
        max_length=None,
        gradient_checkpointing=False,
        bf16=job.device != "cpu",
        use_cpu=job.device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def make_rows(job: Job) -> list[dict[str, Any]]:
    """TRL's collator adds no special tokens to ready-made text, so they stand in the text."""
    return [
        {
            "images": list(example.images),
            "prompt": BEGIN + example.prompt,
            **{name: text + END for name, text in example.responses.items()},
        }
        for example in make_examples(job.shape, make_encoder(Path(job.folder)))
    ]


def require_same_tokens(job: Job, token_ids: torch.Tensor) -> None:
    batch = make_batch(job.shape, make_encoder(Path(job.folder)))
    items = [batch.items[View(name)] for name in ("chosen", "rejected")]
    ours = [torch.stack([torch.cat([item.prompt, item.response]) for item in of_view]) for of_view in items]
    assert token_ids.equal(torch.cat(ours)), "TRL reads other tokens"
