"""Loads what was exported by transformers and peft alone, and compares it with what it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import PIL.Image
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor


def main(work: Path, numbers: Path) -> None:
    expected, token_ids, made = torch.load(work / "expected.pt")
    exported = work / "exported"
    adapter = exported / "adapter_config.json"
    base = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.is_file() else exported
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    if adapter.is_file():
        model = PeftModel.from_pretrained(model, exported)
    processor = AutoProcessor.from_pretrained(exported, backend="pil")
    item = json.loads((numbers / "inputs.json").read_text())["items"][1]
    content = [{"type": "image"}, {"type": "text", "text": item["question"]}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    with PIL.Image.open(numbers / item["image"]) as image:
        inputs = processor(text=[text], images=[image.convert("RGB")], return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == token_ids.tolist()
    with torch.no_grad():
        logits = model(**inputs).logits[0, :, : expected.shape[-1]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, len(token_ids) :]
    assert answer[: len(made)].tolist() == made.tolist()
    assert not [name for name in sys.modules if name.startswith("mdpo")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
