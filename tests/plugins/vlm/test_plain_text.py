"""A backslash before a mark or a special token makes it plain text, for every tokenizer, in prompts and in answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.builders.small_vlms import build_vlm

from mdpo_core import DataError, Example, Turn, component
from mdpo_core.data.validity import problems_of_row

PICTURE = PIL.Image.new("RGB", (60, 40), "navy")
WORDS = st.sampled_from(["What", " is", "a", "\n", " ", "<", "image", "<image", ">", "é", "\\n", "</", "|>"])


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "gemma3", "smolvlm"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = build_vlm(request.param, tmp_path_factory.mktemp(request.param))
    return component("adapter", "chat_vlm", path=str(folder)).encoder()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def ready(encoder: Any) -> Any:
    """The same without a template, so that a response is its tokens and the end token."""
    folder, *_ = encoder.__reduce__()[1]
    return component("adapter", "chat_vlm", path=str(folder), prompts="ready").encoder()  # type: ignore[attr-defined]


def special(encoder: Any) -> list[str]:
    """Every special token that could be plain text."""
    return sorted(token for token in encoder.processor.tokenizer.all_special_tokens if token.strip())


def plain_ids(encoder: Any, text: str) -> list[int]:
    """The oracle: transformers' own switch, which knows no special token at all."""
    tokenizer = encoder.processor.tokenizer
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


@given(st.data())
def test_an_escaped_token_has_the_ids_of_plain_text(ready: Any, data: st.DataObject) -> None:
    tokens = [*special(ready), "<image>", "<video>"]
    parts = data.draw(st.lists(st.tuples(WORDS, st.sampled_from(tokens)), min_size=1, max_size=4))
    written = "".join(f"{word} \\{token}" for word, token in parts)
    meant = "".join(f"{word} {token}" for word, token in parts)
    assert ready.encode_response(written).tolist()[:-1] == plain_ids(ready, meant)


def test_a_picture_and_the_word_image_stand_side_by_side(encoder: Any) -> None:
    both = Example("1", "<image>\nWhat does \\<image> mean in HTML?", {}, (PICTURE,))
    one = Example("1", "<image>\nWhat does it mean in HTML?", {}, (PICTURE,))
    found, expected = encoder.encode_prompt(both), encoder.encode_prompt(one)
    count = [int((each.token_ids == encoder.image_token).sum()) for each in (found, expected)]
    assert count[0] == count[1] > 0
    shown = "".join(encoder.token_texts(found.token_ids.tolist()))
    assert "<image>mean" in shown.replace(" ", "").replace("▁", "")
    assert all(torch.equal(a[name], b[name]) for a, b in zip(found.images, expected.images, strict=True) for name in a)


def test_turns_of_a_conversation_can_hold_special_tokens(encoder: Any) -> None:
    token = encoder.processor.tokenizer.eos_token
    turns = (
        Turn("user", f"<image>\nWhat does \\{token} end?"),
        Turn("assistant", f"\\{token}: text"),
        Turn("user", "?"),
    )
    ids = encoder.encode_prompt(Example("1", turns, {}, (PICTURE,))).token_ids.tolist()
    quiet = (Turn("user", "<image>\nWhat does it end?"), Turn("assistant", "That: text"), Turn("user", "?"))
    expected = encoder.encode_prompt(Example("1", quiet, {}, (PICTURE,))).token_ids.tolist()
    end = encoder.processor.tokenizer.eos_token_id
    assert ids.count(end) == expected.count(end)


@pytest.mark.parametrize("field", ["prompt", "response"])
def test_a_character_that_stands_for_tokens_is_refused(encoder: Any, field: str) -> None:
    text = "A\U000f0001"
    encode = {
        "prompt": lambda: encoder.encode_prompt(Example("1", f"<image>\n{text}", {}, (PICTURE,))),
        "response": lambda: encoder.encode_response(text),
    }
    with pytest.raises(DataError, match=r"contains '\\U000f0001', a character for private use"):
        encode[field]()


def test_a_token_that_cannot_be_plain_text_is_named(tmp_path: Path) -> None:
    """A tokenizer may look for a token after it has rewritten the text; then no writing hides it."""
    from tokenizers import AddedToken

    folder = build_vlm("llava", tmp_path)
    encoder = component("adapter", "chat_vlm", path=str(folder)).encoder()  # type: ignore[attr-defined]
    tokenizer = encoder.processor.tokenizer
    tokenizer.add_tokens([AddedToken("<late>", normalized=True, special=True)], special_tokens=True)
    tokenizer.save_pretrained(folder)
    encoder = component("adapter", "chat_vlm", path=str(folder)).encoder()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="cannot read '<late>' as plain text"):
        encoder.encode_response("What is \\<late>?")


def test_an_escaped_mark_counts_as_no_image() -> None:
    example = Example("1", "<image>\nIs \\<image> a tag?", {"chosen": "Yes, \\<image>.", "rejected": "No."}, (PICTURE,))
    assert example.num_marks == 1
    assert problems_of_row(example) == []


@pytest.mark.parametrize("mark", ["<img>", "[IMG]", "<|image_pad|>", "<image_1>", "<Image_Here>", "<IMG_CONTEXT>"])
def test_the_backslash_before_another_picture_s_mark_is_dropped(ready: Any, mark: str) -> None:
    found = ready.encode_response(f"a \\{mark} is a mark").tolist()[:-1]
    assert found == plain_ids(ready, f"a {mark} is a mark")


def test_a_backslash_before_other_words_stays(ready: Any) -> None:
    text = r"C:\images\[imgs] \<imgs>"
    assert ready.encode_response(text).tolist()[:-1] == plain_ids(ready, text)
