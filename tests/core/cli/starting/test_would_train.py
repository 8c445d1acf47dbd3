"""What `mdpo check` says beside its verdict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO, RECIPES

from mdpo_core import load_recipe
from mdpo_core.cli import main
from mdpo_core.cli.starting.would_train import told_steps
from mdpo_core.interfaces.model import Placement

LLAVA = str(RECIPES / "llava_mdpo.yaml")


def test_check_says_what_would_train_and_what_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", LLAVA, "--set", "train.epochs=2"]) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    told = "\n".join(lines)
    for text in (
        "llava: vision frozen, projector frozen, language by LoRA of rank 64",
        "text, picture, anchor; reference: cached",
        "2 epochs of 32 rows, learning rate 1e-05",
        f"mdpo check {LLAVA} --data",
        f"mdpo check {LLAVA} --gpu GB",
        "the model's weights",
        "prompts    ready: each text is used unchanged, without a chat template",
    ):
        assert text in told
    assert verdict == f"{LLAVA}: no problem found"


def test_after_the_rows_were_read_it_says_what_follows_from_them(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(LLAVA_MDPO, small)
    module = recipe.model.load(Placement("cpu", "float32")).module
    trained = sum(value.numel() for value in module.parameters() if value.requires_grad)
    frozen = sum(value.numel() for value in module.parameters() if not value.requires_grad)
    assert main(["check", LLAVA, "--data", *(word for each in small for word in ("--set", each))]) == 0
    out = capsys.readouterr().out
    assert f"{trained:,} numbers train, {frozen:,} stay as they are" in out
    assert "rows       10\n" in out
    assert "steps      6 steps: 2 epochs of 3 steps of 4 rows, learning rate 0.001" in out
    assert re.search(r"memory     [1-9]\d*\.\d MB of tensors in a step, so a card of 1\.\d GB is enough", out)
    assert "not looked at: the model's weights" in out
    assert "not looked at: memory" not in out


def test_held_out_rows_and_a_number_of_steps_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "data.num_pairs=64", "--set", "train.max_steps=3", "--set", "train.micro_batch_size=2"]
    assert main(["check", "quickstart", "--data", *words]) == 0
    out = capsys.readouterr().out
    assert "rows       64 to train on, 96 held out" in out
    steps = r"steps      3 steps of 32 rows, learning rate [\d.e-]+(; train.max_steps counts, not train.epochs)?\n"
    assert re.search(steps, out)
    assert "vision in full" in out
    assert out.splitlines()[-1].startswith("quickstart: no problem found, 64 rows")


def test_check_says_that_the_chat_template_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RECIPES / "qwen2_5_vl_mdpo.yaml")]) == 0
    assert (
        "prompts    chat: each question becomes a user's turn in the model's chat template" in capsys.readouterr().out
    )
    assert main(["check", "quickstart"]) == 0  # its model is made for its own prompts
    assert "prompts" not in capsys.readouterr().out


def test_options_that_another_component_does_not_take_over_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.yaml"
    text = f"extends: {LLAVA}\nbackend: {{precision: bf16_autocast}}\nmodel:\n  adapter: chat_vlm\n  path: somewhere\n"
    file.write_text(text)
    assert main(["check", str(file)]) == 0
    place = f"{file}:3: model: the adapter 'chat_vlm' replaces 'llava' of the recipe that this one extends"
    assert f"{place}, and does not take over: lora; write what you want to keep" in caplog.text
    caplog.clear()
    file.write_text(f"{text}  lora: null\n")
    assert main(["check", str(file)]) == 0
    assert "lora" not in caplog.text


def test_what_a_number_of_steps_replaces_is_told(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "What?", "chosen": "a", "rejected": "b"}\n')
    steps = ["train.max_steps=30", "train.epochs=2"]
    stream = [f"data={{reader: pairs, path: {rows}, streaming: true}}", "validation=null", "evaluators=[]"]
    quickstart = RECIPES / "quickstart.yaml"
    assert told_steps(load_recipe(quickstart, steps)) == "train.max_steps counts, not train.epochs"
    told = told_steps(load_recipe(quickstart, [*stream, *steps]))
    assert told == "a stream that ends before begins again; train.max_steps counts, not train.epochs"
    assert told_steps(load_recipe(quickstart)) == ""
