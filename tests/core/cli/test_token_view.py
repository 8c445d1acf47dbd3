"""`mdpo check --show`: what a user sees of the tokens is what is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support.builders.small_vlms import build_vlm

from mdpo_core import Example, Turn, View, component
from mdpo_core.cli import main
from mdpo_core.cli.token_view import shown_rows
from mdpo_core.data.encoding import BatchBuilder

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


def test_tokens_are_shown_with_their_roles(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_vlm("llava", tmp_path / "model")
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=folder, pairs=tmp_path / "pairs.jsonl", images=photographs))
    assert main(["check", str(recipe), "--show", "3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = shown[shown.index("row '1'") + 1 : -1]  # after the lines of the stages
    roles = [line.split()[0] for line in lines]
    # A crop has the tokens of the picture, and is not shown again.
    assert roles == ["prompt", "image", "prompt", "@none", "chosen", "rejected"]
    texts = [line[12:].replace("·", "") for line in lines]
    question = "What is it?<|im_end|>\\n<|im_start|>assistant\\n"
    opening = "<|im_start|>user\\n"
    answers = ["A temple<|im_end|>", "A flower<|im_end|>"]
    assert texts == [opening, "4 tokens", question, opening + question, *answers]
    assert shown[-1].endswith("no problem found, 1 row, 0 in quarantine")


def test_token_view_counts_hidden_and_brackets_unscored_tokens(tmp_path: Path) -> None:
    """Hidden tokens are counted, and what is not scored of a conversation stands in brackets."""
    folder = build_vlm("qwen2_vl", tmp_path / "model")
    said = (Turn("assistant", "Red."), Turn("user", "Sure?"), Turn("assistant", "Yes."))
    row = Example("1", "<image>\nWhich?", {"chosen": said}, (Image.new("RGB", (60, 60)),))
    encoder = component("adapter", "chat_vlm", path=str(folder)).encoder()  # type: ignore[attr-defined]
    hidden = component("corruption", "token_drop", share=1.0)
    views = (View("chosen"), View("chosen", "hidden"))
    shown = shown_rows(BatchBuilder(encoder, views, {"hidden": hidden}, (), 100, 0), [row], 1).splitlines()
    assert [line.split()[0] for line in shown[1:]] == [
        "prompt",
        "image",
        "prompt",
        "@hidden",
        "image",
        "@hidden",
        "chosen",
    ]
    assert (shown[2].split(maxsplit=1)[1], shown[5].split(maxsplit=1)[1]) == ("4 tokens", "4 tokens, 4 dropped")
    context = "\\n<|im_start|>user\\nSure?<|im_end|>\\n<|im_start|>assistant\\n"
    assert shown[-1][12:].replace("·", "") == f"Red.<|im_end|> [{context}] Yes.<|im_end|>"
