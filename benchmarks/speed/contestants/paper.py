"""The paper's algorithm as straight PyTorch (mDPO, arXiv:2406.11839), in the manner of its release.

Three sequences a pair, [chosen and rejected] and [chosen with the cropped picture], each computed whole by the policy
and by the reference, which is the policy with its adapter switched off. One departure: the release draws a new crop
in every forward; here both models see the crop that all contestants see, as in the paper's formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor

from benchmarks.speed.job import LEARNING_RATE, TERMS, Job, Result, Term
from benchmarks.speed.measure import Watch
from benchmarks.speed.model import load_with_lora, lora_weights, start_lora
from benchmarks.speed.pairs import make_batch, make_encoder
from benchmarks.speed.parity import save
from mdpo_core import Batch, View

LABEL_PAD = -100
Inputs = dict[str, Tensor]


def run(job: Job) -> Result:
    model = load_with_lora(job)
    start_lora(model)
    model.train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    inputs = make_inputs(make_batch(job.shape, make_encoder(Path(job.folder))), job.device)
    watch = Watch(job)
    for step in range(watch.num_steps):
        terms = TERMS[: watch.terms]
        watch.begin()
        loss = compute_loss(model, inputs, terms)
        torch.autograd.backward(loss)
        if step == 0 and job.gradients is not None:
            save(Path(job.gradients), loss, dict(lora_weights(model)))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch.end()
    return watch.result()


def compute_loss(model: PeftModel, inputs: Mapping[str, Inputs], terms: list[Term]) -> Tensor:
    policy = forward(model, inputs)
    with torch.no_grad(), model.disable_adapter():
        reference = forward(model, inputs)
    log_ratios = {view: policy[view] - reference[view] for view in policy}
    return torch.stack([term_loss(kind, options, log_ratios) for kind, _, options in terms]).sum(dim=0).mean()


def forward(model: PeftModel, inputs: Mapping[str, Inputs]) -> dict[str, Tensor]:
    """The log-prob of each view's responses, ``(batch,)``."""
    chosen, rejected = sequence_log_probs(model, inputs["concatenated"]).chunk(2)
    return {"chosen": chosen, "rejected": rejected, "chosen@crop": sequence_log_probs(model, inputs["cropped"])}


def sequence_log_probs(model: PeftModel, inputs: Inputs) -> Tensor:
    # All sequences are of one length: without padding no mask is needed, and attention is the causal kernel.
    logits = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"], use_cache=False).logits
    logits = logits[:, :-1].to(torch.float32)
    labels = inputs["labels"][:, 1:].clone()
    mask = labels != LABEL_PAD
    labels[~mask] = 0
    per_token = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    log_probs: Tensor = (per_token * mask).sum(-1)
    return log_probs


def term_loss(kind: str, options: Mapping[str, Any], log_ratios: Mapping[str, Tensor]) -> Tensor:
    """DPO between two views, or the anchor of one, ``(batch,)``."""
    beta = options["beta"]
    if kind == "anchor":
        sign = -1 if options.get("direction") == "below" else 1
        return -F.logsigmoid(sign * beta * log_ratios[options["on"]])
    smoothing = options.get("label_smoothing", 0.0)
    logits = beta * (log_ratios["chosen"] - log_ratios[options.get("over", "rejected")])
    return -F.logsigmoid(logits) * (1 - smoothing) - F.logsigmoid(-logits) * smoothing


def make_inputs(batch: Batch, device: str) -> dict[str, Inputs]:
    """The batch as the release lays it out: chosen and rejected in one, the cropped picture in another."""
    chosen, rejected, cropped = (
        sequences(batch, response, condition)
        for response, condition in (("chosen", "clean"), ("rejected", "clean"), ("chosen", "crop"))
    )
    inputs = {
        "concatenated": {name: torch.cat([chosen[name], rejected[name]]) for name in chosen},
        "cropped": cropped,
    }
    return {name: {key: value.to(device) for key, value in each.items()} for name, each in inputs.items()}


def sequences(batch: Batch, response: str, condition: str) -> Inputs:
    items = batch.items[View(response, condition)]
    prompts, answers = torch.stack([item.prompt for item in items]), torch.stack([item.response for item in items])
    images = [batch.images[index] for item in items for index in item.image_indices]
    return {
        "input_ids": torch.cat([prompts, answers], dim=1),
        "labels": torch.cat([torch.full_like(prompts, LABEL_PAD), answers], dim=1),
        "pixel_values": torch.cat([image["pixel_values"] for image in images]),
    }
