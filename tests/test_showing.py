"""`mdpo check --show`: what a user sees of the tokens is what is scored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small_vlms import build_vlm

RECIPE = """
model: {{adapter: chat_vlm, path: {folder}}}
data: {{reader: pairs, path: {pairs}, images: {images}}}
corruptions:
  none: {{corruption: no_image}}
  crop: {{corruption: random_crop}}
objective:
  - {{loss: dpo}}
  - {{loss: dpo, over: chosen@crop}}
  - {{loss: dpo, over: chosen@none}}
backend: {{backend: local}}
output: {{dir: runs/none}}
"""
PAIR = '{"img_path": "00.jpg", "prompt": "<image>\\nWhat is it?", "chosen": "A temple", "rejected": "A flower"}\n'


def test_tokens_are_shown_with_their_roles(tmp_path: Path, photographs: Path) -> None:
    folder = build_vlm("llava", tmp_path / "model")
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=folder, pairs=tmp_path / "pairs.jsonl", images=photographs))
    command = [sys.executable, "-m", "mdpo_core.cli", "check", str(recipe), "--show", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    title, *lines = shown[:-1]
    assert title == "row '1'"
    roles = [line.split()[0] for line in lines]
    # A crop has the tokens of the picture, and is not shown again.
    assert roles == ["prompt", "image", "prompt", "@none", "chosen", "rejected"]
    texts = [line[12:].replace("·", "") for line in lines]
    question = "What is it?<|im_end|>\\n<|im_start|>assistant\\n"
    opening = "<|im_start|>user\\n"
    answers = ["A temple<|im_end|>", "A flower<|im_end|>"]
    assert texts == [opening, "4 tokens", question, opening + question, *answers]
    assert shown[-1].endswith("no problem found, 1 rows, 0 in quarantine")
