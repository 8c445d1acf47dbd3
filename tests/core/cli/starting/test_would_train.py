"""What `mdpo check` says beside its verdict."""

from __future__ import annotations

import pytest
from support.paths import RECIPES

from mdpo_core.cli import main

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


def test_after_the_rows_were_read_they_are_not_named_as_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "data.num_pairs=64", "--set", "data.hold_out=null", "--set", "evaluators=[]"]
    assert main(["check", "quickstart", "--data", *words]) == 0
    out = capsys.readouterr().out
    assert "not looked at: the model's weights" in out
    assert "vision in full" in out
    assert out.splitlines()[-1].startswith("quickstart: no problem found, 64 rows")


def test_check_says_that_the_chat_template_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RECIPES / "qwen2_5_vl_mdpo.yaml")]) == 0
    assert (
        "prompts    chat: each question becomes a user's turn in the model's chat template" in capsys.readouterr().out
    )
    assert main(["check", "quickstart"]) == 0  # its model is made for its own prompts
    assert "prompts" not in capsys.readouterr().out
