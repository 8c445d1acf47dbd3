"""Special tokens that a row spells: never a token by accident, and no row is refused for what its model means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.data.checking import check_data
from mdpo_core.data.encoding import BatchBuilder

IMAGE = PIL.Image.new("RGB", (40, 30))
READY, QUESTION = "USER: <image>\nWhat? ASSISTANT:", "<image>\nWhat?"


def problems(llava: Path, changes: Mapping[str, Any], **model: Any) -> str:
    """What the check says of a row with these changes; nothing if the row is sound."""
    model = {"unusual_texts": "keep"} | model
    encoder = component("adapter", "llava", path=str(llava), **model).encoder()  # type: ignore[attr-defined]
    prompt = QUESTION if model.get("prompts") == "chat" else READY
    row = replace(Example("x", prompt, {"chosen": "A", "rejected": "B"}, (IMAGE,)), **changes)
    builder = BatchBuilder.for_terms([component("loss", "dpo")], {}, encoder, 2048, seed=0)  # type: ignore[list-item]
    checked = check_data([row], builder, lambda done, total: None)
    return "\n".join(str(problem) for found in checked.bad.values() for problem in found)


@pytest.mark.parametrize("prompts", ["ready", "chat"])
@pytest.mark.parametrize("text", ["In HTML, <s>this</s> is struck out.", "A flower.</s>", "</s>", "Unknown: <unk>"])
def test_a_response_with_a_special_token_is_named(text: str, prompts: str, llava: Path) -> None:
    found = problems(llava, {"responses": {"chosen": text, "rejected": "B"}}, prompts=prompts)
    assert found.startswith("row 1: chosen: the response contains '<")
    assert "which the tokenizer takes for a special token: write \\<" in found


@pytest.mark.parametrize(
    "prompt",
    [
        "<image>\nWhat does </s> mean?",
        (Turn("user", "<image>\nA?"), Turn("assistant", "B</s>"), Turn("user", "C?")),
        (Turn("system", "<s>"), Turn("user", "<image>\nA?")),
    ],
)
def test_a_question_with_a_special_token_is_named(prompt: Any, llava: Path) -> None:
    found = problems(llava, {"prompt": prompt}, prompts="chat")
    assert found.startswith("row 1, example 'x': the prompt contains '<")


@pytest.mark.parametrize("text", ["<|image_pad|> and <|im_end|>", "a < b > c", "< s >", "&lt;/s&gt;", "<S>"])
def test_what_is_a_special_token_of_other_models_is_text(text: str, llava: Path) -> None:
    for prompts, prompt in (("ready", READY + text), ("chat", QUESTION + text)):
        changes = {"prompt": prompt, "responses": {"chosen": text, "rejected": "B"}}
        assert problems(llava, changes, prompts=prompts) == ""


@pytest.mark.parametrize("prompt", ["<s>{}", "USER: A ASSISTANT: B</s>{}", "<s>A</s><s>{}", " <s>A</s> <s> {}"])
def test_a_ready_prompt_may_have_the_tokens_of_its_format(prompt: str, llava: Path) -> None:
    assert problems(llava, {"prompt": prompt.format(READY)}) == ""


@pytest.mark.parametrize("text", ["What is <s>HTML</s>?", "<s><s>A", "<s>A<s>", "A</s><s>B<s>", "What is <unk>?"])
def test_a_ready_prompt_with_a_token_out_of_place_is_named(text: str, llava: Path) -> None:
    assert "row 1, example 'x': the prompt contains '<" in problems(llava, {"prompt": f"{text} {READY}"})


def test_tokens_that_are_meant_are_listed_in_the_recipe(llava: Path) -> None:
    changes = {"prompt": f"{QUESTION} <unk>", "responses": {"chosen": "<s>A</s>", "rejected": "B"}}
    meant = ("<s>", "</s>", "<unk>")
    assert problems(llava, changes, prompts="chat", special_tokens=meant) == ""
    with pytest.raises(DataError, match=r"'</S>' is not a special token of this model; did you mean '</s>'\?"):
        problems(llava, changes, special_tokens=("</S>",))
