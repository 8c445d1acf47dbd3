"""Our DPO beside TRL's on the same model and batch: ``python -m benchmarks.speed.dpo_vs_trl``.

Needs ``pip install -c constraints.txt -e '.[test,benchmark]'``. Builds a small LLaVA with LoRA weights that are not
zero, and compares the loss and all LoRA gradients. Exit code 1 if they differ by more than 1e-5 of their size.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import PIL.Image
import torch
from datasets import Dataset
from sklearn.datasets import load_sample_images
from support.builders.small_llava import build_llava
from transformers import AutoProcessor
from trl import DPOConfig, DPOTrainer

from mdpo_core import Example, Placement, Scores, VisionLanguageModel, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import Scorer

LIMIT = 1e-5
PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"
ANSWERS = [
    ("A Chinese temple with a red roof.", "A row of trees and no people at all."),
    ("A pink flower in front of green leaves.", "A temple."),
]
Result = tuple[torch.Tensor, dict[str, torch.Tensor], list[list[int]]]


def examples() -> list[Example]:
    pictures = [PIL.Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [
        Example(str(row), PROMPT, {"chosen": chosen, "rejected": rejected}, (picture,))
        for row, ((chosen, rejected), picture) in enumerate(zip(ANSWERS, pictures, strict=True))
    ]


def ours(model: VisionLanguageModel, folder: Path) -> Result:
    """Loss, gradients, and the token ids of each sequence."""
    terms = {"dpo": component("loss", "dpo", beta=0.1)}
    encoder = component("adapter", "llava", path=str(folder)).encoder()  # type: ignore[attr-defined]
    builder = BatchBuilder.for_terms(terms.values(), {}, encoder, 2048, seed=0)  # type: ignore[arg-type]
    objective = Objective(terms)  # type: ignore[arg-type]
    batch = builder.build(examples(), [0, 1], epoch=0)
    scored = Scorer(model, objective.reads, AdapterOff())(batch)
    loss = objective(Scores.of_batch(scored, batch)).loss.mean()
    prompts = [row.prompts["clean"].token_ids.tolist() for row in batch.rows]
    answers = [row.responses[name].tolist() for name in ("chosen", "rejected") for row in batch.rows]
    return loss, gradients(loss, model.module), [a + b for a, b in zip(prompts * 2, answers, strict=True)]


def trls(model: VisionLanguageModel, folder: Path, out: Path) -> Result:
    """The same through TRL. Its collator adds no special tokens to ready-made text, so they stand in the text."""
    rows = [
        {
            "images": list(example.images),
            "prompt": f"<s>{example.prompt}",
            **{name: f"{text}</s>" for name, text in example.responses.items()},
        }
        for example in examples()
    ]
    trainer = DPOTrainer(
        model=model.module,
        args=DPOConfig(output_dir=str(out), beta=0.1, report_to=[], use_cpu=True, max_length=None, bf16=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoProcessor.from_pretrained(folder, backend="pil"),
    )
    # A trained adapter becomes TRL's reference; without that copy it is the base model, as in our run.
    if "ref" in trainer.model.peft_config:
        trainer.model.delete_adapter("ref")
    trainer.model.eval()
    batch = trainer.data_collator([dict(row) for row in rows])
    loss = trainer.compute_loss(trainer.model, batch)
    ids = [row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    return loss, gradients(loss, model.module), ids


def gradients(loss: torch.Tensor, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    trained = {name: value for name, value in module.named_parameters() if "lora" in name and ".ref." not in name}
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = build_llava(Path(name) / "llava", image_size=56, hidden=64, layers=3)
        adapter = component("adapter", "llava", path=str(folder), lora={"rank": 8, "alpha": 16, "dropout": 0.0})
        model = adapter.load(Placement())  # type: ignore[attr-defined]
        with torch.no_grad():
            for key, value in model.module.named_parameters():
                if "lora_B" in key:
                    value.normal_(std=0.05)
        loss, grads, ids = ours(model, folder)
        trl_loss, trl_grads, trl_ids = trls(model, folder, Path(name) / "trl")
    size = max(float(value.abs().max()) for value in trl_grads.values())
    loss_off = abs(loss.item() - trl_loss.item()) / abs(trl_loss.item())
    grad_off = max(float((grads[key] - trl_grads[key]).abs().max()) for key in grads) / size
    print("| | ours | TRL | relative difference |")
    print("|---|---|---|---|")
    print(f"| token ids | {len(ids)} sequences | {'equal' if ids == trl_ids else 'DIFFERENT'} | |")
    print(f"| DPO loss | {loss.item():.8f} | {trl_loss.item():.8f} | {loss_off:.1e} |")
    print(f"| LoRA gradients | {len(grads)} tensors | largest {size:.2e} | {grad_off:.1e} |")
    return int(ids != trl_ids or loss_off > LIMIT or grad_off > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
