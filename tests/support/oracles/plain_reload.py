"""Loads what was exported by transformers and peft alone, and compares it with what it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor


def main(work: Path, numbers: Path) -> None:
    expected, token_ids, made = torch.load(work / "expected.pt")
    item = json.loads((numbers / "inputs.json").read_text())["items"][1]
    for name in ("adapter", "merged"):
        inputs = model_inputs(work / name, item, numbers / item["image"])
        assert inputs["input_ids"][0].tolist() == token_ids.tolist()
        model = load(work / name)
        with torch.no_grad():
            logits = model(**inputs).logits[0, :, : expected.shape[-1]]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, len(token_ids) :]
        assert answer[: len(made)].tolist() == made.tolist()
    assert not [name for name in sys.modules if name.startswith("mdpo")]


def load(folder: Path) -> Any:
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        return AutoModelForImageTextToText.from_pretrained(folder)
    base = json.loads(adapter.read_text())["base_model_name_or_path"]
    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), folder)


def model_inputs(folder: Path, item: dict[str, str], picture: Path) -> Any:
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    content = [{"type": "image"}, {"type": "text", "text": item["question"]}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    with PIL.Image.open(picture) as image:
        return processor(text=[text], images=[image.convert("RGB")], return_tensors="pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
