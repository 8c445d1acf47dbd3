"""Texts that are seldom meant are bad rows: ready-made prompts under chat, bare ones under ready, other end tokens."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mdpo_vlm.encoding.unusual_texts import UnusualTexts
from support.paths import RECIPES

from mdpo_core import Example, RecipeError, Turn, component, load_recipe
from mdpo_core.data.checking import check_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import DataError

ROW = Example("x", "<image>\nWhat?", {"chosen": "A", "rejected": "B"}, (PIL.Image.new("RGB", (40, 30)),))
READY = "USER: <image>\nWhat? ASSISTANT:"


def builder_of(model: Path, **options: Any) -> BatchBuilder:
    encoder = component("adapter", "llava", path=str(model), **options).encoder()  # type: ignore[attr-defined]
    return BatchBuilder.for_terms([component("loss", "dpo")], {}, encoder, 2048, seed=0)  # type: ignore[list-item]


def problems(builder: BatchBuilder, changes: Mapping[str, Any]) -> str:
    """What the check says of a row with these changes; nothing if the row is sound."""
    checked = check_data([replace(ROW, **changes)], builder, lambda done, total: None)
    return "\n".join(str(problem) for found in checked.bad.values() for problem in found)


@pytest.fixture(scope="module")
def chat(llava: Path) -> BatchBuilder:
    return builder_of(llava, prompts="chat")


@pytest.fixture(scope="module")
def ready(llava: Path) -> BatchBuilder:
    return builder_of(llava, prompts="ready")


@pytest.mark.parametrize(
    ("prompt", "marker"),
    [
        (READY, "ASSISTANT:"),
        ("A chat between a human and an assistant. USER: <image>\nWhat? ASSISTANT: ", "ASSISTANT:"),
        ("Human: <image> What?\nAssistant:", "Assistant:"),
        ("<image>USER: What? ASSISTANT:\n", "ASSISTANT:"),
        ("<|im_start|>user\n<image>What?<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>"),
        ("<s>[INST] <image>\nWhat? [/INST]", "[INST]"),
        ("<image>\n[INST] What? [/INST]", "[INST]"),
        ("<|user|>\n<image>What?<|end|>\n<|assistant|>\n", "<|user|>"),
        ("Be brief.\n### Human: <image>What?\n### Assistant:", "### Human:"),
        ("<start_of_turn>user\n<image>What?<end_of_turn>\n<start_of_turn>model\n", "<start_of_turn>"),
        ("<|start_header_id|>user<|end_header_id|>\n<image>What?", "<|start_header_id|>"),
        ("<bos><start_of_turn>user\n<image>What?", "<start_of_turn>"),
        ("[INST] A? [/INST] B [INST] <image>C? [/INST] ", "[INST]"),
        ("Below is a task.\n\n### Instruction:\n<image>What?\n\n### Response:\n", "### Instruction:"),
        ((Turn("user", READY),), "ASSISTANT:"),
        ((Turn("user", "<image>A?"), Turn("assistant", "B"), Turn("user", "USER: C? ASSISTANT:")), "ASSISTANT:"),
    ],
)
def test_a_ready_made_prompt_is_not_put_into_the_chat_template(prompt: Any, marker: str, chat: BatchBuilder) -> None:
    said = problems(chat, {"prompt": prompt}).splitlines()[0]
    assert said == (
        f"row 1: the prompt contains {marker!r}, so it is ready-made, but model.prompts: chat puts it into the chat "
        "template once more: set model.prompts: ready, or, if it is meant, set model.unusual_texts: {keep: "
        "[ready_prompts]}"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "<image>\nWhat?",
        "<image>\nThe user: who is it?",
        "<image>\nComplete the sign. Assistant:",
        "<image>\nWho is the assistant: a man or a woman?",
        "<image>\nQuestion: What is it?\nAnswer:",
        "<image>\nWhat does [INST] or <|user|> mean?",
        "<image>\n### Task\nName the human: first name only.",
        (Turn("user", "<image>\nA?"), Turn("assistant", "USER: B ASSISTANT:"), Turn("user", "C?")),
        # A chat that is quoted, with a question about it.
        "<image>\nWhat goes wrong here?\n\n### Human: Hi!\n### Assistant: Go away.\n",
        "Who is rude in this chat?\n<image>\nUSER: Hi! ASSISTANT: Go away. USER: Why?",
        "<image>Read it aloud.\n<|im_start|>user\nHi!\n<|im_start|>assistant\nGo away.",
        "[INST] Hi! [/INST] Go away.\n<image> Does this model help?",
        "### Instruction:\nDescribe the picture.\n<image>",
        "<image>\nQ: What is it? A:",
    ],
)
def test_a_question_under_chat_is_sound(prompt: Any, chat: BatchBuilder) -> None:
    assert problems(chat, {"prompt": prompt}) == ""


@pytest.mark.parametrize("prompt", ["<image>\nWhat?", "What is it? <image>", "<image>Name the user.", "<image>"])
def test_a_bare_question_is_not_used_as_a_ready_prompt(prompt: str, ready: BatchBuilder) -> None:
    assert problems(ready, {"prompt": prompt}) == (
        "row 1: the prompt is a bare question: nothing marks the user's turn or calls for an answer, but "
        "model.prompts: ready uses it unchanged: set model.prompts: chat, or, if it is meant, set "
        "model.unusual_texts: {keep: [bare_questions]}"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        READY,
        "<s>[INST] <image>\nWhat? [/INST]",
        "<image>\nQuestion: What? Short answer:",
        "<|user|><image>What?<|assistant|>",
        "### Human: <image>What?\n### Assistant:",
        "<s><image>What?",
        "Q: <image> What is it? A: In one word, it is",
        "Task: describe.\n<image>\nCaption for the picture",
    ],
)
def test_a_ready_prompt_of_any_format_is_sound(prompt: str, ready: BatchBuilder) -> None:
    assert problems(ready, {"prompt": prompt}) == ""


def test_a_bare_prompt_is_sound_for_a_model_without_a_chat_template(llava: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llava, tmp_path / "model"))
    without_template(folder)
    assert problems(builder_of(folder), {}) == ""


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    for name in ("processor_config.json", "tokenizer_config.json", "chat_template.json"):
        if (folder / name).exists():
            values = json.loads((folder / name).read_text())
            values.pop("chat_template", None)
            (folder / name).write_text(json.dumps(values))


@pytest.mark.parametrize("token", ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>", "<|end|>", "<eos>"])
@pytest.mark.parametrize("where", ["prompt", "response", "turn", "other prompt"])
def test_an_end_token_of_another_model_is_named(token: str, where: str, chat: BatchBuilder) -> None:
    changes, name = {
        "prompt": ({"prompt": f"<image>What?{token}"}, "the prompt"),
        "response": ({"responses": {"chosen": f"A{token}", "rejected": "B"}}, "the response 'chosen'"),
        "turn": ({"responses": {"chosen": "A", "rejected": said(f"B{token}")}}, "the response 'rejected'"),
        "other prompt": ({"other_prompts": {"y": f"<image>What?{token}"}}, "the other prompt 'y'"),
    }[where]
    assert problems(chat, changes) == (
        f"row 1: {name} contains {token!r}, the end token of other models, which is plain text to this one: remove "
        f"it, or, if it is meant, write \\{token}, or set model.unusual_texts: {{keep: [end_tokens]}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "The token <|im_end|> ends a turn.",
        "It reads '<|eot_id|>'.",
        "Write `<end_of_turn>` after it.",
        "<|endoftext|>, <|end|> and <eos> are words of models.",
    ],
)
def test_an_end_token_that_a_text_is_about_is_sound(text: str, chat: BatchBuilder) -> None:
    assert problems(chat, {"responses": {"chosen": text, "rejected": "B"}}) == ""


@pytest.mark.parametrize(
    ("text", "sound"), [("<s>old</s>", True), ("old</s>", False), ("<s>[INST] A [/INST] B</s>", False)]
)
def test_html_that_strikes_text_out_has_no_end_token(text: str, sound: bool) -> None:
    found = UnusualTexts(True, True, ()).problems(replace(ROW, responses={"chosen": text, "rejected": "B"}))
    assert (found == []) == sound


@pytest.mark.parametrize("token", ["<|im_end|>", "<|eot_id|>", "<end_of_turn>"])
@pytest.mark.parametrize(
    "after", ["\n", " ", "\nAnd more.", "<|im_start|>user\nWhy?", " USER: Why?", "\n### Human: Why?"]
)
def test_an_end_token_between_turns_or_lines_is_named(token: str, after: str, chat: BatchBuilder) -> None:
    found = problems(chat, {"responses": {"chosen": f"A.{token}{after}", "rejected": "B"}})
    assert f"the response 'chosen' contains {token!r}, the end token of other models" in found


def said(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn("assistant", text) for text in texts)


def test_the_end_token_of_this_model_has_its_own_sentence(chat: BatchBuilder) -> None:
    found = problems(chat, {"responses": {"chosen": "A</s>", "rejected": "B"}})
    assert found.startswith(
        "row 1: chosen: the response contains '</s>', which the tokenizer takes for a special token"
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("chat", {"prompt": READY}),
        ("ready", {}),
        ("chat", {"responses": {"chosen": "A<|im_end|>", "rejected": "B"}}),
    ],
)
def test_what_is_meant_is_kept(kind: str, changes: Mapping[str, Any], llava: Path) -> None:
    assert problems(builder_of(llava, prompts=kind, unusual_texts="keep"), changes) == ""


UNUSUAL = {
    "ready_prompts": {"prompt": READY},
    "end_tokens": {"responses": {"chosen": "A<|im_end|>", "rejected": "B"}},
}


@pytest.mark.parametrize("kept", UNUSUAL)
@pytest.mark.parametrize("kind", UNUSUAL)
def test_kinds_are_kept_one_by_one(kept: str, kind: str, llava: Path) -> None:
    builder = builder_of(llava, prompts="chat", unusual_texts={"keep": [kept]})
    assert (problems(builder, UNUSUAL[kind]) == "") == (kind == kept)


def test_a_bare_question_is_kept_by_its_kind(llava: Path) -> None:
    assert problems(builder_of(llava, unusual_texts={"keep": ["bare_questions"]}), {}) == ""
    assert "is a bare question" in problems(builder_of(llava, unusual_texts={"keep": ["end_tokens"]}), {})


def test_kinds_are_kept_for_a_source_of_a_mixture(llava: Path) -> None:
    option = {"sources": {"chats": ["ready_prompts"]}}
    builder = pickle.loads(pickle.dumps(builder_of(llava, prompts="chat", unusual_texts=option)))
    found = {
        source: problems(builder, {"prompt": READY, "source": source}) for source in ("", "chat", "chats", "chats/a")
    }
    assert {source for source, text in found.items() if text == ""} == {"chats", "chats/a"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("{keep: [ready_prompt]}", "model.unusual_texts.keep.0: input should be 'ready_prompts', 'bare_questions' or "),
        ("{kep: [end_tokens]}", "model.unusual_texts.kep: unknown option; did you mean 'keep'?"),
        (
            "keeps",
            "model.unusual_texts: input should be 'refuse' or 'keep', or a mapping of options; found 'keeps'; "
            "did you mean 'keep'?",
        ),
    ],
)
def test_a_wrong_kind_is_named_once(option: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "llava_mdpo.yaml", [f"model.unusual_texts={option}"])
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_rows_that_are_checked_when_they_are_met_are_refused_too(ready: BatchBuilder) -> None:
    with pytest.raises(DataError, match=r"^row 1: the prompt is a bare question"):
        replace(ready, checks_rows=True).build([ROW], [0], epoch=0)


@pytest.mark.parametrize("token", ["<|im_end|>", "<eos>", "<end_of_turn>"])
def test_an_end_token_of_another_model_is_meant_with_a_backslash(token: str, chat: BatchBuilder) -> None:
    changes = {"prompt": f"<image>\nWhat is \\{token}?", "responses": {"chosen": f"An end: \\{token}", "rejected": "B"}}
    assert problems(chat, changes) == ""
    ids = chat.encoder.encode_response(f"An end: \\{token}")
    assert "".join(chat.encoder.token_texts(ids.tolist())).endswith(f"{token}</s>")
