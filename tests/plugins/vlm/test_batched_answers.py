"""An answer does not depend on the prompts that are answered beside it: it is that of plain transformers alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm.forward.long_rows import batches_of_steady_positions, steady_positions
from support.builders.small_vlms import SMALL, build_vlm
from support.builders.vlms.shapes import text
from support.oracles.plain_vlms import adapter, examples, plain_inputs
from transformers import AutoConfig, AutoModelForImageTextToText

from mdpo_core import Decoding, EncodedPrompt, Example, Placement

NEW = 24
# Longer than a question about one picture, and shorter than one about two.
LIMIT = 28
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}


def answers(family: str, folder: Path, data: list[Example]) -> list[list[int]]:
    made = adapter(family, folder, max_length=64)
    encoder = made.encoder()
    prompts = [encoder.encode_prompt(each) for each in data]
    return [answer.tolist() for answer in made.load(Placement()).generate(prompts, Decoding(NEW))]


def plain_answers(family: str, folder: Path, data: list[Example]) -> list[list[int]]:
    """Each by a new model: with dynamic positions, one that has read a long row counts otherwise afterwards."""
    found = []
    for example in data:
        plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
        inputs, length = plain_inputs(family, folder, example, None)
        ids = plain.generate(**inputs, max_new_tokens=NEW, do_sample=False, pad_token_id=0)[0, length:].tolist()
        end = plain.generation_config.eos_token_id or plain.config.get_text_config().eos_token_id
        found.append(ids[: ids.index(end)] if end in ids else ids)
    return found


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_long_prompt_changes_no_answer_beside_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: Path
) -> None:
    folder, data = with_positions(kind, LIMIT, monkeypatch, tmp_path), examples("llava", photographs)
    lengths = [plain_inputs("llava", folder, each, None)[1] for each in data]
    assert min(lengths) < LIMIT < max(lengths)
    assert answers("llava", folder, data) == plain_answers("llava", folder, data)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_an_answer_that_becomes_long_changes_none_beside_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: Path
) -> None:
    data = examples("llava", photographs)
    longest = max(plain_inputs("llava", build_vlm("llava", tmp_path / "usual"), each, None)[1] for each in data)
    folder = with_positions(kind, longest + 4, monkeypatch, tmp_path)
    assert answers("llava", folder, data) == plain_answers("llava", folder, data)


def with_positions(kind: str, limit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small LLaVA whose positions change beyond ``limit`` tokens."""
    llava = SMALL["llava"]
    rope = {"rope_type": kind, "rope_theta": 100.0, "factor": 8.0, **(FACTORS if kind == "longrope" else {})}
    limits = {"max_position_embeddings": limit if kind == "dynamic" else 4096}
    if kind == "longrope":
        rope["original_max_position_embeddings"] = limit

    def config(token: Any) -> dict[str, Any]:
        return {**llava.config(token), "text_config": text("llama", token, **limits, rope_parameters=rope)}

    monkeypatch.setitem(SMALL, "llava", replace(llava, config=config))
    folder = build_vlm("llava", tmp_path / kind)
    if kind == "longrope":  # transformers writes its own limit
        stored = json.loads((folder / "config.json").read_text())
        stored["text_config"]["rope_parameters"]["original_max_position_embeddings"] = limit
        (folder / "config.json").write_text(json.dumps(stored))
    assert steady_positions(AutoConfig.from_pretrained(folder)) == limit
    return folder


def test_prompts_are_separated_only_where_a_long_one_would_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = AutoConfig.from_pretrained(with_positions("longrope", LIMIT, monkeypatch, tmp_path))
    prompts = [EncodedPrompt(torch.arange(length)) for length in (4, 20, 8)]
    assert batches_of_steady_positions(config, prompts, LIMIT - 20) == [prompts]
    assert batches_of_steady_positions(config, prompts, LIMIT - 19) == [[each] for each in prompts]
