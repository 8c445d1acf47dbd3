"""Exported models load by peft, AutoProcessor and pipeline alone, in a fresh process in another working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders.small_vlms import build_vlm

from mdpo_core import load_trained
from mdpo_core.storage.export import export_run

QUESTION = "What is in the picture?"
PEFT = """
from peft import PeftConfig, PeftModel
from transformers import AutoModelForImageTextToText

base = AutoModelForImageTextToText.from_pretrained(PeftConfig.from_pretrained(folder).base_model_name_or_path)
processor = AutoProcessor.from_pretrained(folder)
inputs = processor.apply_chat_template(
    asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
ids = PeftModel.from_pretrained(base, folder).generate(**inputs, max_new_tokens=12, do_sample=False)
answer = processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
"""
PIPELINE = """
from transformers import pipeline

made = pipeline("image-text-to-text", model=folder)(text=asked, max_new_tokens=12)
answer = made[0]["generated_text"][-1]["content"]
"""
PROGRAM = """
import json, sys
from PIL import Image
from transformers import AutoProcessor

folder, file, question = sys.argv[1:]
content = [{"type": "image", "image": Image.open(file).convert("RGB")}, {"type": "text", "text": question}]
asked = [{"role": "user", "content": content}]
"""


def elsewhere(program: str, folder: Path, picture: Path, place: Path) -> str:
    """The answer that a program gives, which runs in ``place`` and does not know mdpo."""
    place.mkdir(exist_ok=True)
    words = [sys.executable, "-c", f"{PROGRAM}{program}\nprint(json.dumps(answer.strip()))"]
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*words, str(folder), str(picture), QUESTION], cwd=place, env=known, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.long
@pytest.mark.parametrize("program", [PEFT, PIPELINE], ids=["peft", "pipeline"])
def test_final_of_a_run_with_lora_loads_anywhere(program: str, lora_run: Path, picture: Path, tmp_path: Path) -> None:
    expected = load_trained(lora_run, device="cpu").answer(QUESTION, picture, max_new_tokens=12)
    assert elsewhere(program, lora_run / "final", picture, tmp_path / "elsewhere") == expected


@pytest.mark.long
@pytest.mark.parametrize("whole", ["merged", "full"])
def test_complete_models_load_in_a_pipeline_anywhere(
    whole: str, lora_run: Path, full_run: Path, picture: Path, tmp_path: Path
) -> None:
    folder = full_run / "final"
    if whole == "merged":
        folder = tmp_path / "merged"
        export_run(lora_run, folder, merge=True)
    expected = load_trained(folder, device="cpu").answer(QUESTION, picture, max_new_tokens=12)
    assert elsewhere(PIPELINE, folder, picture, tmp_path / "elsewhere") == expected


@pytest.mark.long
@pytest.mark.parametrize("family", ["internvl", "llava_onevision", "qwen2_5_vl", "smolvlm"])
def test_processors_that_need_torchvision_load_with_it(family: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="the extra mdpo[torchvision] is not installed", exc_type=ImportError)
    from transformers import AutoProcessor

    from mdpo_core import component

    folder = build_vlm(family, tmp_path / "model")
    said = component("adapter", "chat_vlm", path=str(folder)).needed_by_exports()  # type: ignore[attr-defined]
    assert type(AutoProcessor.from_pretrained(folder)).__name__ in said
