"""Loads exported models by transformers and peft alone, and compares what they give with what mdpo gave.

Runs in a process of its own: ``python plain_exports.py FOLDER``. `Expected.save` wrote each folder in it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import PIL.Image
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

NATS = 2e-5  # as a share beyond 1 nat
EXPORTS = ("adapter", "merged")


@dataclass(frozen=True)
class Expected:
    """What mdpo gives for a prompt with a picture, and for a response to it.

    ``inputs``: what the model gets for both, of which the first ``length`` tokens are the prompt; ``log_probs``: those
    of the response's tokens; ``made``: the tokens of the greedy answer; ``needs_torchvision``: whether the export said
    so; ``text``: the prompt as the processor takes it.
    """

    inputs: dict[str, Tensor]
    length: int
    log_probs: Tensor
    made: list[int]
    needs_torchvision: bool
    text: str

    def save(self, folder: Path) -> None:
        torch.save(asdict(self), folder / "expected.pt")

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(**torch.load(folder / "expected.pt"))


def main(work: Path) -> None:
    for folder in sorted(work.iterdir()):
        expected = Expected.load(folder)
        for name in EXPORTS:
            require_inputs(folder / name, expected, folder / "picture.png")
            model = load(folder / name)
            require_numbers(model, expected)
            if name == "adapter":
                require_training(model, expected)
    assert not [name for name in sys.modules if name.startswith("mdpo")]


def load(folder: Path) -> Any:
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        return AutoModelForImageTextToText.from_pretrained(folder).eval()
    base = json.loads(adapter.read_text())["base_model_name_or_path"]
    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), folder).eval()


def require_inputs(folder: Path, expected: Expected, picture: Path) -> None:
    """The exported tokenizer and image processor make what the model got."""
    with PIL.Image.open(picture) as image:
        image.load()
    prompt = expected.inputs["input_ids"][0, : expected.length]
    if not expected.needs_torchvision:
        made = AutoProcessor.from_pretrained(folder, backend="pil")(
            text=[expected.text], images=[image], return_tensors="pt"
        )
        assert made["input_ids"][0].tolist() == prompt.tolist(), folder
    else:
        # The class of the processor needs torchvision, which is not here; its parts do not.
        pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")
        made = pixels([image], return_tensors="pt", **image_options(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer(tokenizer.decode(prompt), add_special_tokens=False)["input_ids"] == prompt.tolist(), folder
    assert torch.equal(torch.as_tensor(made["pixel_values"]), expected.inputs["pixel_values"]), folder


def image_options(folder: Path) -> dict[str, int]:
    """What the processor of Mistral 3 asks of its image processor: sides of whole merged patches."""
    file = folder / "processor_config.json"
    options = json.loads(file.read_text()) if file.is_file() else {}
    if options.get("processor_class") != "PixtralProcessor":
        return {}
    return {"patch_size": options["patch_size"] * options["spatial_merge_size"]}


def require_numbers(model: Any, expected: Expected) -> None:
    gap = (log_probs(model, expected) - expected.log_probs).abs() / (1 + expected.log_probs.abs())
    assert float(gap.max()) <= NATS, (model.config.model_type, gap)
    of_prompt = {
        name: values[:, : expected.length] if values.shape[:2] == expected.inputs["input_ids"].shape else values
        for name, values in expected.inputs.items()
    }
    ids = model.generate(**of_prompt, max_new_tokens=8, do_sample=False)[0, expected.length :].tolist()
    end = model.generation_config.eos_token_id
    assert (ids[: ids.index(end)] if end in ids else ids) == expected.made, model.config.model_type


def require_training(model: Any, expected: Expected) -> None:
    with model.disable_adapter():
        assert float((log_probs(model, expected) - expected.log_probs).abs().max()) > 1e-3


def log_probs(model: Any, expected: Expected) -> Tensor:
    with torch.no_grad():
        logits = model(**expected.inputs).logits[0, expected.length - 1 : -1]
    taken: Tensor = logits.log_softmax(-1).gather(1, expected.inputs["input_ids"][0, expected.length :, None])
    return taken[:, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
