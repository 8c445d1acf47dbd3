"""The form in which a model reads a question: its chat template, or the text as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_vlm.encoding.unusual_texts import is_in_a_format
from support.builders.small_llava import CHAT
from support.builders.small_vlms import build_vlm

from mdpo_core import Example, component

RED = PIL.Image.new("RGB", (28, 28), "red")
READY = "USER: <image>\nWhat is it? ASSISTANT:"


def text_for(adapter: Any, question: str) -> str:
    encoder = adapter.questions()(question)
    prompt = encoder.encode_prompt(Example("1", question, {}, (RED,) * question.count("<image>")))
    return "".join(encoder.token_texts(prompt.token_ids.tolist())).replace("<image>" * 4, "<image>")


@pytest.mark.parametrize("prompts", ["ready", "chat"])
def test_bare_question_enters_the_template_and_ready_prompt_stays(prompts: str, llava: Path) -> None:
    assert "ASSISTANT:" in CHAT
    adapter = component("adapter", "llava", path=str(llava), prompts=prompts)
    assert text_for(adapter, "<image>\nWhat is it?") == f"<s>{READY}"
    assert text_for(adapter, READY) == f"<s>{READY}"


def test_model_that_was_trained_on_bare_questions_gets_them_bare(llava: Path) -> None:
    adapter = component("adapter", "llava", path=str(llava), unusual_texts={"keep": ["bare_questions"]})
    assert text_for(adapter, "What is it?") == "<s>What is it?"


def test_model_without_a_template_gets_the_text_as_it_is(tmp_path: Path) -> None:
    adapter = component("adapter", "chat_vlm", path=str(build_vlm("paligemma", tmp_path / "model")), prompts="ready")
    assert "What is it?" in text_for(adapter, "<image>What is it?")


def test_prompt_with_special_tokens_of_the_model_is_in_its_format(tmp_path: Path) -> None:
    adapter = component("adapter", "chat_vlm", path=str(build_vlm("qwen2_5_vl", tmp_path / "model")))
    ready = "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    assert text_for(adapter, ready) == text_for(adapter, "What is it?") == ready


@given(st.text("abc ?.<>:\n"), st.sampled_from(["<|im_start|>", "</s>"]), st.text("abc ?.\n"))
def test_text_with_a_special_token_is_in_a_format_and_one_without_is_not(before: str, token: str, after: str) -> None:
    assert is_in_a_format(before + token + after, {"<|im_start|>", "</s>", "<image>", " "})
    assert not is_in_a_format(f"<image>{before}{after}", {"<|im_start|>", "</s>", "<image>", " "})
