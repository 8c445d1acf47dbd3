"""Llama 4: the whole model projects features, layers attend in chunks, and others scale queries by position."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.ImageOps
import pytest
import torch
from mdpo_vlm import TransformersAdapter
from mdpo_vlm.loading.quantized import loading_options
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.oracles.plain_gradients import require_gradients_of_plain_forwards
from support.oracles.plain_vlms import NATS, adapter, examples, gap, plain_inputs
from transformers import AutoModelForImageTextToText

from mdpo_core import IMAGE_MARK, Decoding, Example, Placement, RecipeError
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN

LORA = {"rank": 4, "alpha": 8}
# Shorter than every sequence of the examples.
CHUNK = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llama4", tmp_path_factory.mktemp("llama4"))


@pytest.fixture(scope="module")
def in_chunks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_vlm("llama4", tmp_path_factory.mktemp("chunks"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"attention_chunk_size": CHUNK, "floor_scale": 8}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def rows_of_tiles(photographs: Path) -> list[Example]:
    """Pictures of one and of several tiles: one, none, two, three in a row."""
    data = examples("llama4", photographs)
    picture = data[0].images[0]
    images = tuple(picture.resize(size) for size in [(26, 84), (20, 20), (91, 62)])
    text = f"{IMAGE_MARK}\n" * 3 + "What is in the picture?"
    return [*data, replace(data[0], id="three", prompt=text, images=images)]


def test_pictures_have_several_tiles_and_rows_several_pictures_or_none(folder: Path, photographs: Path) -> None:
    """What is tried below."""
    encoder, data = adapter("llama4", folder).encoder(), rows_of_tiles(photographs)
    tiles = [[len(image["pixel_values"]) for image in encoder.encode_prompt(each).images] for each in data]
    assert tiles == [[5], [5], [], [5, 5], [4, 1, 5]]


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "as in a run"])
def test_sequences_longer_than_a_chunk_are_computed_one_by_one(
    options: Scoring, in_chunks: Path, photographs: Path
) -> None:
    data = rows_of_tiles(photographs)
    inverted = [replace(each, images=tuple(map(PIL.ImageOps.invert, each.images))) for each in data]
    without = [each for each in data if not each.images]
    for rows in (data, data[::-1], inverted, without):
        assert gap("llama4", in_chunks, rows, options) <= NATS


@NIGHTLY
def test_gradients_of_sequences_longer_than_a_chunk_are_plain_ones(in_chunks: Path, photographs: Path) -> None:
    require_gradients_of_plain_forwards("llama4", in_chunks, photographs, Scoring(max_logits=700))


def test_prompts_are_shared_if_no_sequence_is_longer_than_a_chunk(in_chunks: Path) -> None:
    assert adapter("llama4", in_chunks, max_length=CHUNK).shares_prefix
    assert not adapter("llama4", in_chunks, max_length=CHUNK + 1).shares_prefix


def test_a_wrong_claim_that_prompts_can_be_shared_would_be_noticed(
    in_chunks: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransformersAdapter, "shares_prefix", True)
    assert gap("llama4", in_chunks, examples("llama4", photographs), Scoring()) > 100 * NATS


def test_positions_counted_from_the_start_of_a_packed_row_would_be_noticed(
    folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why `scale_by_position` is there."""
    monkeypatch.setattr("mdpo_vlm.loading.load.scale_by_position", lambda base: None)
    data = rows_of_tiles(photographs)
    assert gap("llama4", folder, data, PLAIN) <= NATS
    assert gap("llama4", folder, data, Scoring()) > 100 * NATS


@pytest.mark.parametrize("is_exported", [False, True], ids=["trained", "exported"])
def test_answers_do_not_depend_on_the_padding_of_a_batch(is_exported: bool, in_chunks: Path, photographs: Path) -> None:
    made, data = adapter("llama4", in_chunks), rows_of_tiles(photographs)
    encoder = made.encoder()
    model = made.load_exported(in_chunks, Placement())[1] if is_exported else made.load(Placement())
    plain = AutoModelForImageTextToText.from_pretrained(in_chunks).eval()
    answers = model.generate([encoder.encode_prompt(each) for each in data], Decoding(40))
    assert max(map(len, answers)) > CHUNK
    for example, answer in zip(data, answers, strict=True):
        inputs, length = plain_inputs("llama4", in_chunks, example, None)
        ids = plain.generate(**inputs, max_new_tokens=40, do_sample=False)[0, length:].tolist()
        assert answer.tolist() == ids[: len(answer)]


def test_after_answers_the_model_projects_features_again(folder: Path, photographs: Path) -> None:
    made, [example, *_] = adapter("llama4", folder), examples("llama4", photographs)
    model: Any = made.load(Placement())
    inputs, _ = plain_inputs("llama4", folder, example, None)
    with torch.no_grad():
        before = model.module(**inputs).logits
        model.generate([made.encoder().encode_prompt(example)], Decoding(2))
        torch.testing.assert_close(model.module(**inputs).logits, before, atol=0, rtol=0)


def test_a_router_gets_no_adapter(folder: Path) -> None:
    """It gives two outputs, to which an adapter could not add."""
    model = adapter("llama4", folder, lora=LORA).load(Placement())
    adapted = [name for name, _ in model.module.named_parameters() if "lora_A" in name]
    assert any("shared_expert" in name for name in adapted)
    assert not any("router" in name for name in adapted)
    with pytest.raises(RecipeError, match=r"'router' matches .*router \(Llama4Router\), which LoRA cannot adapt"):
        adapter("llama4", folder, lora={**LORA, "targets": ["router"]}).check()


@NIGHTLY
def test_only_the_language_model_is_quantized(folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    skipped = loading_options(folder, Placement("cuda", "bfloat16"))["quantization_config"].llm_int8_skip_modules
    assert skipped == ["vision_model", "multi_modal_projector", "language_model.lm_head"]
